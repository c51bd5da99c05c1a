#include "io/hdf5/chunk_cache.h"

#include <algorithm>
#include <utility>

namespace lockstep {

namespace {
constexpr size_t kMostSpares = 4;  // one for each size that two threads read of two fields
}

ChunkCache::Spares::Spares() { spares.reserve(kMostSpares); }  // giving back cannot fail then

std::unique_ptr<std::byte[]> ChunkCache::Spares::take(int64_t n_bytes) {
  {
    const std::lock_guard guard(mutex);
    // The latest is the likeliest to lie in the processor's caches.
    for (size_t i = spares.size(); i-- > 0;) {
      if (spares[i].n_bytes != n_bytes) continue;
      std::unique_ptr<std::byte[]> bytes = std::move(spares[i].bytes);
      spares.erase(spares.begin() + static_cast<std::ptrdiff_t>(i));
      return bytes;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(n_bytes));
}

void ChunkCache::Spares::give(std::unique_ptr<std::byte[]> bytes, int64_t n_bytes) {
  const std::lock_guard guard(mutex);
  if (spares.size() == kMostSpares) spares.erase(spares.begin());
  spares.push_back({std::move(bytes), n_bytes});
}

void ChunkCache::allow(int64_t limit_bytes) {
  const std::lock_guard guard(mutex_);
  limit_bytes_ = std::max(limit_bytes_, limit_bytes);
}

void ChunkCache::drop(Entries::iterator entry) {
  n_bytes_ -= entry->second.n_bytes;
  uses_.erase(entry->second.use);
  entries_.erase(entry);
}

void ChunkCache::evict() {
  while (n_bytes_ > limit_bytes_ && uses_.size() > 1) drop(entries_.find(uses_.back()));
}

ChunkCache::Chunk ChunkCache::use(Entries::iterator entry, const Rows& rows) {
  Chunk chunk = entry->second.chunk;
  uses_.splice(uses_.begin(), uses_, entry->second.use);
  if (rows.first == entry->second.n_read) entry->second.n_read = rows.end;
  if (rows.all > 0 && rows.end == rows.all && entry->second.n_read == rows.all) drop(entry);
  return chunk;
}

bool ChunkCache::has(uint64_t key) {
  const std::lock_guard guard(mutex_);
  return entries_.contains(key);
}

ChunkCache::Chunk ChunkCache::get(uint64_t key, int64_t n_bytes, const Rows& rows,
                                  const std::function<bool(std::byte*)>& decode) {
  std::unique_lock guard(mutex_);
  for (;;) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) break;
    if (found->second.chunk) return use(found, rows);
    decoded_.wait(guard);
  }
  entries_.emplace(key, Entry{});
  guard.unlock();

  Chunk chunk;
  const auto give_up = [&] {
    guard.lock();
    entries_.erase(key);
    guard.unlock();
    decoded_.notify_all();
  };
  try {
    std::unique_ptr<std::byte[]> bytes = spares_->take(n_bytes);
    if (decode(bytes.get())) {
      chunk = Chunk(bytes.release(), [spares = spares_, n_bytes](const std::byte* of) {
        spares->give(std::unique_ptr<std::byte[]>(const_cast<std::byte*>(of)), n_bytes);
      });
    }
  } catch (...) {
    give_up();
    throw;
  }
  if (!chunk) {
    give_up();
    return nullptr;
  }
  guard.lock();
  uses_.push_front(key);
  const auto entry = entries_.find(key);
  entry->second = {chunk, n_bytes, uses_.begin()};
  n_bytes_ += n_bytes;
  use(entry, rows);
  evict();
  guard.unlock();
  decoded_.notify_all();
  return chunk;
}

}  // namespace lockstep
