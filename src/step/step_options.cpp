#include "src/step/step_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "src/config/numbers.h"

namespace lockstep {

namespace {

/// 0: auto.
int64_t read_bucket_bytes(const Config& batch, const std::string& key) {
  if (!batch.has(key)) return 0;
  if (batch.at(key).is_name()) {
    batch.get_choice(key, "auto", {"auto"});
    return 0;
  }
  const int64_t n_bytes = batch.get_double(key) < 0 ? 0 : read_mib(batch, key, 0);
  if (n_bytes < 1)
    throw batch.error_at(key, fmt::format("must be positive, or auto; found {}", batch.get_double(key)),
                         fmt::format("leave {} out for auto, or give MiB: 25", key));
  return n_bytes;
}

}  // namespace

void read_device(const Config& root, StepOptions& options) {
  const std::string device = root.get_choice("device", "auto", {"auto", "cpu", "cuda"});
  const int n_gpus = device == "cpu" ? 0 : cuda_device_count();
  const std::string precision =
      root.get_choice("precision", "float32", {"float32", "tf32", "bfloat16", "float16"});
  const bool of_gpus = precision == "tf32" || precision == "float16";
  if (device == "cuda" && n_gpus == 0) {
    throw root.error_at(
        "device", why_no_cuda(),
        fmt::format(
            "set device: cpu, as --set device=cpu{} does; or build with -DLOCKSTEP_CUDA=ON and see that "
            "nvidia-smi shows a GPU",
            of_gpus ? " --set precision=float32" : ""));
  }
  if (n_gpus > 0) options.device = {Device::Kind::kCuda, launcher_local_rank() % n_gpus};
  if (n_gpus == 0 && of_gpus) {
    throw root.error_at("precision",
                        fmt::format("{} is a format of GPUs, and this job runs on the CPU", precision),
                        "set precision: float32 or bfloat16, for instance by --set precision=float32");
  }
  options.tf32 = precision == "tf32";
  if (precision == "bfloat16") options.precision = DType::kBFloat16;
  if (precision == "float16") options.precision = DType::kFloat16;
  options.convolution_workspace_bytes = read_mib(root, "convolution_workspace_mb", 512);
}

void read_threads(const Config& root, StepOptions& options) {
  if (const std::optional<Config> threads = root.find("threads"); threads && threads->is_map()) {
    options.threads = read_count(*threads, "count", 1, 1, StepOptions::kMostThreads);
    options.more_threads_than_cores = threads->get_bool("more_than_cores", false);
    threads->finish();
    return;
  }
  options.threads = read_count(root, "threads", 1, 1, StepOptions::kMostThreads);
}

void read_batch(const Config& root, StepOptions& options) {
  Config batch = root.at("batch");
  batch.positional("global");
  options.global_batch = batch.get_int("global");
  options.micro_batch = batch.get_int("micro", options.global_batch);
  constexpr int64_t kMostSamples = int64_t{1} << 40;
  if (options.global_batch < 1)
    throw batch.error_at("global", fmt::format("must be at least 1, found {}", options.global_batch),
                         "it counts the samples of a step on all ranks together: for instance global: 128");
  if (options.global_batch > kMostSamples)
    throw batch.error_at("global", fmt::format("must be at most {}", kMostSamples),
                         "it counts the samples of a step on all ranks together: for instance global: 128");
  if (options.micro_batch < 1)
    throw batch.error_at("micro", fmt::format("must be at least 1, found {}", options.micro_batch),
                         fmt::format("leave micro out for micro: {}", options.global_batch));
  const int64_t g = options.global_batch, m = options.micro_batch;
  if (g % m != 0) {
    const int64_t below = g / m * m;
    throw batch.error_at(
        "micro", fmt::format("global batch {} is not divisible by micro-batch {}", g, m),
        fmt::format("nearest global batches: {}{}", below > 0 ? fmt::format("{}, ", below) : "", below + m));
  }
  const std::string reduction = batch.get_choice("reduction", "tree", {"tree", "native", "hierarchical"});
  options.reduction = reduction == "tree"     ? Reduction::kTree
                      : reduction == "native" ? Reduction::kNative
                                              : Reduction::kHierarchical;
  const int64_t v = options.n_micro();
  if (options.reduction == Reduction::kTree && !std::has_single_bit(static_cast<uint64_t>(v))) {
    const int64_t below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(v)));
    throw batch.error_at("global",
                         fmt::format("{} micro-batches per step are not a power of two, which the exact "
                                     "reduction tree needs",
                                     v),
                         fmt::format("nearest global batches: {}, {}; or batch: {{reduction: native}}",
                                     below * m, 2 * below * m));
  }
  options.first_bucket_bytes = read_bucket_bytes(batch, "first_bucket_mb");
  options.bucket_bytes = read_bucket_bytes(batch, "bucket_mb");
  options.wire = batch.get_choice("wire", "float32", {"float32", "bfloat16"}) == "bfloat16" ? Wire::kBFloat16
                                                                                            : Wire::kFloat32;
  if (options.wire == Wire::kBFloat16 && options.reduction != Reduction::kTree) {
    throw batch.error_at("wire", "only the sums of the tree travel as bfloat16",
                         "leave out reduction, or set wire: float32");
  }
  options.error_feedback = batch.get_bool("error_feedback", false);
  if (options.error_feedback && options.wire == Wire::kFloat32) {
    throw batch.error_at("error_feedback", "float32 on the wire leaves no errors to feed back",
                         "set wire: bfloat16, or leave it out");
  }
  options.shard_optimizer = batch.get_bool("shard_optimizer", false);
  batch.finish();
}

