// Slots between the reader threads and the consumer. A reader takes a free slot and the next counter k and
// fills the slot with micro-batch k; the consumer's next() gives the previous slot back and takes that of
// its own next k. Counter k of this rank's micro-batches alone decides what a slot holds, so starting
// anywhere gives the same micro-batches, and threads and timing change nothing but waiting.
#include "io/loader.h"

#include <sched.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "io/node_memory.h"
#include "io/row_source.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

void check(const Dataset& dataset, const LoaderOptions& o, int64_t start_step) {
  const auto fail = [](const std::string& what, const std::string& remedy = {}) {
    throw Error("data loader", what, remedy);
  };
  if (o.micro_batch < 1 || o.global_batch < 1 || o.global_batch % o.micro_batch != 0)
    fail("global batch " + std::to_string(o.global_batch) + " is not a multiple of micro-batch " +
             std::to_string(o.micro_batch),
         "choose batch.global as a multiple of batch.micro");
  const int64_t n_micros = o.global_batch / o.micro_batch;
  if (o.first_micro < 0 || o.n_micro < 1 || o.first_micro + o.n_micro > n_micros)
    fail("micro-batches " + std::to_string(o.first_micro) + " to " +
         std::to_string(o.first_micro + o.n_micro - 1) + " are outside the " + std::to_string(n_micros) +
         " of a step");
  if (o.prefetch < 1) fail("prefetch must be at least 1");
  if (o.threads < 0) fail("the number of threads must not be negative");
  if (o.shuffle.window < 0 || o.shuffle.block < 1 ||
      (o.shuffle.window > 0 && o.shuffle.block > o.shuffle.window))
    fail("the shuffle's window of " + std::to_string(o.shuffle.window) + " samples and blocks of " +
             std::to_string(o.shuffle.block) + " do not fit together",
         "choose data.shuffle.block between 1 and the window");
  if (start_step < 0) fail("the first step must not be negative");
  if (o.fields.empty()) fail("no field was asked for");
  for (const LoaderField& wanted : o.fields) {
    const Field& stored = dataset.field(wanted.name);
    if (stored.shape.n_elements() != wanted.shape.n_elements()) {
      throw Error(dataset.path(),
                  "field " + wanted.name + " has samples of shape " + stored.shape.str() +
                      ", which cannot be seen as " + wanted.shape.str(),
                  "give the model the input shape " + stored.shape.str() + ", or convert the data again");
    }
  }
}

int n_readers(const LoaderOptions& options) {
  if (options.threads > 0) return options.threads;
  if (options.device.kind == Device::Kind::kCpu) return 1;
  cpu_set_t set;
  const int n_allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  // Ranks that are not bound to cores of their own share all of them.
  const int n_all = static_cast<int>(std::thread::hardware_concurrency());
  const int share = n_all / (options.ranks ? options.ranks->local_size() : 1);
  return std::clamp(std::min(n_allowed, share), 1, 4);
}

/// Decoded chunks that a window touches, both ends of each block included.
int64_t window_bytes(const Dataset& dataset, const std::string& field, const Shuffle& shuffle) {
  const Field& stored = dataset.field(field);
  const int64_t together = dataset.rows_decoded_together(field);
  if (together == 1) return 0;
  const int64_t rows = shuffle.window / shuffle.block * (shuffle.block + 2 * together);
  return std::min(rows, dataset.n_samples() + together) * stored.shape.n_elements() * size_of(stored.dtype);
}

}  // namespace

struct DataLoader::Impl {
  const Dataset& dataset;
  const LoaderOptions options;
  const Sampler sampler;
  const int64_t start_step, steps_per_epoch;
  NodeMemory memory;               // of the cache
  std::vector<RowSource> sources;  // one per field
  bool sorts = false;              // requests, for reading by runs

  struct Slot {
    MicroBatch batch;
    std::vector<Memory> arrays;
  };
  /// Where micro-batch k is: places[k % places.size()].
  struct Place {
    Slot* slot = nullptr;
    bool is_filled = false;
    std::exception_ptr error;
  };

  std::mutex mutex;
  std::condition_variable filled, freed;
  std::vector<std::unique_ptr<Slot>> slots;
  std::vector<Slot*> free;
  std::vector<Place> places;  // as many as there may ever be slots
  int64_t n_wanted = 0;       // slots
  int64_t n_claimed = 0;      // micro-batches of this rank that readers have begun
  bool was_ahead = false;     // a reader found no free slot since the last growth
  bool stop = false;          // or one of them failed

  int64_t n_taken = 0;  // the consumer's own
  Slot* in_hand = nullptr;
  double wait_s = 0;
  std::vector<std::thread> readers;  // last: they use everything above

