// Softmax row by row on dense tensors, a warp or block for each; sums in float64.
#include "kernels/softmax.h"

#include "kernels/backend.h"
#include "kernels/cuda/rows.h"

namespace lockstep::cuda {

namespace {

template <typename T, int kGroup, int W>
__global__ void __launch_bounds__(kThreads) softmax_forward(int64_t n, int64_t k, const T* src, T* dst) {
  const GroupPlace<kGroup> at;
  if (at.group >= n) return;  // all threads of the group
  const T* x = src + at.group * k;
  T* y = dst + at.group * k;
  float maximum = Maximum::none<float>();
  for_row<kGroup, W>(k, at.lane, x, [&](int64_t, float v) { maximum = Maximum{}(maximum, v); });
  maximum = group_reduce<kGroup>(maximum, Maximum{});
  double sum = 0;
  for_row<kGroup, W>(k, at.lane, x, [&](int64_t, float v) { sum += expf(v - maximum); });
  const auto factor = static_cast<float>(1.0 / group_reduce<kGroup>(sum, Sum{}));
  for (int64_t j = static_cast<int64_t>(at.lane) * W; j < k; j += kGroup * W) {
    Pack<T, W> pack = load<W>(x + j);
#pragma unroll
    for (int i = 0; i < W; ++i) pack.at[i] = from_float<T>(expf(to_float(pack.at[i]) - maximum) * factor);
    store<W>(y + j, pack);
  }
}

template <typename T, int kGroup, int W>
__global__ void __launch_bounds__(kThreads)
    softmax_backward(int64_t n, int64_t k, const T* dst, const T* diff_dst, T* diff_src) {
  const GroupPlace<kGroup> at;
  if (at.group >= n) return;
  const T *y = dst + at.group * k, *g = diff_dst + at.group * k;
  T* diff = diff_src + at.group * k;
  double sum = 0;
  for_row<kGroup, W>(k, at.lane, y,
                     [&](int64_t j, float v) { sum += static_cast<double>(v) * to_float(g[j]); });
  const auto projection = static_cast<float>(group_reduce<kGroup>(sum, Sum{}));
  for (int64_t j = static_cast<int64_t>(at.lane) * W; j < k; j += kGroup * W) {
    Pack<T, W> pack = load<W>(y + j);
    const Pack<T, W> of_dst = load<W>(g + j);
#pragma unroll
    for (int i = 0; i < W; ++i)
      pack.at[i] = from_float<T>(to_float(pack.at[i]) * (to_float(of_dst.at[i]) - projection));
    store<W>(diff + j, pack);
  }
}

class Softmax : public Op {
 public:
  explicit Softmax(const TensorDesc& src) : k_(src.shape[src.shape.rank() - 1]), n_(src.n_elements() / k_) {
    info_.src = {src.dense()};
    info_.dst = {src.dense()};
    info_.backward_needs_src = false;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_kernels([&]<typename T, int kGroup, int W>() {
      launch(stream, blocks_for(n_, kThreads / kGroup), kThreads, softmax_forward<T, kGroup, W>, n_, k_,
             args.src[0].as<const T>(), args.dst[0].as<T>());
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    with_kernels([&]<typename T, int kGroup, int W>() {
      launch(stream, blocks_for(n_, kThreads / kGroup), kThreads, softmax_backward<T, kGroup, W>, n_, k_,
             args.dst[0].as<const T>(), args.diff_dst[0].as<const T>(), args.diff_src[0].as<T>());
    });
  }

 private:
  template <typename Body>
  void with_kernels(const Body& body) const {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      with_group<T>(k_, [&]<int kGroup, int W>() { body.template operator()<T, kGroup, W>(); });
    });
  }

  int64_t k_, n_;
};

}  // namespace

std::unique_ptr<Op> make_softmax(const OpConfig&, const TensorDesc& src) {
  return std::make_unique<Softmax>(src);
}

}  // namespace lockstep::cuda
