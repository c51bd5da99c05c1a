// Concatenation and slices on the CPU. Along an axis, the memory of a tensor is (outer, run):
// an axis cut in two cuts every run in two, so that both ops are copies of runs.
#include "kernels/concat.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "kernels/backend.h"
#include "kernels/cpu/channel_blocks.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kParallelBytes = 1 << 17;  // below, a second thread costs more than it brings

/// How an axis lies in memory: `outer` runs, `unit` elements of a run for each index.
struct Axis {
  int64_t outer = 1, unit = 1;
};

/// The axis of a tensor whose parts are `parts`, all of one family of layouts; nothing where a border
/// between parts would cut a block. `begin`: where the first part begins.
std::optional<Axis> axis_of(const TensorDesc& whole, const std::vector<TensorDesc>& parts, int axis,
                            int64_t begin) {
  const auto product = [&](int from, int to) {
    int64_t n = 1;
    for (int i = from; i < to; ++i) n *= whole.shape[i];
    return n;
  };
  const int rank = whole.shape.rank();
  const std::optional<ChannelBlocks> blocks = channel_blocks(whole);
  if (!blocks) return std::nullopt;
  bool same_block = true, channels_last = blocks->block == blocks->channels;
  for (const TensorDesc& part : parts) {
    const std::optional<ChannelBlocks> of_part = channel_blocks(part);
    if (!of_part) return std::nullopt;
    same_block = same_block && of_part->block == blocks->block;
    channels_last = channels_last && of_part->block == of_part->channels;
  }
  const int64_t samples = blocks->samples;
  if (axis > 1) {
    if (!same_block) return std::nullopt;
    return Axis{samples * blocks->blocks * product(2, axis), product(axis + 1, rank) * blocks->block};
  }
  if (channels_last) return Axis{samples * blocks->spatial, 1};
  int64_t border = begin;
  for (const TensorDesc& part : parts) {
    if (border % blocks->block != 0) return std::nullopt;
    border += part.shape[1];
  }
  if (!same_block || (border % blocks->block != 0 && border != whole.shape[1])) return std::nullopt;
  return Axis{samples, blocks->spatial};
}

/// Copies `outer` runs; strides and sizes in bytes.
struct Copy {
  int64_t run, src_stride, dst_stride;
};
void copy_runs(int64_t outer, const Copy& copy, const std::byte* src, std::byte* dst) {
  for (int64_t i = 0; i < outer; ++i, src += copy.src_stride, dst += copy.dst_stride)
    std::memcpy(dst, src, static_cast<size_t>(copy.run));
}

/// Cuts the runs over the threads: f(first run, number of runs).
template <typename F>
void for_runs(int64_t outer, int64_t run_bytes, const F& f) {
  const int64_t grain = std::max<int64_t>(1, kParallelBytes / std::max<int64_t>(1, run_bytes));
#pragma omp parallel for schedule(static) if (outer > grain)
  for (int64_t begin = 0; begin < outer; begin += grain) f(begin, std::min(grain, outer - begin));
}

DType type_of(const OpConfig& config, const TensorDesc& src) {
  const bool is_float = src.dtype == DType::kFloat32 || src.dtype == DType::kBFloat16;
  return is_float ? config.compute : src.dtype;
}

