// Guarded by tests/src/bucket_sizes_test.cpp.
#include "src/step/bucket_sizes.h"

#include <algorithm>
#include <chrono>
#include <fstream>

#include "comm/reduction/gradient_reducer.h"
#include "io/files/json_parse.h"
#include "io/files/metrics.h"
#include "io/files/regular_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kTrialBytes[] = {kMiB / 4, kMiB, 4 * kMiB, 16 * kMiB, 64 * kMiB};
constexpr int kRounds = 5;
constexpr double kLongTrial = 0.25;  // seconds; longer buckets are not tried behind such a one

/// Sums of several sizes, over the path that training takes.
class Trials {
 public:
  Trials(Communicator& comm, const StepOptions& job, int64_t n_bytes)
      : comm_(comm),
        sizes_(sizes_up_to(n_bytes)),
        reducer_(comm, job.reduction, buckets(sizes_), job.device),
        stream_(make_stream(job.device)),
        own_(job.device, reducer_.shared_gradients() ? 0 : sizes_.back()) {}

  const std::string& way() const { return reducer_.way(); }

  std::vector<BucketTrial> run() {
    std::vector<BucketTrial> trials;
    for (size_t k = 0; k < sizes_.size(); ++k) {
      std::vector<double> times;
      for (int round = 0; round <= kRounds; ++round) {
        const double time_s = once(static_cast<int>(k));
        if (round > 0) times.push_back(time_s);
      }
      std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
      trials.push_back({sizes_[k], times[kRounds / 2]});
      if (trials.back().time_s > kLongTrial) break;
    }
    return trials;
  }

 private:
  static std::vector<int64_t> sizes_up_to(int64_t n_bytes) {
    std::vector<int64_t> sizes;
    for (const int64_t size : kTrialBytes)
      if (size <= n_bytes) sizes.push_back(size);
    return sizes;
  }
  static std::vector<Bucket> buckets(const std::vector<int64_t>& sizes) {
    std::vector<Bucket> all;
    for (const int64_t size : sizes) all.push_back({0, size / int64_t{sizeof(float)}});
    return all;
  }
  /// Until the slowest rank has the sum; equal on all.
  double once(int bucket) {
    float* gradients = reducer_.shared_gradients() ? reducer_.shared_gradients() : own_.as<float>();
    comm_.barrier();
    const auto start = std::chrono::steady_clock::now();
    reducer_.bucket_ready(bucket, gradients, stream_.get());
    reducer_.wait();
    const auto time = std::chrono::steady_clock::now() - start;
    return 1e-9 * static_cast<double>(comm_.all_reduce_max(std::chrono::nanoseconds(time).count()));
  }

  Communicator& comm_;
  std::vector<int64_t> sizes_;
  GradientReducer reducer_;
  std::unique_ptr<Stream> stream_;
  Memory own_;
};

/// What a plan is measured for.
struct Place {
  int64_t n_ranks, n_hosts;
  std::string device;

  Place(Communicator& comm, Device where) : n_ranks(comm.size()) {
    std::vector<std::string> hosts = comm.all_gather_strings(host_name());
    std::sort(hosts.begin(), hosts.end());
    n_hosts = std::unique(hosts.begin(), hosts.end()) - hosts.begin();
    device = where.kind == Device::Kind::kCuda ? "cuda" : "cpu";
  }
};

double mib(int64_t n_bytes) { return static_cast<double>(n_bytes) / static_cast<double>(kMiB); }

/// Rank 0. "" unless the file was made for this place.
std::string read_plan(const std::string& path, const Place& place) {
  try {
    const std::string text = read_text_file(path);
    const MetricsLine line = parse_json_object(text);
    const double *ranks = line.number("ranks"), *hosts = line.number("hosts");
    const std::string* device = line.text("device");
    const auto is_size = [&](const char* key) {
      const double* mb = line.number(key);
      return mb && *mb > 0 && *mb < 1e6;
    };
    const bool fits = ranks && *ranks == static_cast<double>(place.n_ranks) && hosts &&
                      *hosts == static_cast<double>(place.n_hosts) && device && *device == place.device &&
                      is_size("first_bucket_mb") && is_size("bucket_mb");
    return fits ? text : "";
  } catch (const Error&) {
    return "";  // absent or broken: measure again
  }
}

/// Rank 0. A folder that cannot be written costs the next start a second, not the run.
void write_plan(const std::string& path, const Place& place, const std::string& way, const BucketSizes& sizes,
                const std::vector<BucketTrial>& trials) {
  std::string measured;
  for (const BucketTrial& trial : trials) {
    JsonObject row;
    row.set("mb", mib(trial.n_bytes)).set("time_s", trial.time_s);
    measured += (measured.empty() ? "" : ", ") + row.str();
  }
  JsonObject plan;
  plan.set("ranks", place.n_ranks).set("hosts", place.n_hosts).set("device", place.device);
  plan.set("gradients", way);
  plan.set("first_bucket_mb", mib(sizes.first_bytes)).set("bucket_mb", mib(sizes.bytes));
  plan.set_raw("measured", "[" + measured + "]");
  std::ofstream(path) << plan.str() << "\n";
}

}  // namespace

BucketSizes choose_buckets(const std::vector<BucketTrial>& trials) {
  BucketSizes sizes;
  if (trials.empty()) return sizes;
  const auto rate = [](const BucketTrial& trial) {
    return static_cast<double>(trial.n_bytes) / std::max(trial.time_s, 1e-9);
  };
  double best = 0;
  for (const BucketTrial& trial : trials) best = std::max(best, rate(trial));
  const auto smallest = [&](double share) {
    return std::find_if(trials.begin(), trials.end(),
                        [&](const BucketTrial& t) { return rate(t) >= share * best; })
        ->n_bytes;
  };
  sizes.first_bytes = smallest(0.5);
  sizes.bytes = smallest(0.9);
  return sizes;
}

BucketSizes plan_buckets(const StepOptions& job, Communicator& comm, const ParameterArena& arena,
                         const std::string& path) {
  BucketSizes sizes;
  const int64_t n_bytes = arena.n_elements() * int64_t{sizeof(float)};
  const bool measures = comm.size() > 1 && job.reduction == Reduction::kTree && n_bytes > kMiB;
  if (measures && (job.first_bucket_bytes == 0 || job.bucket_bytes == 0)) {
    const Place place(comm, job.device);
    std::string plan = comm.is_root() && !path.empty() ? read_plan(path, place) : "";
    plan = comm.broadcast_string(plan);
    if (plan.empty()) {
      Trials trials(comm, job, n_bytes);
      const std::vector<BucketTrial> measured = trials.run();
      sizes = choose_buckets(measured);
      if (comm.is_root() && !path.empty()) write_plan(path, place, trials.way(), sizes, measured);
    } else {
      const MetricsLine line = parse_json_object(plan);
      sizes.first_bytes = static_cast<int64_t>(*line.number("first_bucket_mb") * static_cast<double>(kMiB));
      sizes.bytes = static_cast<int64_t>(*line.number("bucket_mb") * static_cast<double>(kMiB));
    }
  }
  if (job.first_bucket_bytes > 0) sizes.first_bytes = job.first_bucket_bytes;
  if (job.bucket_bytes > 0) sizes.bytes = job.bucket_bytes;
  return sizes;
}

}  // namespace lockstep
