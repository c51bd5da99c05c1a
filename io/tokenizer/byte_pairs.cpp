#include "io/tokenizer/byte_pairs.h"

#include <algorithm>
#include <functional>

#include "io/tokenizer/byte_level.h"

namespace lockstep {

namespace {

constexpr size_t kMostRemembered = size_t{1} << 16, kMostRememberedBytes = 64;

uint64_t key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BytePairs::BytePairs(const TokenizerSpec& spec) : unknown_(spec.unknown), fuse_unknown_(spec.fuse_unknown) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!spec.in_model[id]) continue;
    ids.emplace(spec.tokens[id], static_cast<int32_t>(id));
    if (spec.ignore_merges && is_byte_token(spec.tokens[id]))
      whole_.emplace(bytes_of_token(spec.tokens[id]), static_cast<int32_t>(id));
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto found = ids.find(byte_character(static_cast<uint8_t>(byte)));
    byte_ids_[byte] = found == ids.end() ? -1 : found->second;
  }
  merges_.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const Merge& merge = spec.merges[rank];
    merges_[key(merge.left, merge.right)] = {static_cast<int32_t>(rank), merge.result};
  }
}

int64_t BytePairs::encode(std::string_view piece, std::vector<int32_t>* ids) {
  if (const auto found = remembered_.find(piece); found != remembered_.end()) {
    ids->insert(ids->end(), found->second.begin(), found->second.end());
    return -1;
  }
  if (const auto found = whole_.find(piece); found != whole_.end()) {
    ids->push_back(found->second);
    return -1;
  }
  const size_t first = ids->size();
  if (const int64_t bad = merge(piece, ids); bad >= 0) return bad;
  if (piece.size() <= kMostRememberedBytes) {
    if (remembered_.size() == kMostRemembered) remembered_.clear();
    remembered_.emplace(piece, std::vector<int32_t>(ids->begin() + static_cast<int64_t>(first), ids->end()));
  }
  return -1;
}

/// Puts the merge of a place and its next one among the candidates, if there is one.
void BytePairs::offer(int32_t left) {
  const Node& node = nodes_[static_cast<size_t>(left)];
  if (node.next < 0) return;
  const auto found = merges_.find(key(node.id, nodes_[static_cast<size_t>(node.next)].id));
  if (found == merges_.end()) return;
  candidates_.push_back(static_cast<uint64_t>(found->second.rank) << 32 | static_cast<uint32_t>(left));
  std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
}

int64_t BytePairs::merge(std::string_view piece, std::vector<int32_t>* ids) {
  nodes_.clear();
  for (size_t i = 0; i < piece.size(); ++i) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(piece[i])];
    if (id < 0 && unknown_ < 0) return static_cast<int64_t>(i);
    if (id < 0 && fuse_unknown_ && !nodes_.empty() && byte_ids_[static_cast<uint8_t>(piece[i - 1])] < 0)
      continue;
    const auto place = static_cast<int32_t>(nodes_.size());
    nodes_.push_back({id < 0 ? unknown_ : id, place - 1, place + 1});
  }
  if (nodes_.empty()) return -1;
  nodes_.back().next = -1;
  candidates_.clear();
  for (size_t place = 0; place < nodes_.size(); ++place) offer(static_cast<int32_t>(place));
  while (!candidates_.empty()) {
    std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    const uint64_t candidate = candidates_.back();
    candidates_.pop_back();
    Node& left = nodes_[static_cast<uint32_t>(candidate)];
    if (left.id < 0 || left.next < 0) continue;
    Node& right = nodes_[static_cast<size_t>(left.next)];
    // A candidate whose neighbours have changed since is another merge, or none.
    const auto found = merges_.find(key(left.id, right.id));
    if (found == merges_.end() || static_cast<uint64_t>(found->second.rank) != candidate >> 32) continue;
    left.id = found->second.result;
    left.next = right.next;
    right.id = -1;
    const auto place = static_cast<int32_t>(static_cast<uint32_t>(candidate));
    if (left.next >= 0) nodes_[static_cast<size_t>(left.next)].before = place;
    if (left.before >= 0) offer(left.before);
    offer(place);
  }
  for (int32_t place = 0; place >= 0; place = nodes_[static_cast<size_t>(place)].next)
    ids->push_back(nodes_[static_cast<size_t>(place)].id);
  return -1;
}

}  // namespace lockstep
