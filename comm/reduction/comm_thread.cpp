// The comm thread of a rank: takes buckets in the order they are handed in and all-reduces
// each in place on its own communicator, while the caller computes the next gradients.
//
// Buckets never mix ranks' order: an element's sum is the tree over ranks wherever the cuts
// are. Nothing is allocated after construction.
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "comm/activity.h"
#include "comm/reduction/rank_reduction.h"
#include "comm/reduction/reduction_path.h"

namespace lockstep {
namespace {

class CommThread : public ReductionPath {
 public:
  CommThread(Communicator& comm, Reduction reduction_, const std::vector<Bucket>& buckets, Device device_,
             const ReducerOptions& options, bool all_on_cpu)
      : device(device_), reduction(reduction_), scatters(options.scatters) {
    if (device.kind == Device::Kind::kCuda) {
      int64_t longest = 0;
      for (const Bucket& bucket : buckets) {
        longest = std::max(longest, bucket.end - bucket.begin);
        ready.push_back(make_event(device));
      }
      on_host = Memory::on_host(device, longest * int64_t{sizeof(float)});
    }
    jobs.reserve(2 * buckets.size() + 16);
    channel = std::make_unique<Communicator>(comm.duplicate());
    ranks = std::make_unique<RankReduction>(*channel, PretendedHosts{}, options.wire);
    if (all_on_cpu && !buckets.empty())
      shared = reinterpret_cast<float*>(ranks->shared_memory(buckets.back().end * int64_t{sizeof(float)}));
    for (const Bucket& bucket : buckets) own.push_back(ranks->own_parts(bucket.n(), reduction));
    thread = std::thread([this] { run(); });
  }

  ~CommThread() override {
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
    ranks.release();
    channel.release();
    new Memory(std::move(on_host));
  }

  float* shared_gradients() const override { return shared; }

  std::vector<ElementRange> own_parts(size_t index) const override { return own.at(index); }

  void start(size_t index, float* data, int64_t n_elements, Stream* stream) override {
    submit({data, n_elements, scatters ? Task::kReduceScatter : Task::kAllReduce, index}, stream);
  }
  void gather(size_t index, float* data, int64_t n_elements, Stream* stream) override {
    submit({data, n_elements, Task::kGather, index}, stream);
  }

  void wait_for(size_t index, Stream*) override {
    std::unique_lock lock(mutex);
    size_t n_wanted = jobs.size();
    while (n_wanted > 0 && jobs[n_wanted - 1].index != index) --n_wanted;
    wait_for_jobs(lock, n_wanted);
  }

  void wait(Stream*) override {
    std::unique_lock lock(mutex);
    wait_for_jobs(lock, jobs.size());
    jobs.clear();
    n_taken = n_done = 0;
  }

 private:
  enum class Task : uint8_t { kAllReduce, kReduceScatter, kGather };
  struct Job {
    float* data;
    int64_t n_elements;
    Task task;
    size_t index;  // of the bucket
    Event* ready = nullptr;
  };

  void wait_for_jobs(std::unique_lock<std::mutex>& lock, size_t n) {
    hurry = true;
    job_done.wait(lock, [&] { return failure || n_done >= n; });
    hurry = false;
    if (failure) std::rethrow_exception(failure);
  }

  void submit(Job job, Stream* stream) {
    if (!ready.empty()) {
      job.ready = ready.at(job.index).get();
      job.ready->record(*stream);
    }
    {
      std::lock_guard lock(mutex);
      if (failure) return;
      jobs.push_back(job);
    }
    job_added.notify_one();
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
      tell_bucket(static_cast<int>(job.index));
      try {
        if (device.kind == Device::Kind::kCuda) {
          run_on_host(job);
        } else {
          run(job, job.data);
        }
      } catch (...) {
        error = std::current_exception();
      }
      tell_bucket(-1);
      std::lock_guard lock(mutex);
      if (error && !failure) failure = error;
      if (failure) n_taken = jobs.size();  // what follows could only hang or mislead
      ++n_done;
      job_done.notify_all();
    }
  }

  void run_on_host(const Job& job) {
    if (!copies) copies = make_stream(device);
    const int64_t n_bytes = job.n_elements * int64_t{sizeof(float)};
    job.ready->hold(*copies);
    copy(*copies, on_host.data(), job.data, n_bytes);
    copies->synchronize();
    run(job, on_host.as<float>());
    copy(*copies, job.data, on_host.data(), n_bytes);
    copies->synchronize();
  }

  void run(const Job& job, float* data) {
    const Patience patience{&hurry, &abandon};
    switch (job.task) {
      case Task::kAllReduce: return ranks->all_reduce(data, job.n_elements, reduction, patience);
      case Task::kReduceScatter: return ranks->reduce_scatter(data, job.n_elements, reduction, patience);
      case Task::kGather: return ranks->all_gather(data, job.n_elements, reduction, patience);
    }
  }

  const Device device;
  const Reduction reduction;
  const bool scatters;
  std::unique_ptr<Communicator> channel;
  std::unique_ptr<RankReduction> ranks;
  float* shared = nullptr;
  std::vector<std::vector<ElementRange>> own;  // per bucket
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

}  // namespace

std::unique_ptr<ReductionPath> make_comm_thread(Communicator& comm, Reduction reduction,
                                                const std::vector<Bucket>& buckets, Device device,
                                                const ReducerOptions& options, bool all_on_cpu) {
  return std::make_unique<CommThread>(comm, reduction, buckets, device, options, all_on_cpu);
}

}  // namespace lockstep
