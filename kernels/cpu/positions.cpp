// Positions on the CPU: the rows of a table added to each sample.
#include "kernels/positions.h"

#include <algorithm>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/error.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

LOCKSTEP_VECTORIZE void sum_of_two(int64_t n, const float* a, const float* b, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = a[i] + b[i];
}

class Positions : public Op {
 public:
  explicit Positions(const PositionsDesc& desc)
      : desc_(desc), n_(desc.src.shape[0]), steps_(desc.src.shape[1]), width_(desc.src.shape[2]) {
    if (!desc.learned) table_ = sinusoid_table(desc.max_steps, width_, desc.sinusoids);
    info_.src = {{desc.src.shape}};
    info_.dst = {{desc.src.shape}};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const int64_t first = args.batch->first_step, size = steps_ * width_;
    if (first + steps_ > desc_.max_steps)
      throw Error("positions",
                  "steps up to " + std::to_string(first + steps_) + ", but positions for " +
                      std::to_string(desc_.max_steps),
                  "raise max_steps, or read shorter sequences");
    const float* table = (desc_.learned ? args.params[0].as<const float>() : table_.data()) + first * width_;
    const float* src = args.src[0].as<const float>();
    float* dst = args.dst[0].as<float>();
#pragma omp parallel for schedule(static) if (n_ * size >= kParallelElements)
    for (int64_t row = 0; row < n_; ++row) sum_of_two(size, src + row * size, table, dst + row * size);
  }

  void backward(Stream&, const OpArgs& args) override {
    const int64_t size = steps_ * width_;
    const float* diff_dst = args.diff_dst[0].as<const float>();
    if (float* diff_src = args.diff_src[0].as<float>()) {
      if (diff_dst)
        std::copy_n(diff_dst, n_ * size, diff_src);
      else
        std::fill_n(diff_src, n_ * size, 0.0f);
    }
    if (!desc_.learned) return;
    float* diff = args.diff_params[0].as<float>();
    std::fill_n(diff, desc_.max_steps * width_, 0.0f);
    if (diff_dst == nullptr) return;
    const int64_t n_valid = args.batch->n_valid;
#pragma omp parallel for schedule(static) if (n_ * size >= kParallelElements)
    for (int64_t step = 0; step < steps_; ++step)
      for (int64_t row = 0; row < n_valid; ++row)
        sum_of_two(width_, diff + step * width_, diff_dst + (row * steps_ + step) * width_,
                   diff + step * width_);
  }

 private:
  PositionsDesc desc_;
  int64_t n_, steps_, width_;  // N, T, W
  std::vector<float> table_;   // (max_steps, W), unless learned
};

}  // namespace

std::unique_ptr<Op> make_positions(const OpConfig& config, const PositionsDesc& desc) {
  auto op = std::make_unique<Positions>(desc);
  if (config.compute == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
