// PReLU over any layout by channels. Memory is seen as runs of one slope: (outer, runs, length) for
// slopes that lie behind each other, or (outer, length of neighbours) for slopes side by side. Sums of
// the slopes' gradients: 16 lanes per run as a tree, runs in order, one thread per slope.
#include "kernels/prelu.h"

#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/channel_blocks.h"
#include "kernels/cpu/softmax_rows.h"
#include "kernels/cpu/through_float32.h"

namespace lockstep::cpu {

namespace {

// One slope for n neighbours.
LOCKSTEP_VECTORIZE void run_forward(int64_t n, float slope, const float* src, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = src[i] > 0.0f ? src[i] : slope * src[i];
}
LOCKSTEP_VECTORIZE void run_backward(int64_t n, float slope, const float* src, const float* diff_dst,
                                     float* diff_src) {
  for (int64_t i = 0; i < n; ++i) diff_src[i] = src[i] > 0.0f ? diff_dst[i] : slope * diff_dst[i];
}
LOCKSTEP_VECTORIZE double run_sum(int64_t n, const float* src, const float* diff_dst) {
  return lane_sum(n, [=](int64_t i) LOCKSTEP_INLINE_LAMBDA {
    return src[i] > 0.0f ? 0.0 : static_cast<double>(src[i]) * diff_dst[i];
  });
}

// A slope for each of n neighbours.
LOCKSTEP_VECTORIZE void side_forward(int64_t n, const float* slope, const float* src, float* dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = src[i] > 0.0f ? src[i] : slope[i] * src[i];
}
LOCKSTEP_VECTORIZE void side_backward(int64_t n, const float* slope, const float* src, const float* diff_dst,
                                      float* diff_src) {
  for (int64_t i = 0; i < n; ++i) diff_src[i] = src[i] > 0.0f ? diff_dst[i] : slope[i] * diff_dst[i];
}
LOCKSTEP_VECTORIZE void side_add(int64_t n, const float* src, const float* diff_dst, double* sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += src[i] > 0.0f ? 0.0 : static_cast<double>(src[i]) * diff_dst[i];
}

constexpr int64_t kRun = 1 << 12;  // of the one slope for all
constexpr int64_t kSide = 256;     // slopes side by side of one task

class Prelu : public Op {
 public:
  explicit Prelu(const PreluDesc& desc) {
    TensorDesc src = desc.src;
    if (desc.per_channel) {
      std::optional<ChannelBlocks> blocks = channel_blocks(src);
      if (!blocks) {
        src = src.dense();
        blocks = channel_blocks(src);
      }
      s_ = *blocks;
      if (s_.block == 1 && s_.spatial == 1) {  // (N, C): the channels lie side by side
        s_.block = s_.channels;
        s_.blocks = 1;
      }
    } else {
      // All of memory, zeros of the padding included, is one channel.
      s_ = {1, 1, 1, src.n_bytes() / 4, 1};
    }
    per_channel_ = desc.per_channel;
    info_.src = {src};
    info_.dst = {src};
    info_.backward_needs_dst = false;
    if (!per_channel_) info_.scratchpad_bytes = n_runs() * static_cast<int64_t>(sizeof(double));
  }

  void forward(Stream&, const OpArgs& args) override {
    const float *src = args.src[0].as<const float>(), *slope = args.params[0].as<const float>();
    float* dst = args.dst[0].as<float>();
    for_each_run([&](int64_t at, int64_t n, int64_t channel, int64_t) {
      if (s_.block == 1) return run_forward(n, slope[channel], src + at, dst + at);
      in_padded_block(channel, slope, [&](int64_t c, int64_t lanes, const float* slopes) {
        for (int64_t i = c; i < n; i += s_.block) side_forward(lanes, slopes, src + at + i, dst + at + i);
      });
    });
  }

