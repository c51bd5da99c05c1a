// The header checksum and the dealing of pieces over ranks.
#include "io/checkpoint/checkpoint_format.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "io/files/checksum.h"

namespace lockstep::checkpoint_format {

namespace {

/// Fields one after the other, texts with their length in front: no two headers look alike.
class Bytes {
 public:
  template <typename T>
  void add(T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    text_.append(raw, sizeof value);
  }
  void add_text(std::string_view text) {
    add<uint64_t>(text.size());
    text_.append(text);
  }
  uint64_t hash() const {
    ChunkedChecksum checksum;
    checksum.update(text_.data(), static_cast<int64_t>(text_.size()));
    return checksum.digest();
  }

 private:
  std::string text_;
};

}  // namespace

uint64_t header_checksum(const CheckpointInfo& info, std::vector<CheckpointEntry> entries) {
  Bytes bytes;
  bytes.add<int64_t>(kVersion);
  bytes.add<int64_t>(info.step);
  bytes.add<int64_t>(info.epoch);
  bytes.add<int64_t>(info.step_in_epoch);
  bytes.add<uint64_t>(info.seed);
  bytes.add_text(info.job);
  bytes.add<uint64_t>(info.numbers.size());
  for (const auto& [name, value] : info.numbers) {
    bytes.add_text(name);
    bytes.add<double>(value);
  }
  bytes.add<uint64_t>(info.texts.size());
  for (const auto& [name, text] : info.texts) {
    bytes.add_text(name);
    bytes.add_text(text);
  }
  std::sort(entries.begin(), entries.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.name < b.name; });
  bytes.add<uint64_t>(entries.size());
  for (const CheckpointEntry& entry : entries) {
    bytes.add_text(entry.name);
    bytes.add_text(name_of(entry.dtype));
    bytes.add<int64_t>(entry.shape.rank());
    for (const int64_t extent : entry.shape) bytes.add<int64_t>(extent);
    bytes.add<uint64_t>(entry.checksum);
  }
  return bytes.hash();
}

std::vector<Piece> deal_pieces(const std::vector<CheckpointTensor>& tensors, int n_ranks) {
  int64_t n_total_bytes = 0;
  for (const CheckpointTensor& tensor : tensors) n_total_bytes += n_bytes_of(tensor);
  const int64_t n_part_bytes = std::max<int64_t>(1, (n_total_bytes + n_ranks - 1) / n_ranks);
  std::vector<Piece> pieces;
  int64_t position = 0;  // in the concatenated state
  for (size_t t = 0; t < tensors.size(); ++t) {
    const int64_t n_bytes = n_bytes_of(tensors[t]);
    for (int64_t first = 0; first < n_bytes; first += ChunkedChecksum::kPieceBytes) {
      const int64_t n = std::min(ChunkedChecksum::kPieceBytes, n_bytes - first);
      pieces.push_back({static_cast<int64_t>(t), first, n, static_cast<int>(position / n_part_bytes)});
      position += n;
    }
  }
  return pieces;
}

}  // namespace lockstep::checkpoint_format