  Impl(const Dataset& data, LoaderOptions o, int64_t start);
  ~Impl();
  void open_sources();
  std::unique_ptr<Slot> make_slot() const;
  void read();
  struct Scratch {
    std::vector<RowRequest> requests;
    std::vector<std::byte> staging;
  };
  void fill(int64_t k, Slot& slot, Scratch& scratch);
  int64_t slot_bytes() const;
  int64_t n_slots() const { return static_cast<int64_t>(slots.size()); }
};

DataLoader::Impl::Impl(const Dataset& data, LoaderOptions o, int64_t start)
    : dataset((check(data, o, start), data)),
      options(std::move(o)),
      sampler(data.n_samples(), options.seed, options.shuffle),
      start_step(start),
      steps_per_epoch((data.n_samples() + options.global_batch - 1) / options.global_batch) {
  open_sources();
  // One more than held ready: the one in the consumer's hands.
  const int n_threads = n_readers(options);
  n_wanted = std::max<int64_t>(options.prefetch, n_threads) + 1;
  places.resize(static_cast<size_t>(std::max(n_wanted, options.prefetch_limit_bytes / slot_bytes())));
  slots.reserve(places.size());
  free.reserve(places.size());
  while (n_slots() < n_wanted) {
    slots.push_back(make_slot());
    free.push_back(slots.back().get());
  }
  for (int i = 0; i < n_threads; ++i) readers.emplace_back([this] { read(); });
}

DataLoader::Impl::~Impl() {
  {
    const std::lock_guard guard(mutex);
    stop = true;
  }
  freed.notify_all();
  for (std::thread& reader : readers) reader.join();
}

void DataLoader::Impl::open_sources() {
  int64_t n_bytes = 0, n_cache_bytes = 0, n_window_bytes = 0;
  for (const LoaderField& wanted : options.fields) {
    const Field& stored = dataset.field(wanted.name);
    n_bytes += dataset.n_samples() * stored.shape.n_elements() * size_of(stored.dtype);
  }
  bool cached = n_bytes <= options.cache_limit_bytes;
  if (cached) {
    for (const LoaderField& wanted : options.fields) n_cache_bytes += RowCache::n_bytes(dataset, wanted.name);
    std::optional<NodeMemory> shared;
    const bool is_alone = !options.ranks || options.ranks->size() == 1;
    if (!is_alone) shared = NodeMemory::shared(*options.ranks, n_cache_bytes);
    if (shared) {
      memory = std::move(*shared);
    } else if (is_alone || n_bytes * options.ranks->local_size() <= options.cache_limit_bytes) {
      memory = NodeMemory(n_cache_bytes);
    } else {
      cached = false;
    }
  }
  std::byte* at = memory.data();
  for (const LoaderField& wanted : options.fields) {
    RowConverter converter(dataset.field(wanted.name), wanted.dtype, wanted.mean, wanted.stddev,
                           wanted.n_classes, dataset.path());
    std::optional<RowCache> cache;
    if (cached) {
      cache.emplace(dataset, wanted.name, at);
      at += RowCache::n_bytes(dataset, wanted.name);
    } else if (options.shuffle.is_on && options.shuffle.window > 0) {
      n_window_bytes += window_bytes(dataset, wanted.name, options.shuffle);
    }
    sources.emplace_back(dataset, wanted.name, std::move(converter), cache, options.micro_batch);
  }
  if (n_window_bytes > 0) dataset.keep_decoded(n_window_bytes);
  sorts = !cached && options.shuffle.is_on;
}

int64_t DataLoader::Impl::slot_bytes() const {
  int64_t n_bytes = 0;
  for (const RowSource& source : sources) n_bytes += options.micro_batch * source.converter().dst_bytes();
  return std::max<int64_t>(n_bytes, 1);
}

std::unique_ptr<DataLoader::Impl::Slot> DataLoader::Impl::make_slot() const {
  auto slot = std::make_unique<Slot>();
  slot->batch.sample_ids.resize(static_cast<size_t>(options.micro_batch));
  for (const RowSource& source : sources) {
    slot->arrays.push_back(
        Memory::on_host(options.device, options.micro_batch * source.converter().dst_bytes()));
    slot->batch.data.push_back(slot->arrays.back().data());
  }
  return slot;
}

