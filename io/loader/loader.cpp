// Slots between the reader threads and the consumer. A reader takes a free slot and the next counter k and
// fills the slot with micro-batch k; the consumer's next() gives the previous slot back and takes that of
// its own next k. Counter k of this rank's micro-batches alone decides what a slot holds, so starting
// anywhere gives the same micro-batches, and threads and timing change nothing but waiting.
#include "io/loader/loader.h"

#include <sched.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include "io/loader/loader_sources.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// Micro-batches that are held whatever their size: with fewer, readers and steps would wait for one another.
constexpr int64_t kAlwaysHeld = 4;
/// What a small array takes.
constexpr int64_t kPageBytes = 4096;

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

}  // namespace

int64_t steps_per_epoch(const LoaderOptions& options, const Dataset& dataset) {
  return BatchOrder::steps_per_epoch(options.order, dataset.n_samples(), options.global_batch);
}

struct DataLoader::Impl {
  const Dataset& dataset;
  const LoaderOptions options;
  const LengthBuckets buckets;
  const std::optional<BalancedOrder> balanced;
  const BatchOrder order;
  const int64_t start_step;
  LoaderSources sources;

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
  void join_readers();
  std::unique_ptr<Slot> make_slot() const;
  void read();
  struct Scratch {
    std::vector<RowRequest> requests;
    std::vector<std::byte> staging;
  };
  void fill(int64_t k, Slot& slot, Scratch& scratch);
  /// Of field i, whose ragged rows have that extent.
  void mask(size_t i, int64_t extent, MicroBatch& batch) const;
  int64_t slot_bytes() const;
  int64_t n_slots() const { return static_cast<int64_t>(slots.size()); }
};

DataLoader::Impl::Impl(const Dataset& data, LoaderOptions o, int64_t start)
    : dataset((check_loader(data, o, start), data)),
      options(std::move(o)),
      buckets(data, options.fields, options.order == Order::kByLength),
      balanced(options.order == Order::kBalanced
                   ? std::optional<BalancedOrder>(std::in_place, data, options.class_field, options.seed)
                   : std::nullopt),
      order(options.order, data.n_samples(), options.global_batch, options.seed, options.shuffle, buckets,
            balanced ? &*balanced : nullptr),
      start_step(start),
      sources(data, options, buckets) {
  // One more than held ready: the one in the consumer's hands.
  const int n_threads = n_readers(options);
  const int64_t n_fit = options.prefetch_limit_bytes / slot_bytes();
  int64_t n_first = options.prefetch;
  if (options.prefetch_limit_bytes > 0) n_first = std::min(n_first, std::max(n_fit - 1, kAlwaysHeld));
  n_wanted = std::max<int64_t>(n_first, n_threads) + 1;
  places.resize(static_cast<size_t>(std::max(n_wanted, n_fit)));
  slots.reserve(places.size());
  free.reserve(places.size());
  while (n_slots() < n_wanted) {
    slots.push_back(make_slot());
    free.push_back(slots.back().get());
  }
  try {
    for (int i = 0; i < n_threads; ++i) readers.emplace_back([this] { read(); });
  } catch (const std::system_error& error) {
    join_readers();  // those that were started; a thread that is not joined ends the program
    throw Error("data.threads",
                "no thread could be started to read with, after " + std::to_string(readers.size()) + " of " +
                    std::to_string(n_threads) + ": " + error.code().message(),
                "set data.threads to a smaller number, or raise the limit of processes (ulimit -u)");
  }
}

DataLoader::Impl::~Impl() { join_readers(); }

void DataLoader::Impl::join_readers() {
  {
    const std::lock_guard guard(mutex);
    stop = true;
  }
  freed.notify_all();
  for (std::thread& reader : readers) reader.join();
}

int64_t DataLoader::Impl::slot_bytes() const {
  int64_t n_bytes = 0;
  for (const FieldSource& source : sources.fields())
    n_bytes += std::max(kPageBytes, options.micro_batch * source.most_row_bytes());
  return std::max(n_bytes, kPageBytes);
}

std::unique_ptr<DataLoader::Impl::Slot> DataLoader::Impl::make_slot() const {
  auto slot = std::make_unique<Slot>();
  slot->batch.sample_ids.resize(static_cast<size_t>(options.micro_batch));
  for (const FieldSource& source : sources.fields()) {
    slot->arrays.push_back(Memory::on_host(options.device, options.micro_batch * source.most_row_bytes()));
    slot->batch.data.push_back(slot->arrays.back().data());
  }
  return slot;
}

void DataLoader::Impl::read() {
  Scratch scratch;
  scratch.requests.resize(static_cast<size_t>(options.micro_batch));
  int64_t n_staging = 0;
  for (const FieldSource& source : sources.fields()) n_staging = std::max(n_staging, source.staging_bytes());
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
  batch.epoch = step / order.steps_per_epoch();
  batch.step_in_epoch = step % order.steps_per_epoch();
  batch.micro = options.first_micro + k % options.n_micro;

  const int64_t first = batch.micro * micro;
  batch.n_valid = std::clamp<int64_t>(order.samples_in_step(batch.step_in_epoch) - first, 0, micro);
  if (batch.n_valid > 0)
    order.samples_at(batch.epoch, batch.step_in_epoch, first, batch.n_valid, batch.sample_ids.data());
  std::fill(batch.sample_ids.begin() + batch.n_valid, batch.sample_ids.end(), int64_t{-1});

  batch.bucket = 0;
  for (int64_t row = 0; row < batch.n_valid; ++row) {
    const int64_t id = batch.sample_ids[static_cast<size_t>(row)];
    scratch.requests[static_cast<size_t>(row)] = {id, row};
    batch.bucket = std::max(batch.bucket, buckets.bucket_of(id));
  }
  const std::span<RowRequest> requests(scratch.requests.data(), static_cast<size_t>(batch.n_valid));
  if (sources.wants_sorted()) {
    std::sort(requests.begin(), requests.end(),
              [](const RowRequest& a, const RowRequest& b) { return a.id < b.id; });
  }
  for (size_t i = 0; i < sources.fields().size(); ++i) {
    const int64_t extent = buckets.extents()[static_cast<size_t>(batch.bucket)][i];
    sources.fields()[i].fill(requests, micro, extent, static_cast<std::byte*>(batch.data[i]),
                             scratch.staging.data());
    mask(i, extent, batch);
  }
}

void DataLoader::Impl::mask(size_t i, int64_t extent, MicroBatch& batch) const {
  const LoaderField& field = options.fields[i];
  if (!field.mask.is_on()) return;
  const int64_t n = dataset.field(field.name).ragged ? extent : field.shape.n_elements();
  auto* row = static_cast<std::byte*>(batch.data[i]);
  for (int64_t r = 0; r < batch.n_valid; ++r, row += n * size_of(field.dtype))
    mask_tokens(field.mask, options.seed, batch.epoch, batch.sample_ids[static_cast<size_t>(r)], n,
                field.dtype, row);
}

DataLoader::DataLoader(const Dataset& dataset, LoaderOptions options, int64_t start_step)
    : impl_(std::make_unique<Impl>(dataset, std::move(options), start_step)) {}
DataLoader::~DataLoader() = default;

int64_t DataLoader::steps_per_epoch() const { return impl_->order.steps_per_epoch(); }
int64_t DataLoader::samples_in_step(int64_t step_in_epoch) const {
  return impl_->order.samples_in_step(step_in_epoch);
}
const LengthBuckets& DataLoader::buckets() const { return impl_->buckets; }
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
