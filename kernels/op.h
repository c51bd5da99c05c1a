// An Op is one operation prepared once for fixed shapes on one device: it owns whatever
// the backend needs (primitives, algorithms, packed weights) and says how much memory a
// call needs. The plan binds its tensors; a call allocates nothing and chooses nothing.
//
// Conventions that every op keeps
//  * src, dst: activations in the layouts of info(). A gradient has the layout of its value.
//  * params: canonical float32 weights in the parameter arena, dense row-major; diff_params
//    likewise. backward() writes (never adds to) diff_src and diff_params. A statistic (a running
//    average of batch norm) is a param too: backward() writes n_valid times the micro-batch's
//    value into its diff_params, so that the sum over micro-batches, divided by the samples,
//    is their average.
//  * With config.compute bfloat16 (GPUs: or float16), src and dst have that type unless the op says
//    otherwise; sums inside an op are float32 or wider.
//  * On a GPU forward(), backward() and prepare() submit work to the stream and never wait.
//  * An empty diff_src tensor means that this gradient is not wanted. Integer sources have no gradient.
//  * An empty diff_dst tensor, which ops with several results may get, means that this gradient is zero.
//  * Every sum has a fixed order that depends on shapes and thread count only, never on
//    timing, so that a repeated call gives equal bits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace lockstep {

/// How ops are to be built; the same for all ops of a plan.
struct OpConfig {
  Device device;
  bool training = true;             // false: backward() is never called
  DType compute = DType::kFloat32;  // type of activations
  bool tf32 = false;                // GPUs: products of float32 may round their factors to TF32
  /// GPUs: of those that compute a convolution, algorithms that want more scratch memory are passed over.
  int64_t convolution_workspace_bytes = int64_t{512} << 20;
};

/// What changes from micro-batch to micro-batch. The plan owns one; ops read it. On a GPU it and what it
/// points to lie in memory of the GPU: kernels read it, the host side of an op never does.
struct BatchContext {
  uint64_t seed = 0;
  int64_t step = 0;                     // global step, from 0
  int64_t n_valid = 0;                  // rows [n_valid, N) are padding: no loss, zero gradient
  const int64_t* sample_ids = nullptr;  // (N): dataset row of each sample
  float loss_scale = 1;    // of the gradients that losses write, not of their values: for float16
  int64_t first_step = 0;  // incremental evaluation: steps of the sequences that earlier calls have seen
  const int32_t* parents =
      nullptr;  // (N): there, sample n goes on with what sample parents[n] had; null: itself
};

struct OpInfo {
  std::vector<TensorDesc> src;  // the layouts wanted; the plan reorders where they differ
  std::vector<TensorDesc> dst;
  int64_t workspace_bytes = 0;   // kept from forward() to backward()
  int64_t scratchpad_bytes = 0;  // needed within one call only; shared by all ops
  bool backward_needs_src = true;
  bool backward_needs_dst = true;
  bool diff_src_in_place =
      false;                 // diff_src[0] may be src[0]'s memory: each element is read before it is written
  bool aliases_src = false;  // dst is src under another shape: nothing is computed
};

/// The tensors of one op, bound by the plan for the life of the plan.
struct OpArgs {
  std::span<const Tensor> src, dst, params;
  std::span<const Tensor> diff_src, diff_dst, diff_params;
  std::byte* workspace = nullptr;   // 64-byte aligned
  std::byte* scratchpad = nullptr;  // 64-byte aligned
  const BatchContext* batch = nullptr;
};

/// Whether activations on this device can have that type: float32 or bfloat16, on a GPU also float16.
bool is_activation_type(Device device, DType dtype);
/// Throws Error in the name of `op` unless they can.
void check_activation_type(const char* op, const OpConfig& config, DType dtype);

class Op {
 public:
  virtual ~Op() = default;
  const OpInfo& info() const { return info_; }

  /// Refreshes copies of the weights in the backend's own layout. Called after every
  /// change of the weights and before the next forward(). params: as in OpArgs.
  virtual void prepare(Stream& stream, std::span<const Tensor> params);
  virtual void forward(Stream& stream, const OpArgs& args) = 0;
  virtual void backward(Stream& stream, const OpArgs& args) = 0;

 protected:
  OpInfo info_;
};

}  // namespace lockstep
