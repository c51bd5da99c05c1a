// Sums of 2 to 8 values in one pass, closing with a limit, in the layout of the first source that has one.
#include "kernels/sum.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cuda/activation_functions.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

template <typename T, typename F>
struct AddAll {
  F f;
  const T* src[kMaxSummands];
  int n_src;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    float sum[W];
    const Pack<T, W> first = load<W>(src[0] + i);
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k] = to_float(first.at[k]);
#pragma unroll  // indices known to the compiler: pointers come from the parameters, not from a copy in memory
    for (int s = 1; s < static_cast<int>(kMaxSummands); ++s) {
      if (s >= n_src) break;
      const Pack<T, W> x = load<W>(src[s] + i);
#pragma unroll
      for (int k = 0; k < W; ++k) sum[k] += to_float(x.at[k]);
    }
    Pack<T, W> y;
#pragma unroll
    for (int k = 0; k < W; ++k) y.at[k] = from_float<T>(f.value(sum[k]));
    store<W>(dst + i, y);
  }
};

/// diff_src[s] = f.gradient(dst, diff_dst) for each s; one of them may be diff_dst itself.
template <typename T, typename F>
struct ShareGradient {
  F f;
  const T *dst, *diff_dst;  // dst: null where f does not ask for it
  T* diff_src[kMaxSummands];
  int n_diff_src;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<T, W> g = load<W>(diff_dst + i);
    if (dst) {
      const Pack<T, W> y = load<W>(dst + i);
#pragma unroll
      for (int k = 0; k < W; ++k) g.at[k] = from_float<T>(f.gradient(to_float(y.at[k]), to_float(g.at[k])));
    }
#pragma unroll
    for (int s = 0; s < static_cast<int>(kMaxSummands); ++s)
      if (s < n_diff_src) store<W>(diff_src[s] + i, g);
  }
};

/// The arrays of one call: all of them aligned to 16 bytes, or a pointer that is not.
template <typename T>
const T* least_aligned(const T* const* arrays, int n) {
  for (int i = 0; i < n; ++i)
    if (reinterpret_cast<uintptr_t>(arrays[i]) % 16 != 0) return arrays[i];
  return nullptr;
}

class SumOp : public Op {
 public:
  SumOp(const SumDesc& desc, const TensorDesc& form) : activation_(desc.activation) {
    info_.src.assign(desc.src.size(), form);
    info_.dst = {form};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = activation_ != Activation::kNone;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_form([&]<typename T>(auto f) {
      AddAll<T, decltype(f)> add{f, {}, static_cast<int>(args.src.size()), args.dst[0].as<T>()};
      for (int s = 0; s < add.n_src; ++s) add.src[s] = args.src[static_cast<size_t>(s)].as<const T>();
      stream_over<kPack<T>>(stream, n_elements(), add, add.dst, least_aligned<T>(add.src, add.n_src));
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    with_form([&]<typename T>(auto f) {
      ShareGradient<T, decltype(f)> share{f, nullptr, args.diff_dst[0].as<const T>(), {}, 0};
      if (info_.backward_needs_dst) share.dst = args.dst[0].as<const T>();
      for (const Tensor& diff_src : args.diff_src) {
        const bool is_there = !share.dst && diff_src.data == args.diff_dst[0].data;
        if (!diff_src.empty() && !is_there) share.diff_src[share.n_diff_src++] = diff_src.as<T>();
      }
      if (share.n_diff_src == 0) return;
      stream_over<kPack<T>>(stream, n_elements(), share, share.dst, share.diff_dst,
                            least_aligned<T>(share.diff_src, share.n_diff_src));
    });
  }

 private:
  int64_t n_elements() const { return info_.dst[0].n_elements(); }

  template <typename Body>
  void with_form(const Body& body) const {
    with_element(info_.dst[0].dtype, [&]<typename T>() {
      switch (activation_) {
        case Activation::kRelu: return body.template operator()<T>(Relu{});
        case Activation::kRelu6: return body.template operator()<T>(Relu6{});
        default: return body.template operator()<T>(Identity{});
      }
    });
  }

  Activation activation_;
};

}  // namespace

std::unique_ptr<Op> make_sum(const OpConfig& config, const SumDesc& desc) {
  const auto last = std::find_if(desc.src.begin(), desc.src.end(), is_channels_last);
  const TensorDesc& like = last == desc.src.end() ? desc.src[0] : *last;
  return std::make_unique<SumOp>(desc, like_layout(like, like.shape, config.compute));
}

}  // namespace lockstep::cuda
