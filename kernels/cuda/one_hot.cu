// One-hot vectors on GPUs, a thread per element.
#include "kernels/one_hot.h"

#include "kernels/backend.h"
#include "kernels/cuda/element.h"

namespace lockstep::cuda {

namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads)
    one_hot_kernel(int64_t n, int64_t classes, const int32_t* ids, T* dst) {
  const int64_t i = global_thread();
  if (i >= n * classes) return;
  const int64_t id = ids[i / classes];
  const bool is_class = id >= 0 && id < classes;
  dst[i] = from_float<T>(!is_class ? __builtin_nanf("") : id == i % classes ? 1.0f : 0.0f);
}

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

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.dst[0].dtype, [&]<typename T>() {
      launch(stream, blocks_for(n_ * classes_), kThreads, one_hot_kernel<T>, n_, classes_,
             args.src[0].as<const int32_t>(), args.dst[0].as<T>());
    });
  }
  void backward(Stream&, const OpArgs&) override {}

 private:
  int64_t n_, classes_;
};

}  // namespace

std::unique_ptr<Op> make_one_hot(const OpConfig& config, const OneHotDesc& desc) {
  return std::make_unique<OneHot>(config, desc);
}

}  // namespace lockstep::cuda
