// Decoded chunks by key, shared by all threads, within a bound of bytes: the one not used for longest
// goes first, and at once one that was read from front to back. A chunk that several threads want at once is
// decoded by one of them; the others wait for it and hold no lock meanwhile. Memory of chunks that went is
// taken for the next ones: fresh pages would cost as much as decoding a chunk.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace lockstep {

class ChunkCache {
 public:
  using Chunk = std::shared_ptr<const std::byte[]>;
  /// Rows of a chunk that a caller wants, of all that it has.
  struct Rows {
    int64_t first = 0, end = 0, all = 0;
  };

  explicit ChunkCache(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  /// The bound grows to at least that; it never shrinks.
  void allow(int64_t limit_bytes);

  /// The chunk, from the cache or by decode(dst), which fills n_bytes or returns false. Null where it did:
  /// the next caller tries again. The chunk stays alive while somebody holds it. Who has wanted its rows one
  /// after the other to the last reads in order and does not come back: then it leaves the cache.
  Chunk get(uint64_t key, int64_t n_bytes, const Rows& rows, const std::function<bool(std::byte*)>& decode);
  /// Whether the chunk is there or being decoded.
  bool has(uint64_t key);

 private:
  struct Entry {
    Chunk chunk;  // null while a thread decodes it
    int64_t n_bytes = 0;
    std::list<uint64_t>::iterator use;
    int64_t n_read = 0;  // rows from the front on that were wanted one after the other
  };
  using Entries = std::unordered_map<uint64_t, Entry>;
  /// Memory of chunks that went, in the order in which they did. Chunks may outlive the cache.
  struct Spares {
    struct Spare {
      std::unique_ptr<std::byte[]> bytes;
      int64_t n_bytes = 0;
    };
    std::mutex mutex;
    std::vector<Spare> spares;
    Spares();
    std::unique_ptr<std::byte[]> take(int64_t n_bytes);
    void give(std::unique_ptr<std::byte[]> bytes, int64_t n_bytes);
  };
  void drop(Entries::iterator entry);
  void evict();
  Chunk use(Entries::iterator entry, const Rows& rows);

  std::mutex mutex_;
  std::condition_variable decoded_;
  Entries entries_;
  std::list<uint64_t> uses_;  // of decoded chunks, the latest first
  int64_t limit_bytes_, n_bytes_ = 0;
  const std::shared_ptr<Spares> spares_ = std::make_shared<Spares>();
};

}  // namespace lockstep
