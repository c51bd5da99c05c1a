// Arithmetic between two values on GPUs. dst is walked in the order of its memory, channels-last where a
// value of its rank is; the axes say how far each value moves. A gradient of what repeats is the sum over its
// copies: by a thread where its neighbours in memory are the neighbours in dst, else by a warp or block, as a
// tree.
#include <algorithm>

#include "kernels/arithmetic.h"
#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/valid_rows.h"

namespace lockstep::cuda {

namespace {

/// One kernel for all of them: it waits for memory, and all threads take the same branch.
struct Formula {
  Arithmetic arithmetic;

  __device__ __forceinline__ bool needs_sources() const {
    return arithmetic == Arithmetic::kMultiply || arithmetic == Arithmetic::kDivide;
  }
  __device__ __forceinline__ float value(float a, float b) const {
    switch (arithmetic) {
      case Arithmetic::kAdd: return a + b;
      case Arithmetic::kSubtract: return a - b;
      case Arithmetic::kMultiply: return a * b;
      case Arithmetic::kDivide: return a / b;
    }
    return 0.0f;
  }
  /// With respect to a (operand 0) or b.
  __device__ __forceinline__ float gradient(int operand, float g, float a, float b) const {
    switch (arithmetic) {
      case Arithmetic::kAdd: return g;
      case Arithmetic::kSubtract: return operand == 0 ? g : -g;
      case Arithmetic::kMultiply: return operand == 0 ? g * b : g * a;
      case Arithmetic::kDivide: return operand == 0 ? g / b : -(g / b) * (a / b);
    }
    return 0.0f;
  }
};

/// Some axes of dst; a step along one moves so far in each array.
struct Axes {
  int n = 0;
  struct {
    int64_t extent, dst, a, b;
  } axis[Shape::kMaxRank] = {};

  struct Place {
    int64_t dst = 0, a = 0, b = 0;
  };
  /// Adds the place of number i of these axes, the last one fastest.
  __device__ __forceinline__ void move(int64_t i, Place& place) const {
    for (int d = n - 1; d >= 0; --d) {
      const int64_t next = i / axis[d].extent, at = i - next * axis[d].extent;
      place.dst += at * axis[d].dst;
      place.a += at * axis[d].a;
      place.b += at * axis[d].b;
      i = next;
    }
  }
};

template <int W, typename T>
__device__ __forceinline__ Pack<T, W> load_or_repeat(const T* from, int64_t stride) {
  if (stride != 0) return load<W>(from);
  Pack<T, W> x;
#pragma unroll
  for (int k = 0; k < W; ++k) x.at[k] = *from;
  return x;
}

/// result = value(a, b), or where diff_dst is given the gradient of an operand that does not repeat.
template <typename T>
struct Elements {
  Formula f;
  Axes axes;
  int64_t n_samples, row;  // row: elements of a sample of dst
  const BatchContext* batch;
  const T *a, *b, *diff_dst;
  int operand;
  T* result;
  template <int W>
  __device__ void at(int64_t i) const {
    const int64_t n = valid_elements(batch, n_samples, row);
    Pack<T, W> x{}, y{}, g{};
    if (!diff_dst || f.needs_sources()) {
      Axes::Place place;
      axes.move(i, place);
      x = load_or_repeat<W>(a + place.a, axes.axis[axes.n - 1].a);
      y = load_or_repeat<W>(b + place.b, axes.axis[axes.n - 1].b);
    }
    if (diff_dst) g = load<W>(diff_dst + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float u = to_float(x.at[k]), v = to_float(y.at[k]);
      const float r = diff_dst ? f.gradient(operand, to_float(g.at[k]), u, v) : f.value(u, v);
      g.at[k] = from_float<T>(i + k < n ? r : 0.0f);
    }
    store<W>(result + i, g);
  }
};

/// The gradient of an operand of n elements, each repeated along the axes `copies`.
template <typename T>
struct Repeated {
  Formula f;
  Axes own, copies;
  int64_t n, n_copies, n_samples;
  const BatchContext* batch;
  const T *a, *b, *diff_dst;
  int operand;
  T* diff;
};

template <typename T, int kGroup>
__global__ void __launch_bounds__(kThreads) sum_copies(Repeated<T> r) {
  const GroupPlace<kGroup> at;
  if (at.group >= r.n) return;
  float sum = 0.0f;
  const bool counts = at.group < valid_elements(r.batch, r.n_samples, r.n / r.n_samples);
  Axes::Place element;
  r.own.move(at.group, element);
  for (int64_t i = at.lane; counts && i < r.n_copies; i += kGroup) {
    Axes::Place place = element;
    r.copies.move(i, place);
    const bool reads = r.f.needs_sources();
    const float a = reads ? to_float(r.a[place.a]) : 0.0f, b = reads ? to_float(r.b[place.b]) : 0.0f;
    sum += r.f.gradient(r.operand, to_float(r.diff_dst[place.dst]), a, b);
  }
  sum = group_reduce<kGroup>(sum, Sum{});
  if (at.lane == 0) r.diff[at.group] = from_float<T>(sum);
}

/// A shape (N, …) with extents of 1 behind the samples up to this rank, its channels moved to the end if
/// wanted.
Shape as_in_memory(const Shape& shape, int rank, bool channels_last) {
  Shape padded;
  padded = shape.without_front();
  while (padded.rank() < rank - 1) padded = padded.with_front(1);
  if (channels_last)
    for (int i = 0; i + 1 < padded.rank(); ++i) std::swap(padded[i], padded[i + 1]);
  return padded.with_front(shape[0]);
}

class Binary : public Op {
 public:
  Binary(const OpConfig& config, const BinaryDesc& desc) : f_{desc.arithmetic} {
    const Shape sample = broadcast_shape(desc.a.shape.without_front(), desc.b.shape.without_front());
    const TensorDesc dense{sample.with_front(desc.a.shape[0]), config.compute, nullptr};
    const int rank = dense.shape.rank();
    bool last = false;
    for (const TensorDesc* x : {&desc.a, &desc.b})
      last = last || (is_channels_last(*x) && x->shape.rank() == rank);
    for (const TensorDesc* x : {&desc.a, &desc.b}) {
      const TensorDesc form{x->shape, config.compute, nullptr};
      info_.src.push_back(last && x->shape.rank() == rank ? channels_last(form) : form);
    }
    info_.dst = {last ? channels_last(dense) : dense};
    info_.backward_needs_src = f_.arithmetic == Arithmetic::kMultiply || f_.arithmetic == Arithmetic::kDivide;
    info_.backward_needs_dst = false;

    for (const BroadcastAxis& axis :
         broadcast_axes(as_in_memory(desc.a.shape, rank, last), as_in_memory(desc.b.shape, rank, last),
                        as_in_memory(dense.shape, rank, last)))
      all_.axis[all_.n++] = {axis.extent, 0, axis.a_stride, axis.b_stride};
    if (all_.n == 0) all_.axis[all_.n++] = {1, 1, 1, 1};
    int64_t stride = 1;
    for (int d = all_.n - 1; d >= 0; --d) {
      all_.axis[d].dst = stride;
      stride *= all_.axis[d].extent;
    }
  }

