#include "src/job/job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "kernels/printable.h"

namespace lockstep {

namespace {

int64_t read_whole(const Config& config, const std::string& key, int64_t fallback, int64_t least,
                   int64_t most) {
  const int64_t n = config.get_int(key, fallback);
  if (n < least)
    throw config.error_at(key,
                          least == 0 ? fmt::format("must not be negative, found {}", n)
                                     : fmt::format("must be at least {}, found {}", least, n),
                          fmt::format("set {}: {} or more", key, least));
  if (n > most)
    throw config.error_at(key, fmt::format("must be at most {}", most),
                          fmt::format("set {}: {} or less", key, most));
  return n;
}

/// A whole number of things: it fits an int.
int read_count(const Config& config, const std::string& key, int64_t fallback, int64_t least,
               int64_t most = 1'000'000'000) {
  return static_cast<int>(read_whole(config, key, fallback, least, most));
}

/// Steps, epochs and what is counted in them: products of two, and of one with the steps of an epoch, fit
/// int64.
int64_t read_steps(const Config& config, const std::string& key, int64_t fallback, int64_t least) {
  return read_whole(config, key, fallback, least, 1'000'000'000);
}

/// N, or {count: N, more_than_cores: true}.
void read_threads(const Config& root, Job& job) {
  if (const std::optional<Config> threads = root.find("threads"); threads && threads->is_map()) {
    job.threads = read_count(*threads, "count", 1, 1, Job::kMostThreads);
    job.more_threads_than_cores = threads->get_bool("more_than_cores", false);
    threads->finish();
    return;
  }
  job.threads = read_count(root, "threads", 1, 1, Job::kMostThreads);
}

/// MiB as bytes.
int64_t read_mib(const Config& config, const std::string& key, double fallback) {
  constexpr double kMost = 1e12;
  const double mib = config.get_double(key, fallback);
  if (mib < 0)
    throw config.error_at(key, fmt::format("must not be negative, found {}", mib),
                          fmt::format("set {}: 0 or more, in MiB", key));
  if (mib > kMost)
    throw config.error_at(key, fmt::format("must be at most {}", kMost),
                          fmt::format("set {}: {} or less", key, kMost));
  return static_cast<int64_t>(mib * (1 << 20));
}

/// FIELD, or {path: FILE, field: FIELD} for one that lies elsewhere; then its name is made of both. "":
/// absent.
std::string read_field(const Config& config, const std::string& key, DataSource& source) {
  const std::optional<Config> found = config.find(key);
  if (!found) return "";
  if (!found->is_map()) return config.get_string(key);
  DataSource::Place place;
  place.path = found->get_string("path");
  for (const char* name : {"field", "input", "target"})  // the last two as at the source itself
    if (place.field.empty()) place.field = found->get_string(name, "");
  if (place.field.empty())
    throw found->error_at(
        "field", "is missing: the name of the dataset in that file",
        "for instance {path: features.h5, field: input}; `lockstep inspect FILE` lists the names");
  found->finish();
  const std::string name = place.path + ":" + place.field;
  source.places[name] = place;
  return name;
}

DataSource read_source(const Config& data, const std::string& key) {
  Config source = data.at(key);
  source.positional("path");
  DataSource result;
  result.path = source.get_string("path", "");
  result.input = read_field(source, "input", result);
  result.target = read_field(source, "target", result);
  result.layout = source.get_choice("layout", "auto", {"auto", "NCHW", "NHWC"});
  if (result.layout == "auto") result.layout.clear();
  result.external_storage = source.get_bool("external_storage", false);
  result.partial = source.get_bool("partial", false);
  if (const std::optional<Config> inputs = source.find("inputs")) {
    for (const std::string& name : inputs->keys()) result.inputs[name] = read_field(*inputs, name, result);
    if (!result.input.empty())
      throw source.error_at("input", "input and inputs are both given", "give either input or inputs");
    inputs->finish();
  }
  if (result.path.empty() && result.places.empty()) source.get_string("path");  // says that it is missing
  source.finish();
  return result;
}

/// true, false, or {window: N, block: B}. Without a block a window mixes 64 of them.
Shuffle read_shuffle(const Config& data) {
  Shuffle shuffle;
  const std::optional<Config> found = data.find("shuffle");
  if (!found || !found->is_map()) {
    shuffle.is_on = data.get_bool("shuffle", true);
    return shuffle;
  }
  shuffle.window = found->get_int("window");
  if (shuffle.window < 1)
    throw found->error_at("window", fmt::format("must be at least 1, found {}", shuffle.window),
                          "it counts samples: for instance window: 65536");
  shuffle.block = found->get_int("block", std::max<int64_t>(1, shuffle.window / 64));
  if (shuffle.block < 1 || shuffle.block > shuffle.window)
    throw found->error_at(
        "block",
        fmt::format("must be between 1 and the window of {}, found {}", shuffle.window, shuffle.block),
        "leave block out for a 64th of the window");
  found->finish();
  return shuffle;
}

/// A name of one folder that a terminal shows as it is.
bool is_plain_name(const std::string& name) {
  constexpr size_t kMostBytes = 200;  // file systems take 255, and suffixes follow
  return !name.empty() && name.size() <= kMostBytes && name != "." && name != ".." &&
         name.find('/') == std::string::npos && printable(name) == name;
}

void read_data(const Config& root, Job& job) {
  const std::optional<Config> data = root.find("data");
  if (!data) return;  // `inspect` and `bench step` need none; training says so itself
  job.train = read_source(*data, "train");
  if (data->has("validation")) job.validation = read_source(*data, "validation");
  const std::string normalize =
      data->get_choice("normalize", "auto", {"auto", "none", "unit", "mean", "standardize"});
  job.normalize = normalize == "none"   ? Job::Normalize::kNone
                  : normalize == "unit" ? Job::Normalize::kUnit
                  : normalize == "mean" ? Job::Normalize::kMean
                  : normalize == "auto" ? Job::Normalize::kAuto
                                        : Job::Normalize::kStandardize;
  job.augment = read_augment(*data);
  job.shuffle = read_shuffle(*data);
  job.data_threads = read_count(*data, "threads", 0, 0, Job::kMostDataThreads);
  job.prefetch = read_count(*data, "prefetch", job.prefetch, 1, 10'000);
  job.prefetch_bytes = read_mib(*data, "prefetch_mb", 256);
  job.cache_bytes = read_mib(*data, "cache_mb", 1024);
  const std::string verify = data->get_choice("verify", "auto", {"auto", "true", "false"});
  job.verify_data = verify == "auto"   ? Job::VerifyData::kAuto
                    : verify == "true" ? Job::VerifyData::kAlways
                                       : Job::VerifyData::kNever;
  data->finish();
}

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

void read_batch(const Config& root, Job& job) {
  Config batch = root.at("batch");
  batch.positional("global");
  job.global_batch = batch.get_int("global");
  job.micro_batch = batch.get_int("micro", job.global_batch);
  constexpr int64_t kMostSamples = int64_t{1} << 40;
  if (job.global_batch < 1)
    throw batch.error_at("global", fmt::format("must be at least 1, found {}", job.global_batch),
                         "it counts the samples of a step on all ranks together: for instance global: 128");
  if (job.global_batch > kMostSamples)
    throw batch.error_at("global", fmt::format("must be at most {}", kMostSamples),
                         "it counts the samples of a step on all ranks together: for instance global: 128");
  if (job.micro_batch < 1)
    throw batch.error_at("micro", fmt::format("must be at least 1, found {}", job.micro_batch),
                         fmt::format("leave micro out for micro: {}", job.global_batch));
  const int64_t g = job.global_batch, m = job.micro_batch;
  if (g % m != 0) {
    const int64_t below = g / m * m;
    throw batch.error_at(
        "micro", fmt::format("global batch {} is not divisible by micro-batch {}", g, m),
        fmt::format("nearest global batches: {}{}", below > 0 ? fmt::format("{}, ", below) : "", below + m));
  }
  const std::string reduction = batch.get_choice("reduction", "tree", {"tree", "native", "hierarchical"});
  job.reduction = reduction == "tree"     ? Reduction::kTree
                  : reduction == "native" ? Reduction::kNative
                                          : Reduction::kHierarchical;
  const int64_t v = job.n_micro();
  if (job.reduction == Reduction::kTree && !std::has_single_bit(static_cast<uint64_t>(v))) {
    const int64_t below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(v)));
    throw batch.error_at("global",
                         fmt::format("{} micro-batches per step are not a power of two, which the exact "
                                     "reduction tree needs",
                                     v),
                         fmt::format("nearest global batches: {}, {}; or batch: {{reduction: native}}",
                                     below * m, 2 * below * m));
  }
  job.first_bucket_bytes = read_bucket_bytes(batch, "first_bucket_mb");
  job.bucket_bytes = read_bucket_bytes(batch, "bucket_mb");
  job.wire = batch.get_choice("wire", "float32", {"float32", "bfloat16"}) == "bfloat16" ? Wire::kBFloat16
                                                                                        : Wire::kFloat32;
  if (job.wire == Wire::kBFloat16 && job.reduction != Reduction::kTree) {
    throw batch.error_at("wire", "only the sums of the tree travel as bfloat16",
                         "leave out reduction, or set wire: float32");
  }
  job.error_feedback = batch.get_bool("error_feedback", false);
  if (job.error_feedback && job.wire == Wire::kFloat32) {
    throw batch.error_at("error_feedback", "float32 on the wire leaves no errors to feed back",
                         "set wire: bfloat16, or leave it out");
  }
  job.shard_optimizer = batch.get_bool("shard_optimizer", false);
  batch.finish();
}

void read_sync_guard(const Config& root, Job& job) {
  const std::optional<Config> guard = root.find("sync_guard");
  if (!guard) return;
  job.sync_guard.every_steps = read_steps(*guard, "every_steps", job.sync_guard.every_steps, 0);
  job.sync_guard.restores = guard->get_choice("on_difference", "stop", {"stop", "restore"}) == "restore";
  guard->finish();
}

void read_watchdog(const Config& root, Job& job) {
  const std::optional<Config> watchdog = root.find("watchdog");
  if (!watchdog) return;
  job.watchdog.silent_s = watchdog->get_double("silent_s", job.watchdog.silent_s);
  if (job.watchdog.silent_s != 0 && !(job.watchdog.silent_s >= 5))
    throw watchdog->error_at("silent_s", fmt::format("must be at least 5, found {}", job.watchdog.silent_s),
                             "give 5 seconds or more; 0 turns the watchdog off");
  job.watchdog.stuck_s = watchdog->get_double("stuck_s", job.watchdog.stuck_s);
  if (!(job.watchdog.stuck_s >= 0))
    throw watchdog->error_at("stuck_s", fmt::format("must not be negative, found {}", job.watchdog.stuck_s),
                             "leave it out for 25 seconds; 0 turns the warning off");
  job.watchdog.emergency_checkpoint = watchdog->get_bool("emergency_checkpoint", true);
  watchdog->finish();
}

void read_train(const Config& root, Job& job) {
  const Config train = root.at("train");
  job.epochs = read_steps(train, "epochs", 0, 0);
  job.steps = read_steps(train, "steps", 0, 0);
  if ((job.epochs > 0) == (job.steps > 0)) {
    throw train.error("give the length of training as either epochs or steps",
                      "for instance train: {epochs: 10}");
  }
  job.log_every_steps = read_steps(train, "log_every_steps", 0, 0);
  job.validate_every_epochs = read_steps(train, "validate_every_epochs", 1, 1);
  job.stop_without_mistakes =
      train.has("stop_when") && train.get_choice("stop_when", "", {"no_mistakes"}) == "no_mistakes";
  if (job.stop_without_mistakes && !job.loss.has_accuracy()) {
    throw train.error_at("stop_when", "this loss knows no mistakes", "use a loss that classifies, or epochs");
  }
  if (const std::optional<Config> early = train.find("early_stopping")) {
    early->at("patience");
    job.early_stopping_patience = read_steps(*early, "patience", 1, 1);
    if (early->has("measure"))
      job.early_stopping = read_measure(early->find("measure"), job.metrics, job.losses());
    early->finish();
    if (!job.validation) {
      throw train.error_at("early_stopping", "needs validation data",
                           "add data.validation or remove early_stopping");
    }
  }
  train.finish();
}

void read_local_copies(const Config& checkpoint, Job& job) {
  const std::optional<Config> local = checkpoint.find("local");
  if (!local) return;
  job.local_checkpoints.folder = local->get_string("folder");
  local->at("every_steps");
  job.local_checkpoints.every_steps = read_steps(*local, "every_steps", 1, 1);
  job.local_checkpoints.keep = read_count(*local, "keep", 2, 1);
  if (job.local_checkpoints.folder.empty())
    throw local->error_at("folder", "must name a folder on each host's disk",
                          "for instance folder: /tmp/lockstep");
  if (job.shard_optimizer || job.error_feedback) {
    throw checkpoint.error_at(
        "local", "one rank writes a local copy, and none holds the whole state",
        "leave out batch.shard_optimizer and batch.error_feedback, or checkpoint.local");
  }
  local->finish();
}

void read_checkpoint(const Config& root, Job& job) {
  const std::optional<Config> checkpoint = root.find("checkpoint");
  const std::optional<Config> best = checkpoint ? checkpoint->find("best") : std::nullopt;
  job.best = job.early_stopping = read_measure(best, job.metrics, job.losses());
  if (!checkpoint) return;
  job.checkpoint_every_epochs = read_steps(*checkpoint, "every_epochs", 1, 0);
  job.checkpoint_every_steps = read_steps(*checkpoint, "every_steps", 0, 0);
  job.checkpoint_every_minutes = checkpoint->get_double("every_minutes", 0);
  if (job.checkpoint_every_minutes < 0)
    throw checkpoint->error_at("every_minutes",
                               fmt::format("must not be negative, found {}", job.checkpoint_every_minutes),
                               "for instance every_minutes: 30; 0 saves by epochs and steps only");
  job.keep = read_count(*checkpoint, "keep", 3, -1'000'000'000);
  job.keep_every = read_count(*checkpoint, "keep_every", 0, 0);
  if (job.keep_every > 0 && job.checkpoint_every_epochs == 0 && job.checkpoint_every_steps == 0) {
    throw checkpoint->error_at("keep_every", "counts the checkpoints by epochs and by steps; there are none",
                               "set every_epochs or every_steps");
  }
  job.asynchronous_checkpoints = checkpoint->get_bool("asynchronous", true);
  read_local_copies(*checkpoint, job);
  checkpoint->finish();
}

/// Ranks of one host take its GPUs in turn.
void read_device(const Config& root, Job& job) {
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
  if (n_gpus > 0) job.device = {Device::Kind::kCuda, launcher_local_rank() % n_gpus};
  if (n_gpus == 0 && of_gpus) {
    throw root.error_at("precision",
                        fmt::format("{} is a format of GPUs, and this job runs on the CPU", precision),
                        "set precision: float32 or bfloat16, for instance by --set precision=float32");
  }
  job.tf32 = precision == "tf32";
  if (precision == "bfloat16") job.precision = DType::kBFloat16;
  if (precision == "float16") job.precision = DType::kFloat16;
  job.convolution_workspace_bytes = read_mib(root, "convolution_workspace_mb", 512);
}

}  // namespace

Job read_job(Config root) {
  Job job;
  job.text = root.dump();
  job.name = root.get_string("name");
  if (!is_plain_name(job.name)) {
    throw root.error_at("name",
                        fmt::format("'{}' cannot be the name of a run: it becomes a folder",
                                    printable(job.name.substr(0, 60))),
                        "use letters, digits, '-', '_', '.' and spaces, at most 200, and no '/' or control "
                        "characters; not '.' or '..'");
  }
  const int64_t seed = root.get_int("seed", 1);
  if (seed < 0)
    throw root.error_at("seed", fmt::format("must not be negative, found {}", seed), "for instance seed: 1");
  job.seed = static_cast<uint64_t>(seed);

  read_device(root, job);
  read_threads(root, job);

  job.model = std::make_shared<Config>(root.at("model"));
  read_data(root, job);
  read_batch(root, job);
  read_sync_guard(root, job);
  read_watchdog(root, job);
  if (const std::optional<Config> loss = root.find("loss")) {
    if (loss->is_list()) {
      const std::vector<Config> items = loss->items();
      if (items.empty())
        throw loss->error("the list is empty", "name a loss, for instance [{softmax_cross_entropy: {}}]");
      job.loss = read_loss(items[0]);
      for (size_t i = 1; i < items.size(); ++i) job.further_losses.push_back(read_loss(items[i]));
    } else {
      job.loss = read_loss(*loss);
    }
  }
  job.metrics = read_metrics(root.find("metrics"), job.losses());
  job.optimizer = read_optimizer(root.at("optimizer"));
  if (root.has("schedule")) job.schedule = read_schedule(root.at("schedule"));
  if (root.has("init")) job.init = read_init(root.at("init"));
  read_checkpoint(root, job);
  read_train(root, job);
  root.finish();
  return job;
}

Job make_job(const Value& description) {
  return read_job(Config::from_value(description, "the program's job"));
}

OpConfig Job::op_config(bool training) const {
  return {.device = device,
          .training = training,
          .compute = precision,
          .tf32 = tf32,
          .convolution_workspace_bytes = convolution_workspace_bytes};
}

std::vector<LossSpec> Job::losses() const {
  std::vector<LossSpec> all{loss};
  all.insert(all.end(), further_losses.begin(), further_losses.end());
  return all;
}

void check_thread_count(const Job& job) {
  const auto n_cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (job.device.kind != Device::Kind::kCpu || job.more_threads_than_cores || n_cores < 1 ||
      job.threads <= n_cores)
    return;
  throw Error(
      "threads",
      fmt::format("{} threads per rank are more than the {} core{} of this machine", job.threads, n_cores,
                  n_cores == 1 ? "" : "s"),
      fmt::format("set threads: {}; or, if it is meant, threads: {{count: {}, more_than_cores: true}}",
                  n_cores, job.threads));
}

void use_on_this_machine(Job& job) {
  const Job usual;
  const auto n_cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  job.threads = std::clamp(job.threads, 1, std::max(1, n_cores));
  job.data_threads = usual.data_threads;
  job.prefetch = usual.prefetch;
  job.prefetch_bytes = usual.prefetch_bytes;
  job.cache_bytes = usual.cache_bytes;
}

void check_rank_count(const Job& job, int size) {
  const int64_t v = job.n_micro();
  const std::string where = fmt::format("{} ranks", size);
  if (job.reduction == Reduction::kTree && !std::has_single_bit(static_cast<unsigned>(size))) {
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
                    v, job.global_batch, job.micro_batch),
        fmt::format("start {} ranks, or set batch.micro={} so that each rank has one", below,
                    std::max<int64_t>(1, job.global_batch / size)));
  }
}

}  // namespace lockstep
