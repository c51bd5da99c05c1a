// Batch normalisation (Ioffe and Szegedy 2015), with a residual and an activation on top.
#pragma once

#include <memory>

#include "kernels/activation.h"
#include "kernels/op.h"

namespace lockstep {

struct BatchNormDesc {
  TensorDesc src;  // (N, C) or (N, C, …), float32 or bfloat16
  double epsilon = 1e-5;
  bool affine = true;                         // learned weight and bias
  Activation activation = Activation::kNone;  // kNone, kRelu or kRelu6
  bool adds_residual = false;                 // src[1], of the form of src[0], is added before the activation
};

/// dst = f((src - mean) / sqrt(variance + epsilon) * weight + bias [+ src[1]]), per channel, dst of
/// the shape and layout of src.
/// Params: weight, bias (both only if affine), running_mean, running_var, each (C).
///
/// Training: mean and (biased) variance of the micro-batch over its first n_valid rows; rows
/// behind them get dst 0 and diff_src 0, whatever they hold. The gradients of running_mean
/// and running_var are n_valid times mean and n_valid times the unbiased variance (op.h; the biased
/// one where there is only one element). diff_src[1] is diff_dst where the activation passes it.
/// Evaluation: mean and variance are running_mean and running_var.
///
/// The two phases are for statistics over more than one micro-batch. forward() is forward_sums(),
/// then forward_apply() of the same sums; a caller may instead add up the sums of several
/// micro-batches between the two, in an order of its own, and so for backward. Each micro-batch
/// keeps its own workspace. Gradients of weight and bias are those of the micro-batch alone: they
/// are added up as any other. Those of the running statistics are n_valid times the statistics
/// of all. Training only. The sums lie in memory of the host: on a GPU these four calls copy and wait, and
/// cannot be recorded.
class BatchNorm : public Op {
 public:
  /// Of one channel c: sums[c] = sum of x (backward: of g = diff_dst f'), sums[C + c] = sum of x^2
  /// (backward: of g (x - mean) / sqrt(variance + epsilon)); sums[2 C] = number of x per channel.
  virtual int64_t n_sums() const = 0;
  virtual void forward_sums(Stream& stream, const OpArgs& args, double* sums) = 0;
  virtual void forward_apply(Stream& stream, const OpArgs& args, const double* sums) = 0;
  /// Also writes diff_params and diff_src[1].
  virtual void backward_sums(Stream& stream, const OpArgs& args, double* sums) = 0;
  virtual void backward_apply(Stream& stream, const OpArgs& args, const double* sums) = 0;
};

std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig& config, const BatchNormDesc& desc);

}  // namespace lockstep