void DataLoader::Impl::read() {
  Scratch scratch;
  scratch.requests.resize(static_cast<size_t>(options.micro_batch));
  int64_t n_staging = 0;
  for (const RowSource& source : sources) n_staging = std::max(n_staging, source.staging_bytes());
  scratch.staging.resize(static_cast<size_t>(n_staging));

  std::unique_lock guard(mutex);
  while (!stop) {
    if (free.empty() && n_slots() < n_wanted) {
      slots.push_back(nullptr);  // so that no other reader makes it too
      std::unique_ptr<Slot>& slot = slots.back();
      guard.unlock();
      std::unique_ptr<Slot> made;
      try {
        made = make_slot();
      } catch (const Error&) {  // no room to grow: it stays as it is
      }
      guard.lock();
      slot = std::move(made);
      if (slot) free.push_back(slot.get());
      if (!slot) n_wanted = 0;
      continue;
    }
    if (free.empty()) {
      was_ahead = true;
      freed.wait(guard);
      continue;
    }
    Slot* slot = free.back();
    free.pop_back();
    const int64_t k = n_claimed++;
    Place& place = places[static_cast<size_t>(k) % places.size()];
    place = {slot, false, nullptr};
    guard.unlock();
    std::exception_ptr failure;
    try {
      fill(k, *slot, scratch);
    } catch (...) {
      failure = std::current_exception();
    }
    guard.lock();
    place.error = failure;
    place.is_filled = true;
    if (failure) stop = true;  // what comes after it will not be asked for
    filled.notify_one();
  }
}

void DataLoader::Impl::fill(int64_t k, Slot& slot, Scratch& scratch) {
  MicroBatch& batch = slot.batch;
  const int64_t micro = options.micro_batch;
  const int64_t step = start_step + k / options.n_micro;
  batch.epoch = step / steps_per_epoch;
  batch.step_in_epoch = step % steps_per_epoch;
  batch.micro = options.first_micro + k % options.n_micro;

  const int64_t first = batch.step_in_epoch * options.global_batch + batch.micro * micro;
  batch.n_valid = std::clamp<int64_t>(sampler.n_samples() - first, 0, micro);
  if (batch.n_valid > 0) sampler.samples_at(batch.epoch, first, batch.n_valid, batch.sample_ids.data());
  std::fill(batch.sample_ids.begin() + batch.n_valid, batch.sample_ids.end(), int64_t{-1});

  std::vector<RowRequest>& requests = scratch.requests;
  for (int64_t row = 0; row < batch.n_valid; ++row)
    requests[static_cast<size_t>(row)] = {batch.sample_ids[static_cast<size_t>(row)], row};
  if (sorts) {
    std::sort(requests.begin(), requests.begin() + batch.n_valid,
              [](const RowRequest& a, const RowRequest& b) { return a.id < b.id; });
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    auto* dst = static_cast<std::byte*>(batch.data[i]);
    const int64_t row_bytes = sources[i].converter().dst_bytes();
    sources[i].gather(requests.data(), batch.n_valid, dst, scratch.staging.data());
    std::memset(dst + batch.n_valid * row_bytes, 0, static_cast<size_t>((micro - batch.n_valid) * row_bytes));
  }
}

DataLoader::DataLoader(const Dataset& dataset, LoaderOptions options, int64_t start_step)
    : impl_(std::make_unique<Impl>(dataset, std::move(options), start_step)) {}
DataLoader::~DataLoader() = default;

int64_t DataLoader::steps_per_epoch() const { return impl_->steps_per_epoch; }
double DataLoader::wait_s() const { return impl_->wait_s; }

int64_t DataLoader::prefetch() const {
  const std::lock_guard guard(impl_->mutex);
  return impl_->n_slots() - 1;
}

const MicroBatch& DataLoader::next() {
  Impl& s = *impl_;
  std::unique_lock guard(s.mutex);
  if (s.in_hand) s.free.push_back(std::exchange(s.in_hand, nullptr));
  // Readers are woken for half of the slots at a time: fewer switches where they share a core.
  const bool wakes_readers = 2 * (s.n_claimed - s.n_taken) <= s.n_slots();
  Impl::Place& place = s.places[static_cast<size_t>(s.n_taken) % s.places.size()];
  const auto is_ready = [&] { return s.n_claimed > s.n_taken && place.is_filled; };
  if (!is_ready()) {
    if (s.was_ahead && s.n_wanted > 0 && s.n_slots() < static_cast<int64_t>(s.places.size())) {
      s.n_wanted = s.n_slots() + 1;
      s.was_ahead = false;
    }
    s.freed.notify_all();
    const auto start = std::chrono::steady_clock::now();
    s.filled.wait(guard, is_ready);
    s.wait_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (place.error) std::rethrow_exception(place.error);
  s.in_hand = place.slot;
  ++s.n_taken;
  guard.unlock();
  if (wakes_readers) s.freed.notify_all();
  return s.in_hand->batch;
}

}  // namespace lockstep
