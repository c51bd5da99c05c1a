// Decoded chunks by key, shared by all threads, within a bound of bytes: the one not used for longest
// goes first. A chunk that several threads want at once is decoded by one of them; the others wait for it
// and hold no lock meanwhile.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace lockstep {

class ChunkCache {
 public:
  using Chunk = std::shared_ptr<const std::byte[]>;

  explicit ChunkCache(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  /// The bound grows to at least that; it never shrinks.
  void allow(int64_t limit_bytes);

  /// The chunk, from the cache or by decode(dst), which fills n_bytes or returns false. Null where it did:
  /// the next caller tries again. The chunk stays alive while somebody holds it.
  Chunk get(uint64_t key, int64_t n_bytes, const std::function<bool(std::byte*)>& decode);

 private:
  struct Entry {
    Chunk chunk;  // null while a thread decodes it
    int64_t n_bytes = 0;
    std::list<uint64_t>::iterator use;
  };
  void evict();

  std::mutex mutex_;
  std::condition_variable decoded_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::list<uint64_t> uses_;  // of decoded chunks, the latest first
  int64_t limit_bytes_, n_bytes_ = 0;
};

}  // namespace lockstep
