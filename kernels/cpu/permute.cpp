// Permutation of axes on the CPU: transposes of small tiles between the axis that is innermost in
// dst and the one that is innermost in src; plain copies of runs where the two are the same.
#include "kernels/permute.h"

#include <algorithm>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kTile = 32;
constexpr int64_t kParallelBytes = 1 << 17;  // below, a second thread costs more than it brings

/// One direction, prepared: `rows` is the axis along which src is contiguous, `columns` the one along
/// which dst is.
template <typename T>
class Moves {
 public:
  Moves() = default;
  explicit Moves(std::vector<PermutedAxis> dims) : columns_(dims.back()) {
    dims.pop_back();
    if (columns_.src_stride != 1) {
      const auto inner =
          std::find_if(dims.begin(), dims.end(), [](const PermutedAxis& dim) { return dim.src_stride == 1; });
      rows_ = *inner;
      dims.erase(inner);
    }
    others_ = std::move(dims);
    for (const PermutedAxis& dim : others_) n_others_ *= dim.extent;
  }

  void run(const T* src, T* dst) const {
    const int64_t row_tiles = (rows_.extent + kTile - 1) / kTile;
    const int64_t n_bytes = n_others_ * rows_.extent * columns_.extent * static_cast<int64_t>(sizeof(T));
#pragma omp parallel for schedule(static) if (n_bytes >= kParallelBytes)
    for (int64_t task = 0; task < n_others_ * row_tiles; ++task) {
      const int64_t first = task % row_tiles * kTile;
      int64_t from = first * rows_.src_stride, to = first * rows_.dst_stride, rest = task / row_tiles;
      for (auto dim = others_.rbegin(); dim != others_.rend(); ++dim) {
        from += rest % dim->extent * dim->src_stride;
        to += rest % dim->extent * dim->dst_stride;
        rest /= dim->extent;
      }
      if (columns_.src_stride == 1)
        std::memcpy(dst + to, src + from, static_cast<size_t>(columns_.extent) * sizeof(T));
      else
        transpose(std::min(kTile, rows_.extent - first), src + from, dst + to);
    }
  }

 private:
  void transpose(int64_t n_rows, const T* src, T* dst) const {
    for (int64_t begin = 0; begin < columns_.extent; begin += kTile) {
      const int64_t end = std::min(columns_.extent, begin + kTile);
      for (int64_t r = 0; r < n_rows; ++r)
        for (int64_t c = begin; c < end; ++c)
          dst[r * rows_.dst_stride + c] = src[r + c * columns_.src_stride];
    }
  }

  PermutedAxis columns_{1, 1, 1}, rows_{1, 0, 0};
  std::vector<PermutedAxis> others_;
  int64_t n_others_ = 1;
};

template <typename T>
class Permute : public Op {
 public:
  Permute(const TensorDesc& src, const std::vector<int>& axes) : forward_(permuted_axes(src.shape, axes)) {
    Shape dst = src.shape;
    std::vector<int> inverse(axes.size());
    for (size_t i = 0; i < axes.size(); ++i) {
      dst[static_cast<int>(i)] = src.shape[axes[i]];
      inverse[static_cast<size_t>(axes[i])] = static_cast<int>(i);
    }
    backward_ = Moves<T>(permuted_axes(dst, inverse));
    info_.src = {src};
    info_.dst = {{dst, src.dtype, nullptr}};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }
  void forward(Stream&, const OpArgs& args) override {
    forward_.run(args.src[0].as<const T>(), args.dst[0].as<T>());
  }
  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    backward_.run(args.diff_dst[0].as<const T>(), args.diff_src[0].as<T>());
  }

 private:
  Moves<T> forward_, backward_;
};

}  // namespace

std::unique_ptr<Op> make_permute(const OpConfig& config, const TensorDesc& src,
                                 const std::vector<int>& axes) {
  const bool is_float = src.dtype == DType::kFloat32 || src.dtype == DType::kBFloat16;
  const TensorDesc dense{src.shape, is_float ? config.compute : src.dtype, nullptr};
  switch (size_of(dense.dtype)) {
    case 2: return std::make_unique<Permute<uint16_t>>(dense, axes);
    case 4: return std::make_unique<Permute<uint32_t>>(dense, axes);
    case 8: return std::make_unique<Permute<uint64_t>>(dense, axes);
    default:
      throw Error("permute", "cannot move elements of " + std::string(name_of(dense.dtype)),
                  "convert them to float32 first");
  }
}

}  // namespace lockstep::cpu
