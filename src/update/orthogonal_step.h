// The step of Muon (Jordan et al. 2024): momentum, made orthogonal.
#pragma once

#include <memory>
#include <vector>

#include "kernels/op.h"
#include "kernels/update_ranges.h"
#include "src/update/parameter_rule.h"

namespace lockstep {

struct MuonOptions {
  double momentum = 0.95;
  bool nesterov = true;
  int steps = 5;  // of Newton and Schulz
};

/// Of a matrix (rows, columns), as torch.optim.Muon:
///   v = momentum v + (1 - momentum) g;  u = nesterov ? (1 - momentum) g + momentum v : v
///   u = the orthogonal matrix nearest to u, roughly: X = u / |u|, then `steps` times
///       A = X X^T, X = 3.4445 X + (-4.7750 A + 2.0315 A A) X, on the transpose where rows > columns
///   w = w - lr weight_decay w - lr sqrt(max(1, rows / columns)) u
/// In float32, where PyTorch rounds the products to bfloat16. The state is v. On a GPU it waits for the norm.
class OrthogonalStep : public ParameterUpdate {
 public:
  OrthogonalStep(Device device, const Shape& shape, const MuonOptions& options);
  void update(Stream& stream, const ParameterArgs& args) override;

 private:
  /// An op over matrices (1, …) with its tensors bound.
  struct Call {
    std::unique_ptr<Op> op;
    std::vector<Tensor> src, dst, params;
    Memory workspace, scratchpad;
    void run(Stream& stream, const Memory& batch);
  };
  Call product(const Memory& a, const Shape& shape_a, const Memory& b, const Shape& shape_b,
               const Memory& to);
  Call bound(std::unique_ptr<Op> op, Tensor src, std::vector<Tensor> params, Tensor dst) const;
  Call turn(const Memory& from, const Shape& shape, const Memory& to);
  /// y = alpha y + beta x, n elements.
  void blend(Stream& stream, int64_t n, double alpha, float* y, double beta, const float* x);

  OpConfig config_;
  MuonOptions options_;
  int64_t rows_, columns_, m_, n_;  // X is (m, n), m <= n
  Memory batch_;                    // one sample, for the ops
  Memory u_, x_, turned_, gram_, square_, product_;
  UpdateRanges whole_, small_;  // of n_ m_ and of m_ m_ elements
  Call to_x_, turn_x_, gram_of_, square_of_, apply_, back_;
};

}  // namespace lockstep
