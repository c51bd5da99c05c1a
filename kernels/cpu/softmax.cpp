// Softmax row by row on dense tensors; sums as in softmax_rows.h.
#include "kernels/softmax.h"

#include "kernels/backend.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/cpu/through_float32.h"

namespace lockstep::cpu {

namespace {

LOCKSTEP_VECTORIZE void row_backward(int64_t k, const float* dst, const float* diff_dst, float* diff_src) {
  const float projection = static_cast<float>(lane_sum(
      k, [=](int64_t j) LOCKSTEP_INLINE_LAMBDA { return static_cast<double>(dst[j]) * diff_dst[j]; }));
  for (int64_t j = 0; j < k; ++j) diff_src[j] = dst[j] * (diff_dst[j] - projection);
}

class Softmax : public Op {
 public:
  explicit Softmax(const TensorDesc& src)
      : k_(src.shape[src.shape.rank() - 1]), n_rows_(src.n_elements() / k_) {
    info_.src = {src.dense()};
    info_.dst = {src.dense()};
    info_.backward_needs_src = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const float* src = args.src[0].as<const float>();
    float* dst = args.dst[0].as<float>();
#pragma omp parallel for schedule(static) if (n_rows_ * k_ >= kParallelElements)
    for (int64_t row = 0; row < n_rows_; ++row) {
      const float* x = src + row * k_;
      float* y = dst + row * k_;
      const double sum = exponentials(k_, x, row_maximum(k_, x), y);
      scale_row(k_, static_cast<float>(1.0 / sum), y);
    }
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    const float *dst = args.dst[0].as<const float>(), *diff_dst = args.diff_dst[0].as<const float>();
    float* diff_src = args.diff_src[0].as<float>();
#pragma omp parallel for schedule(static) if (n_rows_ * k_ >= kParallelElements)
    for (int64_t row = 0; row < n_rows_; ++row)
      row_backward(k_, dst + row * k_, diff_dst + row * k_, diff_src + row * k_);
  }

 private:
  int64_t k_, n_rows_;
};

}  // namespace

std::unique_ptr<Op> make_softmax(const OpConfig&, const TensorDesc& src) {
  auto op = std::make_unique<Softmax>(as_float32(src));
  if (src.dtype == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
