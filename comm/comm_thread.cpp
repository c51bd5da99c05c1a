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

#include "comm/mpi_check.h"
#include "comm/reduction_path.h"
#include "comm/tree_reduction.h"

namespace lockstep {
namespace {

class CommThread : public ReductionPath {
 public:
  CommThread(Communicator& comm, Reduction reduction_, size_t n_buckets, int64_t longest, Device device_)
      : device(device_), reduction(reduction_) {
    if (reduction == Reduction::kTree) {
      check_tree_size(comm.size());
      scratch.resize(size_t(tree_scratch_elements(longest, sizeof(float), comm.size(), TreeTuning{})));
    }
    if (device.kind == Device::Kind::kCuda) {
      on_host = Memory::on_host(device, longest * int64_t{sizeof(float)});
      for (size_t b = 0; b < n_buckets; ++b) ready.push_back(make_event(device));
    }
    jobs.reserve(2 * n_buckets + 16);
    channel = std::make_unique<Communicator>(comm.duplicate());
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
    channel.release();
    new std::vector<float>(std::move(scratch));
    new Memory(std::move(on_host));
  }

  void start(size_t index, float* data, int64_t n_elements, Stream* stream) override {
    Event* event = ready.empty() ? nullptr : ready.at(index).get();
    if (event) event->record(*stream);
    {
      std::lock_guard lock(mutex);
      if (failure) return;
      jobs.push_back({data, n_elements, event});
    }
    job_added.notify_one();
  }

  void wait(Stream*) override {
    std::unique_lock lock(mutex);
    hurry = true;
    job_done.wait(lock, [&] { return failure || n_done == jobs.size(); });
    hurry = false;
    if (failure) std::rethrow_exception(failure);
    jobs.clear();
    n_taken = n_done = 0;
  }

 private:
  struct Job {
    float* data;
    int64_t n_elements;
    Event* ready;
  };

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

}  // namespace

std::unique_ptr<ReductionPath> make_comm_thread(Communicator& comm, Reduction reduction, size_t n_buckets,
                                                int64_t longest, Device device) {
  return std::make_unique<CommThread>(comm, reduction, n_buckets, longest, device);
}

}  // namespace lockstep