OpConfig StepOptions::op_config(bool training) const {
  return {.device = device,
          .training = training,
          .compute = precision,
          .tf32 = tf32,
          .convolution_workspace_bytes = convolution_workspace_bytes};
}

void check_thread_count(const StepOptions& options) {
  const auto n_cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (options.device.kind != Device::Kind::kCpu || options.more_threads_than_cores || n_cores < 1 ||
      options.threads <= n_cores)
    return;
  throw Error(
      "threads",
      fmt::format("{} threads per rank are more than the {} core{} of this machine", options.threads, n_cores,
                  n_cores == 1 ? "" : "s"),
      fmt::format("set threads: {}; or, if it is meant, threads: {{count: {}, more_than_cores: true}}",
                  n_cores, options.threads));
}

void use_on_this_machine(StepOptions& options) {
  const StepOptions usual;
  const auto n_cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  options.threads = std::clamp(options.threads, 1, std::max(1, n_cores));
  options.data_threads = usual.data_threads;
  options.prefetch = usual.prefetch;
  options.prefetch_bytes = usual.prefetch_bytes;
  options.cache_bytes = usual.cache_bytes;
}

void check_rank_count(const StepOptions& options, int size) {
  const int64_t v = options.n_micro();
  const std::string where = fmt::format("{} ranks", size);
  if (options.reduction == Reduction::kTree && !std::has_single_bit(static_cast<unsigned>(size))) {
    const int below = static_cast<int>(std::bit_floor(static_cast<unsigned>(size)));
    throw Error(where, "the exact reduction tree needs a power-of-two number of ranks",
                fmt::format("start {} or {} ranks, or set batch.reduction=native", below, 2 * below));
  }
  if (v % size != 0) {
    int64_t below = std::min<int64_t>(size, v);
    while (v % below != 0) --below;
    throw Error(
        where,
        fmt::format("{} micro-batches per step (global batch {} / micro-batch {}) cannot be shared equally",
                    v, options.global_batch, options.micro_batch),
        fmt::format("start {} ranks, or set batch.micro={} so that each rank has one", below,
                    std::max<int64_t>(1, options.global_batch / size)));
  }
}

}  // namespace lockstep