  void backward(Stream&, const OpArgs& args) override {
    const float *src = args.src[0].as<const float>(), *slope = args.params[0].as<const float>();
    const float* diff_dst = args.diff_dst[0].as<const float>();
    if (!args.diff_src.empty() && !args.diff_src[0].empty()) {
      float* diff_src = args.diff_src[0].as<float>();
      for_each_run([&](int64_t at, int64_t n, int64_t channel, int64_t) {
        if (s_.block == 1) return run_backward(n, slope[channel], src + at, diff_dst + at, diff_src + at);
        in_padded_block(channel, slope, [&](int64_t c, int64_t lanes, const float* slopes) {
          for (int64_t i = c; i < n; i += s_.block)
            side_backward(lanes, slopes, src + at + i, diff_dst + at + i, diff_src + at + i);
        });
      });
    }
    sum_slopes(args, src, diff_dst);
  }

 private:
  int64_t length() const { return s_.spatial * s_.block; }  // of one block of channels of one sample
  int64_t n_runs() const { return (length() + kRun - 1) / kRun; }
  bool parallel() const { return s_.n_elements() >= kParallelElements; }

  /// body(offset, n, first channel, run) for every block of channels of every sample; the one channel
  /// of all memory is cut into runs.
  template <typename Body>
  void for_each_run(const Body& body) const {
    const int64_t n = per_channel_ ? s_.samples * s_.blocks : n_runs();
#pragma omp parallel for schedule(static) if (parallel())
    for (int64_t i = 0; i < n; ++i) {
      if (per_channel_) {
        body(i * length(), length(), i % s_.blocks * s_.block, i);
      } else {
        body(i * kRun, std::min(kRun, length() - i * kRun), 0, i);
      }
    }
  }

  /// body(c, lanes, slopes) for tasks of channels side by side, from `channel` on; what fills up the
  /// last block has the slope 0.
  template <typename Body>
  void in_padded_block(int64_t channel, const float* slope, const Body& body) const {
    for (int64_t c = 0; c < s_.block; c += kSide) {
      const int64_t lanes = std::min(kSide, s_.block - c);
      const int64_t n_real = std::clamp<int64_t>(s_.channels - channel - c, 0, lanes);
      float slopes[kSide] = {};
      std::copy_n(slope + channel + c, n_real, slopes);
      body(c, lanes, slopes);
    }
  }

  void sum_slopes(const OpArgs& args, const float* src, const float* diff_dst) const {
    float* diff_slope = args.diff_params[0].as<float>();
    if (!per_channel_) {
      double* sums = reinterpret_cast<double*>(args.scratchpad);
      for_each_run([&](int64_t at, int64_t n, int64_t, int64_t run) {
        sums[run] = run_sum(n, src + at, diff_dst + at);
      });
      double total = 0;
      for (int64_t run = 0; run < n_runs(); ++run) total += sums[run];
      diff_slope[0] = static_cast<float>(total);
      return;
    }
    const int64_t step = std::min(kSide, s_.block), n_tasks = (s_.channels + step - 1) / step;
#pragma omp parallel for schedule(static) if (parallel())
    for (int64_t task = 0; task < n_tasks; ++task) {
      const int64_t channel = task * step, lanes = std::min(step, s_.channels - channel);
      const int64_t first = channel / s_.block * length() + channel % s_.block;
      double sums[kSide] = {};
      for (int64_t n = 0; n < s_.samples; ++n) {
        const int64_t at = first + n * s_.sample_stride();
        if (s_.block == 1) {
          sums[0] += run_sum(s_.spatial, src + at, diff_dst + at);
        } else {
          for (int64_t i = 0; i < length(); i += s_.block)
            side_add(lanes, src + at + i, diff_dst + at + i, sums);
        }
      }
      for (int64_t lane = 0; lane < lanes; ++lane)
        diff_slope[channel + lane] = static_cast<float>(sums[lane]);
    }
  }

  ChannelBlocks s_;
  bool per_channel_ = false;
};

}  // namespace

std::unique_ptr<Op> make_prelu(const OpConfig&, const PreluDesc& desc) {
  PreluDesc wide = desc;
  wide.src = as_float32(desc.src);
  auto op = std::make_unique<Prelu>(wide);
  if (desc.src.dtype == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