  void forward(Stream& stream, const OpArgs& args) override { over_elements(stream, args, -1, args.dst[0]); }
  void backward(Stream& stream, const OpArgs& args) override {
    for (const int operand : {0, 1}) {
      const Tensor& diff = args.diff_src[static_cast<size_t>(operand)];
      if (diff.empty()) continue;
      if (diff.desc.n_elements() == info_.dst[0].n_elements()) {
        over_elements(stream, args, operand, diff);
      } else {
        over_copies(stream, args, operand, diff);
      }
    }
  }

 private:
  int64_t n_samples() const { return info_.dst[0].shape[0]; }

  void over_elements(Stream& stream, const OpArgs& args, int operand, const Tensor& result) const {
    const int64_t n = info_.dst[0].n_elements();
    with_element(info_.dst[0].dtype, [&]<typename T>() {
      const T* diff_dst = operand < 0 ? nullptr : args.diff_dst[0].as<const T>();
      const Elements<T> elements{f_,
                                 all_,
                                 n_samples(),
                                 n / n_samples(),
                                 args.batch,
                                 args.src[0].as<const T>(),
                                 args.src[1].as<const T>(),
                                 diff_dst,
                                 operand,
                                 result.as<T>()};
      if (all_.axis[all_.n - 1].extent % kPack<T> == 0) {
        stream_over<kPack<T>>(stream, n, elements, elements.a, elements.b, diff_dst, elements.result);
      } else {
        stream_over<1>(stream, n, elements);
      }
    });
  }

  void over_copies(Stream& stream, const OpArgs& args, int operand, const Tensor& diff) const {
    Axes own, copies;
    for (int d = 0; d < all_.n; ++d) {
      Axes& axes = (operand == 0 ? all_.axis[d].a : all_.axis[d].b) != 0 ? own : copies;
      axes.axis[axes.n++] = all_.axis[d];
    }
    const int64_t n = diff.desc.n_elements(), n_copies = info_.dst[0].n_elements() / n;
    const bool side_by_side = own.n > 0 && own.axis[own.n - 1].dst == 1;
    with_element(info_.dst[0].dtype, [&]<typename T>() {
      const Repeated<T> repeated{f_,
                                 own,
                                 copies,
                                 n,
                                 n_copies,
                                 n_samples(),
                                 args.batch,
                                 args.src[0].as<const T>(),
                                 args.src[1].as<const T>(),
                                 args.diff_dst[0].as<const T>(),
                                 operand,
                                 diff.as<T>()};
      if (side_by_side && n >= kManyElements) {
        launch(stream, blocks_for(n), kThreads, sum_copies<T, 1>, repeated);
      } else if (n_copies <= kRowOfWarp) {
        launch(stream, blocks_for(n, kThreads / kWarp), kThreads, sum_copies<T, kWarp>, repeated);
      } else {
        launch(stream, n, kThreads, sum_copies<T, kThreads>, repeated);
      }
    });
  }

  static constexpr int64_t kManyElements = 4096;  // a thread each keeps a GPU busy

  Formula f_;
  Axes all_;
};

}  // namespace

std::unique_ptr<Op> make_binary(const OpConfig& config, const BinaryDesc& desc) {
  return std::make_unique<Binary>(config, desc);
}

}  // namespace lockstep::cuda
