// The comm thread of a rank: takes buckets in the order they are handed in and all-reduces
// each in place on its own communicator, while the caller computes the next gradients.
//
// Buckets never mix ranks' order: an element's sum is the tree over ranks wherever the cuts
// are. Nothing is allocated after construction.
#include "comm/gradient_reducer.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "comm/mpi_check.h"
#include "comm/tree_reduction.h"
#include "kernels/error.h"

namespace lockstep {

struct GradientReducer::Impl {
  struct Job {
    float* data;
    int64_t n_elements;
    Event* ready;
  };

  Impl(Communicator& comm, Reduction reduction_, std::vector<Bucket> buckets_, Device device_)
      : device(device_), reduction(reduction_), buckets(std::move(buckets_)), alone(comm.size() == 1) {
    int64_t longest = 0;
    for (const Bucket& bucket : buckets) {
      if (bucket.begin < 0 || bucket.begin > bucket.end)
        throw Error("GradientReducer", fmt::format("bucket [{}, {}) is no range", bucket.begin, bucket.end));
      longest = std::max(longest, bucket.end - bucket.begin);
    }
    if (alone) return;
    if (reduction == Reduction::kTree) {
      check_tree_size(comm.size());
      scratch.resize(size_t(tree_scratch_elements(longest, sizeof(float), comm.size(), TreeTuning{})));
    }
    if (device.kind == Device::Kind::kCuda) {
      on_host = Memory::on_host(device, longest * int64_t{sizeof(float)});
      for (size_t b = 0; b < buckets.size(); ++b) ready.push_back(make_event(device));
    }
    jobs.reserve(2 * buckets.size() + 16);
    channel = std::make_unique<Communicator>(comm.duplicate());
    thread = std::thread([this] { run(); });
  }

  ~Impl() {
    if (!thread.joinable()) return;
    {
      std::lock_guard lock(mutex);
      stopping = true;
    }
    abandon = true;
    job_added.notify_one();
    thread.join();
    if (n_done == jobs.size() && !failure) return;
    // Cut off in mid-reduction, which only a failing run does: MPI may still hold messages
    // that refer to these, so they live as long as the process.
    channel.release();
    new std::vector<float>(std::move(scratch));
    new Memory(std::move(on_host));
  }

  void run() {
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);  // ns; naps of 20 us shall not last 70
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex);
        job_added.wait(lock, [&] { return stopping || n_taken < jobs.size(); });
        if (stopping) return;
        job = jobs[n_taken++];
      }
      std::exception_ptr error;
      try {
        if (device.kind == Device::Kind::kCuda) {
          reduce_on_host(job);
        } else {
          reduce(job.data, job.n_elements);
        }
      } catch (...) {
        error = std::current_exception();
      }
      std::lock_guard lock(mutex);
      if (error && !failure) failure = error;
      if (failure) n_taken = jobs.size();  // what follows could only hang or mislead
      if (++n_done >= n_taken || failure) job_done.notify_all();
    }
  }

  void reduce_on_host(const Job& job) {
    if (!copies) copies = make_stream(device);
    const int64_t n_bytes = job.n_elements * int64_t{sizeof(float)};
    job.ready->hold(*copies);
    copy(*copies, on_host.data(), job.data, n_bytes);
    copies->synchronize();
    reduce(on_host.as<float>(), job.n_elements);
    copy(*copies, job.data, on_host.data(), n_bytes);
    copies->synchronize();
  }

  void reduce(float* data, int64_t n_elements) {
    const Patience patience{&hurry, &abandon};
    if (reduction == Reduction::kTree)
      tree_all_reduce(mpi_comm(*channel), data, n_elements, scratch.data(), TreeTuning{}, patience);
    else
      for (int64_t begin = 0; begin < n_elements; begin += kMaxPiece) {
        MPI_Request request = MPI_REQUEST_NULL;
        LOCKSTEP_MPI(MPI_Iallreduce(MPI_IN_PLACE, data + begin, int(std::min(kMaxPiece, n_elements - begin)),
                                    MPI_FLOAT, MPI_SUM, mpi_comm(*channel), &request));
        patience.wait(&request);
      }
  }

  static constexpr int64_t kMaxPiece = int64_t{1} << 30;
  const Device device;
  const Reduction reduction;
  const std::vector<Bucket> buckets;
  const bool alone;
  std::unique_ptr<Communicator> channel;
  std::vector<float> scratch;
  // GPUs: where buckets are reduced, and per bucket that it is final.
  Memory on_host;
  std::vector<std::unique_ptr<Event>> ready;
  std::unique_ptr<Stream> copies;  // of the comm thread

  std::mutex mutex;  // guards the next six
  std::condition_variable job_added, job_done;
  std::vector<Job> jobs;
  size_t n_taken = 0, n_done = 0;
  bool stopping = false;
  std::exception_ptr failure;

  std::atomic<bool> hurry{false}, abandon{false};
  std::thread thread;
};

GradientReducer::GradientReducer(Communicator& comm, Reduction reduction, std::vector<Bucket> buckets,
                                 Device device)
    : impl_(std::make_unique<Impl>(comm, reduction, std::move(buckets), device)) {}
GradientReducer::~GradientReducer() = default;

const std::vector<Bucket>& GradientReducer::buckets() const { return impl_->buckets; }

void GradientReducer::bucket_ready(int index, float* gradients, Stream* stream) {
  if (impl_->alone) return;
  const Bucket& bucket = impl_->buckets.at(size_t(index));
  Event* ready = impl_->ready.empty() ? nullptr : impl_->ready[size_t(index)].get();
  if (ready) ready->record(*stream);
  {
    std::lock_guard lock(impl_->mutex);
    if (impl_->failure) return;
    impl_->jobs.push_back({gradients + bucket.begin, bucket.end - bucket.begin, ready});
  }
  impl_->job_added.notify_one();
}

double GradientReducer::wait() {
  if (impl_->alone) return 0;
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(impl_->mutex);
  impl_->hurry = true;
  impl_->job_done.wait(lock, [&] { return impl_->failure || impl_->n_done == impl_->jobs.size(); });
  impl_->hurry = false;
  if (impl_->failure) std::rethrow_exception(impl_->failure);
  impl_->jobs.clear();
  impl_->n_taken = impl_->n_done = 0;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace lockstep