class Concat : public Op {
 public:
  Concat(const OpConfig& config, const ConcatDesc& desc) {
    Shape joined = desc.src[0].shape;
    joined[desc.axis] = 0;
    for (const TensorDesc& src : desc.src) joined[desc.axis] += src.shape[desc.axis];
    const auto blocked = std::find_if(desc.src.begin(), desc.src.end(),
                                      [](const TensorDesc& src) { return src.layout != nullptr; });
    const DType dtype = type_of(config, desc.src[0]);
    const TensorDesc like = with_dtype(blocked == desc.src.end() ? desc.src[0] : *blocked, dtype);
    const auto as = [&](const Shape& shape, bool dense) {
      return dense ? TensorDesc{shape, dtype, nullptr} : like_layout(like, shape);
    };
    std::optional<Axis> axis;
    for (const bool dense : {false, true}) {
      if (axis) break;
      info_.src.clear();
      for (const TensorDesc& src : desc.src) info_.src.push_back(as(src.shape, dense));
      info_.dst = {as(joined, dense)};
      axis = axis_of(info_.dst[0], info_.src, desc.axis, 0);
    }
    outer_ = axis->outer;
    dst_run_ = info_.dst[0].n_bytes() / outer_;
    for (const TensorDesc& src : info_.src) runs_.push_back(src.n_bytes() / outer_);
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    std::byte* dst = args.dst[0].as<std::byte>();
    for_runs(outer_, dst_run_, [&](int64_t begin, int64_t n) {
      int64_t offset = begin * dst_run_;
      for (size_t k = 0; k < runs_.size(); ++k) {
        const int64_t run = runs_[k];
        copy_runs(n, {run, run, dst_run_}, args.src[k].as<const std::byte>() + begin * run, dst + offset);
        offset += run;
      }
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    const std::byte* diff_dst = args.diff_dst[0].as<const std::byte>();
    for_runs(outer_, dst_run_, [&](int64_t begin, int64_t n) {
      int64_t offset = begin * dst_run_;
      for (size_t k = 0; k < runs_.size(); offset += runs_[k++]) {
        if (args.diff_src[k].empty()) continue;
        std::byte* diff_src = args.diff_src[k].as<std::byte>() + begin * runs_[k];
        copy_runs(n, {runs_[k], dst_run_, runs_[k]}, diff_dst + offset, diff_src);
      }
    });
  }

 private:
  int64_t outer_ = 1, dst_run_ = 0;  // runs in bytes
  std::vector<int64_t> runs_;        // of each source
};

class Slice : public Op {
 public:
  Slice(const OpConfig& config, const SliceDesc& desc) {
    Shape cut = desc.src.shape;
    cut[desc.axis] = desc.end - desc.begin;
    const DType dtype = type_of(config, desc.src);
    TensorDesc src = with_dtype(desc.src, dtype);
    TensorDesc dst = like_layout(src, cut);
    std::optional<Axis> axis = axis_of(src, {dst}, desc.axis, desc.begin);
    if (!axis) {
      src = src.dense();
      dst = {cut, dtype, nullptr};
      axis = axis_of(src, {dst}, desc.axis, desc.begin);
    }
    info_.src = {src};
    info_.dst = {dst};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    outer_ = axis->outer;
    src_run_ = src.n_bytes() / outer_;
    dst_run_ = dst.n_bytes() / outer_;
    before_ = desc.begin * axis->unit * size_of(dtype);
  }

  void forward(Stream&, const OpArgs& args) override {
    const std::byte* src = args.src[0].as<const std::byte>();
    std::byte* dst = args.dst[0].as<std::byte>();
    for_runs(outer_, dst_run_, [&](int64_t begin, int64_t n) {
      copy_runs(n, {dst_run_, src_run_, dst_run_}, src + begin * src_run_ + before_, dst + begin * dst_run_);
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const std::byte* diff_dst = args.diff_dst[0].as<const std::byte>();
    std::byte* diff_src = args.diff_src[0].as<std::byte>();
    const auto zero = [](std::byte* at, int64_t n_bytes) {
      std::memset(at, 0, static_cast<size_t>(n_bytes));
    };
    const int64_t after = before_ + dst_run_;
    for_runs(outer_, src_run_, [&](int64_t begin, int64_t n) {
      for (int64_t i = begin; i < begin + n; ++i) {
        std::byte* run = diff_src + i * src_run_;
        zero(run, before_);
        std::memcpy(run + before_, diff_dst + i * dst_run_, static_cast<size_t>(dst_run_));
        zero(run + after, src_run_ - after);
      }
    });
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

}  // namespace lockstep::cpu
