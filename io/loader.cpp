// A ring of slots between one reader thread and the consumer. The reader fills slots in the
// order of the sampler; the consumer's next() gives the previous slot back and takes the next
// one. Counter k of this rank's micro-batches alone decides what a slot holds, so starting
// anywhere gives the same micro-batches, and timing changes nothing but waiting.
#include "io/loader.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

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

}  // namespace

struct DataLoader::Impl {
  const Dataset& dataset;
  const LoaderOptions options;
  const Sampler sampler;
  const int64_t start_step, steps_per_epoch;
  bool cached = false;
  std::vector<RowSource> sources;  // one per field; used by the reader alone
  std::vector<RowRequest> requests;

  struct Slot {
    MicroBatch batch;
    std::vector<Memory> arrays;
  };
  std::vector<Slot> slots;

  std::mutex mutex;
  std::condition_variable filled, freed;
  int64_t n_filled = 0, n_freed = 0;  // micro-batches of this rank so far
  bool stop = false;
  std::exception_ptr error;  // of micro-batch n_filled

  int64_t n_taken = 0;  // the consumer's own
  double wait_s = 0;
  std::thread reader;  // last: it uses everything above

  Impl(const Dataset& data, LoaderOptions o, int64_t start);
  ~Impl();
  void read_all();
  void fill(int64_t k, Slot& slot);
  int64_t n_slots() const { return static_cast<int64_t>(slots.size()); }
};

DataLoader::Impl::Impl(const Dataset& data, LoaderOptions o, int64_t start)
    : dataset((check(data, o, start), data)),
      options(std::move(o)),
      sampler(data.n_samples(), options.seed, options.shuffle),
      start_step(start),
      steps_per_epoch((data.n_samples() + options.global_batch - 1) / options.global_batch) {
  const int64_t micro = options.micro_batch;
  int64_t n_bytes = 0;
  for (const LoaderField& wanted : options.fields) {
    const Field& stored = data.field(wanted.name);
    n_bytes += data.n_samples() * stored.shape.n_elements() * size_of(stored.dtype);
  }
  cached = n_bytes <= options.cache_limit_bytes;
  for (const LoaderField& wanted : options.fields) {
    RowConverter converter(data.field(wanted.name), wanted.dtype, wanted.mean, wanted.stddev,
                           wanted.n_classes, data.path());
    sources.emplace_back(data, wanted.name, std::move(converter), cached, micro);
  }
  requests.resize(static_cast<size_t>(micro));
  // One more than held ready: the one in the consumer's hands.
  slots.resize(static_cast<size_t>(options.prefetch + 1));
  for (Slot& slot : slots) {
    slot.batch.sample_ids.resize(static_cast<size_t>(micro));
    for (const RowSource& source : sources) {
      slot.arrays.push_back(Memory::on_host(options.device, micro * source.converter().dst_bytes()));
      slot.batch.data.push_back(slot.arrays.back().data());
    }
  }
  reader = std::thread([this] { read_all(); });
}

DataLoader::Impl::~Impl() {
  {
    const std::lock_guard guard(mutex);
    stop = true;
  }
  freed.notify_all();
  reader.join();
}

void DataLoader::Impl::read_all() {
  for (int64_t k = 0;; ++k) {
    {
      std::unique_lock guard(mutex);
      freed.wait(guard, [&] { return stop || k - n_freed < n_slots(); });
      if (stop) return;
    }
    std::exception_ptr failure;
    try {
      fill(k, slots[static_cast<size_t>(k % n_slots())]);
    } catch (...) {
      failure = std::current_exception();
    }
    {
      const std::lock_guard guard(mutex);
      if (failure) {
        error = failure;
      } else {
        n_filled = k + 1;
      }
    }
    filled.notify_one();
    if (failure) return;
  }
}

void DataLoader::Impl::fill(int64_t k, Slot& slot) {
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

  for (int64_t row = 0; row < batch.n_valid; ++row)
    requests[static_cast<size_t>(row)] = {batch.sample_ids[static_cast<size_t>(row)], row};
  if (!cached && options.shuffle) {
    std::sort(requests.begin(), requests.begin() + batch.n_valid,
              [](const RowRequest& a, const RowRequest& b) { return a.id < b.id; });
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    auto* dst = static_cast<std::byte*>(batch.data[i]);
    const int64_t row_bytes = sources[i].converter().dst_bytes();
    sources[i].gather(requests.data(), batch.n_valid, dst);
    std::memset(dst + batch.n_valid * row_bytes, 0, static_cast<size_t>((micro - batch.n_valid) * row_bytes));
  }
}

DataLoader::DataLoader(const Dataset& dataset, LoaderOptions options, int64_t start_step)
    : impl_(std::make_unique<Impl>(dataset, std::move(options), start_step)) {}
DataLoader::~DataLoader() = default;

int64_t DataLoader::steps_per_epoch() const { return impl_->steps_per_epoch; }
double DataLoader::wait_s() const { return impl_->wait_s; }

const MicroBatch& DataLoader::next() {
  Impl& s = *impl_;
  std::unique_lock guard(s.mutex);
  s.n_freed = s.n_taken;  // the one handed out last
  // The reader is woken for half a ring at a time: fewer switches where it shares a core.
  const bool wakes_reader = 2 * (s.n_filled - s.n_taken) <= s.n_slots();
  const auto is_ready = [&] { return s.n_filled > s.n_taken || s.error; };
  if (!is_ready()) {
    s.freed.notify_one();
    const auto start = std::chrono::steady_clock::now();
    s.filled.wait(guard, is_ready);
    s.wait_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  if (s.n_filled == s.n_taken) std::rethrow_exception(s.error);
  const MicroBatch& batch = s.slots[static_cast<size_t>(s.n_taken++ % s.n_slots())].batch;
  guard.unlock();
  if (wakes_reader) s.freed.notify_one();
  return batch;
}

}  // namespace lockstep
