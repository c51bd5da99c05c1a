// One-hot vectors on the CPU, written in their own type.
#include "kernels/one_hot.h"

#include <algorithm>
#include <limits>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

class OneHot : public Op {
 public:
  OneHot(const OpConfig& config, const OneHotDesc& desc) : n_(desc.ids.n_elements()), classes_(desc.classes) {
    Shape dst = desc.ids.shape.with_front(1);
    for (int i = 0; i + 1 < dst.rank(); ++i) dst[i] = desc.ids.shape[i];
    dst[dst.rank() - 1] = classes_;
    info_.src = {desc.ids.dense()};
    info_.dst = {{dst, config.compute, nullptr}};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const auto* ids = args.src[0].as<const int32_t>();
    if (info_.dst[0].dtype == DType::kFloat32)
      write(ids, args.dst[0].as<float>());
    else
      write(ids, args.dst[0].as<BFloat16>());
  }
  void backward(Stream&, const OpArgs&) override {}

 private:
  template <typename T>
  void write(const int32_t* ids, T* dst) const {
    const T zero = from_float<T>(0.0f), one = from_float<T>(1.0f);
    const T nan = from_float<T>(std::numeric_limits<float>::quiet_NaN());
#pragma omp parallel for schedule(static) if (n_ * classes_ >= kParallelElements)
    for (int64_t i = 0; i < n_; ++i) {
      const bool is_class = ids[i] >= 0 && ids[i] < classes_;
      std::fill_n(dst + i * classes_, classes_, is_class ? zero : nan);
      if (is_class) dst[i * classes_ + ids[i]] = one;
    }
  }

  int64_t n_, classes_;
};

}  // namespace

std::unique_ptr<Op> make_one_hot(const OpConfig& config, const OneHotDesc& desc) {
  return std::make_unique<OneHot>(config, desc);
}

}  // namespace lockstep::cpu
