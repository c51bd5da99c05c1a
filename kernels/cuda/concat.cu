// Concatenation and slices: along an axis, the memory of a tensor is (outer, run); an axis cut in two cuts
// every run in two, so that both ops copy runs. They move in the largest unit, up to 16 bytes, that divides
// all of them.
#include "kernels/concat.h"

#include <algorithm>
#include <numeric>

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

/// dst[o * dst_run + at + i] = src[o * src_run + from + i] for o < outer, i < run.
struct Runs {
  int64_t outer, run, src_run, from, dst_run, at;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) copy_runs(Runs runs, const T* src, T* dst) {
  const int64_t i = global_thread();
  if (i >= runs.outer * runs.run) return;
  const int64_t o = i / runs.run, k = i % runs.run;
  dst[o * runs.dst_run + runs.at + k] = src[o * runs.src_run + runs.from + k];
}

template <typename T>
__global__ void __launch_bounds__(kThreads) paste_runs(Runs runs, const T* src, T* dst) {
  const int64_t i = global_thread();
  if (i >= runs.outer * runs.dst_run) return;
  const int64_t o = i / runs.dst_run, k = i % runs.dst_run - runs.at;
  dst[i] = k >= 0 && k < runs.run ? src[o * runs.src_run + runs.from + k] : T{};
}

/// body.operator()<T>() with a type of `n_bytes`.
template <typename Body>
void with_unit(int64_t n_bytes, const Body& body) {
  switch (n_bytes) {
    case 16: return body.template operator()<Pack<uint32_t, 4>>();
    case 8: return body.template operator()<Pack<uint32_t, 2>>();
    case 4: return body.template operator()<uint32_t>();
    case 2: return body.template operator()<uint16_t>();
    default: return body.template operator()<uint8_t>();
  }
}

/// Copies; with `clears` it also writes zeros around what it copies into each run of dst. Sizes in bytes.
void move(Stream& stream, bool clears, Runs runs, const void* src, void* dst) {
  int64_t unit = 16;
  const auto addresses =
      static_cast<int64_t>((reinterpret_cast<uintptr_t>(src) | reinterpret_cast<uintptr_t>(dst)) % 16);
  for (const int64_t bytes : {runs.run, runs.src_run, runs.from, runs.dst_run, runs.at, addresses})
    unit = std::gcd(unit, bytes);
  with_unit(unit, [&]<typename T>() {
    const Runs units{runs.outer,       runs.run / unit,     runs.src_run / unit,
                     runs.from / unit, runs.dst_run / unit, runs.at / unit};
    const auto* x = static_cast<const T*>(src);
    auto* y = static_cast<T*>(dst);
    if (clears) {
      launch(stream, blocks_for(units.outer * units.dst_run), kThreads, paste_runs<T>, units, x, y);
    } else {
      launch(stream, blocks_for(units.outer * units.run), kThreads, copy_runs<T>, units, x, y);
    }
  });
}

/// The runs that `axis` cuts: channels-last, channels are the innermost axis.
int64_t outer_of(const TensorDesc& desc, bool channels_last, int axis) {
  int64_t outer = desc.shape[0];
  if (channels_last && axis == 1) return desc.n_elements() / desc.shape[1];
  for (int i = channels_last ? 2 : 1; i < axis; ++i) outer *= desc.shape[i];
  return outer;
}

DType type_of(const OpConfig& config, const TensorDesc& src) {
  const bool is_float =
      src.dtype == DType::kFloat32 || src.dtype == DType::kBFloat16 || src.dtype == DType::kFloat16;
  return is_float ? config.compute : src.dtype;
}

class Concat : public Op {
 public:
  Concat(const OpConfig& config, const ConcatDesc& desc) {
    const auto last = std::find_if(desc.src.begin(), desc.src.end(), is_channels_last);
    const TensorDesc& like = last == desc.src.end() ? desc.src[0] : *last;
    const DType dtype = type_of(config, desc.src[0]);
    Shape joined = like.shape;
    joined[desc.axis] = 0;
    for (const TensorDesc& src : desc.src) {
      joined[desc.axis] += src.shape[desc.axis];
      info_.src.push_back(like_layout(like, src.shape, dtype));
    }
    info_.dst = {like_layout(like, joined, dtype)};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    outer_ = outer_of(info_.dst[0], is_channels_last(like), desc.axis);
  }

  void forward(Stream& stream, const OpArgs& args) override {
    int64_t at = 0;
    for (size_t k = 0; k < info_.src.size(); at += run(info_.src[k++]))
      move(stream, false, {outer_, run(info_.src[k]), run(info_.src[k]), 0, run(info_.dst[0]), at},
           args.src[k].data, args.dst[0].data);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    int64_t from = 0;
    for (size_t k = 0; k < info_.src.size(); from += run(info_.src[k++])) {
      if (args.diff_src[k].empty()) continue;
      move(stream, false, {outer_, run(info_.src[k]), run(info_.dst[0]), from, run(info_.src[k]), 0},
           args.diff_dst[0].data, args.diff_src[k].data);
    }
  }

 private:
  int64_t run(const TensorDesc& desc) const { return desc.n_bytes() / outer_; }

  int64_t outer_ = 1;
};

class Slice : public Op {
 public:
  Slice(const OpConfig& config, const SliceDesc& desc) {
    const DType dtype = type_of(config, desc.src);
    Shape cut = desc.src.shape;
    cut[desc.axis] = desc.end - desc.begin;
    info_.src = {like_layout(desc.src, desc.src.shape, dtype)};
    info_.dst = {like_layout(desc.src, cut, dtype)};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    outer_ = outer_of(info_.src[0], is_channels_last(desc.src), desc.axis);
    src_run_ = info_.src[0].n_bytes() / outer_;
    dst_run_ = info_.dst[0].n_bytes() / outer_;
    before_ = src_run_ / desc.src.shape[desc.axis] * desc.begin;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    move(stream, false, {outer_, dst_run_, src_run_, before_, dst_run_, 0}, args.src[0].data,
         args.dst[0].data);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    move(stream, true, {outer_, dst_run_, dst_run_, 0, src_run_, before_}, args.diff_dst[0].data,
         args.diff_src[0].data);
  }

 private:
  int64_t outer_ = 1, src_run_ = 0, dst_run_ = 0, before_ = 0;  // bytes
};

}  // namespace

std::unique_ptr<Op> make_concat(const OpConfig& config, const ConcatDesc& desc) {
  return std::make_unique<Concat>(config, desc);
}

std::unique_ptr<Op> make_slice(const OpConfig& config, const SliceDesc& desc) {
  return std::make_unique<Slice>(config, desc);
}

}  // namespace lockstep::cuda
