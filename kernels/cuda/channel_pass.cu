// See channel_pass.h.
#include "kernels/cuda/channel_pass.h"

#include <algorithm>
#include <limits>

namespace lockstep::cuda {

ChannelCuts::ChannelCuts(int64_t samples, const ChannelView& view, DType dtype)
    : channels(view.channels), inner(view.inner), planes(view.inner > 1) {
  constexpr int64_t kBlocks = 512;      // a few for each multiprocessor of any GPU
  constexpr int64_t kRowsOfThread = 8;  // below, another block costs more than it brings
  const int pack = static_cast<int>(16 / size_of(dtype));
  width = (planes ? inner : channels) % pack == 0 ? pack : 1;
  rows = planes ? view.outer * inner / width : view.outer;
  rows_of_sample = rows / samples;
  if (rows > std::numeric_limits<uint32_t>::max())
    throw Error("cuda", "a channel of " + std::to_string(rows) + " elements is more than a kernel counts",
                "use a smaller micro-batch");
  if (planes) {
    strips = channels;
  } else {
    const int64_t packs = channels / width;
    while (across < kWarp && across < packs) across *= 2;
    strips = blocks_for(packs, across);
  }
  const int64_t most = blocks_for(rows, kThreads / across * kRowsOfThread);
  rows_of_cut = blocks_for(rows, std::clamp<int64_t>(kBlocks / strips, 1, most));
  n_cuts = blocks_for(rows, rows_of_cut);
}

}  // namespace lockstep::cuda
