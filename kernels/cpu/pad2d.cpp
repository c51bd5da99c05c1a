// Padding of images by their own pixels on the CPU, dense or blocked by channels: a plane is
// (H, W, inner). Forward copies; the inside of a row is one run. Backward sums into a row of float32
// which one thread owns, in the order that pad2d.h states, so that threads change no bits.
#include "kernels/pad2d.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/parallel.h"

namespace lockstep::cpu {

namespace {

/// The place in [0, extent) whose value lies at `at`, which may be beyond the edge.
int64_t source_of(PaddingMode mode, int64_t at, int64_t extent) {
  if (at >= 0 && at < extent) return at;
  if (mode == PaddingMode::kReflect) return at < 0 ? -at : 2 * (extent - 1) - at;
  if (mode == PaddingMode::kCircular) return at < 0 ? at + extent : at - extent;
  return std::clamp<int64_t>(at, 0, extent - 1);
}

std::vector<int64_t> sources(PaddingMode mode, int64_t before, int64_t extent, int64_t after) {
  std::vector<int64_t> result;
  for (int64_t at = -before; at < extent + after; ++at) result.push_back(source_of(mode, at, extent));
  return result;
}

template <typename T>
class Pad2d : public Op {
 public:
  Pad2d(const OpConfig& config, const Pad2dDesc& desc) {
    const TensorDesc typed = with_dtype(desc.src, config.compute);
    const auto blocks = channel_blocks(typed);
    const TensorDesc src = blocks ? typed : typed.dense();
    const auto [top, bottom, left, right] = desc.padding;
    const Shape& s = src.shape;
    planes_ = blocks ? blocks->samples * blocks->blocks : s[0] * s[1];
    inner_ = blocks ? blocks->block : 1;
    height_ = s[2];
    width_ = s[3];
    left_ = left;
    rows_ = sources(desc.mode, top, height_, bottom);
    columns_ = sources(desc.mode, left, width_, right);
    copies_.resize(static_cast<size_t>(height_));
    for (size_t p = 0; p < rows_.size(); ++p)
      copies_[static_cast<size_t>(rows_[p])].push_back(static_cast<int64_t>(p));

    info_.src = {src};
    info_.dst = {like_layout(src, Shape{s[0], s[1], top + height_ + bottom, left + width_ + right})};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    const int64_t n_elements = planes_ * n_rows() * n_columns() * inner_;
    n_parts_ = std::clamp<int64_t>(n_elements / kParallelElements, 1, compute_threads());
    row_bytes_ = (width_ * inner_ * 4 + 63) / 64 * 64;
    if (config.training) info_.scratchpad_bytes = n_parts_ * row_bytes_;
  }

  void forward(Stream&, const OpArgs& args) override {
    const T* src = args.src[0].as<const T>();
    T* dst = args.dst[0].as<T>();
    for_parts(planes_ * n_rows(), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t y = rows_[static_cast<size_t>(i % n_rows())];
        pad_row(src + (i / n_rows() * height_ + y) * width_ * inner_, dst + i * n_columns() * inner_);
      }
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const T* diff_dst = args.diff_dst[0].as<const T>();
    T* diff_src = args.diff_src[0].as<T>();
    for_parts(planes_ * height_, [&](int64_t part, int64_t begin, int64_t end) {
      float* sum = reinterpret_cast<float*>(args.scratchpad + part * row_bytes_);
      for (int64_t i = begin; i < end; ++i) {
        std::fill_n(sum, width_ * inner_, 0.0f);
        for (const int64_t p : copies_[static_cast<size_t>(i % height_)])
          add_row(diff_dst + (i / height_ * n_rows() + p) * n_columns() * inner_, sum);
        T* to = diff_src + i * width_ * inner_;
        for (int64_t j = 0; j < width_ * inner_; ++j) to[j] = from_float<T>(sum[j]);
      }
    });
  }

 private:
  int64_t n_rows() const { return static_cast<int64_t>(rows_.size()); }
  int64_t n_columns() const { return static_cast<int64_t>(columns_.size()); }

  /// Calls f(column of dst, column of src, how many) for the runs of a row, from left to right.
  template <typename F>
  void for_runs(const F& f) const {
    for (int64_t q = 0; q < left_; ++q) f(q, columns_[static_cast<size_t>(q)], 1);
    f(left_, 0, width_);
    for (int64_t q = left_ + width_; q < n_columns(); ++q) f(q, columns_[static_cast<size_t>(q)], 1);
  }

  void pad_row(const T* src, T* dst) const {
    for_runs([&](int64_t q, int64_t x, int64_t n) {
      std::memcpy(dst + q * inner_, src + x * inner_, static_cast<size_t>(n * inner_) * sizeof(T));
    });
  }

  void add_row(const T* diff_dst, float* sum) const {
    for_runs([&](int64_t q, int64_t x, int64_t n) {
      const T* from = diff_dst + q * inner_;
      float* to = sum + x * inner_;
      for (int64_t j = 0; j < n * inner_; ++j) to[j] += to_float(from[j]);
    });
  }

  /// Cuts n rows over the threads.
  template <typename F>
  void for_parts(int64_t n, const F& f) const {
#pragma omp parallel for schedule(static) if (n_parts_ > 1)
    for (int64_t part = 0; part < n_parts_; ++part) f(part, part * n / n_parts_, (part + 1) * n / n_parts_);
  }

  int64_t planes_ = 0, inner_ = 1, height_ = 0, width_ = 0, left_ = 0;
  std::vector<int64_t> rows_, columns_;       // of dst: their row and column of src
  std::vector<std::vector<int64_t>> copies_;  // of a row of src: its rows of dst
  int64_t n_parts_ = 1, row_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_pad2d(const OpConfig& config, const Pad2dDesc& desc) {
  if (config.compute == DType::kBFloat16) return std::make_unique<Pad2d<BFloat16>>(config, desc);
  return std::make_unique<Pad2d<float>>(config, desc);
}

}  // namespace lockstep::cpu
