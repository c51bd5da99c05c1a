#include "io/hdf5/chunk_cache.h"

#include <algorithm>

namespace lockstep {

void ChunkCache::allow(int64_t limit_bytes) {
  const std::lock_guard guard(mutex_);
  limit_bytes_ = std::max(limit_bytes_, limit_bytes);
}

void ChunkCache::evict() {
  while (n_bytes_ > limit_bytes_ && uses_.size() > 1) {
    const auto oldest = entries_.find(uses_.back());
    n_bytes_ -= oldest->second.n_bytes;
    entries_.erase(oldest);
    uses_.pop_back();
  }
}

ChunkCache::Chunk ChunkCache::get(uint64_t key, int64_t n_bytes,
                                  const std::function<bool(std::byte*)>& decode) {
  std::unique_lock guard(mutex_);
  for (;;) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) break;
    if (found->second.chunk) {
      uses_.splice(uses_.begin(), uses_, found->second.use);
      return found->second.chunk;
    }
    decoded_.wait(guard);
  }
  entries_.emplace(key, Entry{});
  guard.unlock();

  std::shared_ptr<std::byte[]> chunk;
  const auto give_up = [&] {
    guard.lock();
    entries_.erase(key);
    guard.unlock();
    decoded_.notify_all();
  };
  try {
    chunk = std::make_shared_for_overwrite<std::byte[]>(static_cast<size_t>(n_bytes));
    if (!decode(chunk.get())) chunk.reset();
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
  entries_[key] = {chunk, n_bytes, uses_.begin()};
  n_bytes_ += n_bytes;
  evict();
  guard.unlock();
  decoded_.notify_all();
  return chunk;
}

}  // namespace lockstep
