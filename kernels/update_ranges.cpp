#include "kernels/update_ranges.h"

#include <algorithm>
#include <utility>

namespace lockstep {

UpdateRanges::UpdateRanges(Device device, std::vector<UpdateRange> ranges) : list_(std::move(ranges)) {
  for (const UpdateRange& range : list_)
    is_aligned_ = is_aligned_ && range.begin % 4 == 0 && range.state % 4 == 0;
  if (device.kind == Device::Kind::kCpu) return;
  std::vector<UpdateChunk> chunks;
  for (const UpdateRange& range : list_) {
    for (int64_t at = range.begin; at < range.end; at += kChunk) {
      const auto n = static_cast<int32_t>(std::min(kChunk, range.end - at));
      chunks.push_back({at, range.state + at - range.begin, n, range.factor});
    }
  }
  if (chunks.empty()) return;
  const auto n_bytes = static_cast<int64_t>(chunks.size() * sizeof(UpdateChunk));
  table_ = Memory(device, n_bytes);
  const std::unique_ptr<Stream> stream = make_stream(device);
  copy(*stream, table_.data(), chunks.data(), n_bytes);
  stream->synchronize();
}

}  // namespace lockstep
