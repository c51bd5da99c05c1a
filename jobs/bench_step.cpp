// lockstep bench step JOB.yaml: where the time of a training step goes, and how far the
// arithmetic is from the limit measured in the same run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "comm/agreement.h"
#include "io/dataset/synthetic.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/job_file.h"
#include "jobs/peak_memory.h"
#include "jobs/step_profile.h"
#include "jobs/timing.h"
#include "kernels/affine.h"
#include "kernels/random.h"
#include "src/data/data.h"
#include "src/network/loss_place.h"
#include "src/run/progress.h"
#include "src/step/replica.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// Random numbers in [0.5, 1) of that type.
std::vector<std::byte> random_numbers(int64_t n, DType dtype) {
  std::vector<std::byte> bytes(static_cast<size_t>(n * size_of(dtype)));
  const RandomStream random(1, RandomPurpose::kSynthetic, 0, 0);
  for (int64_t i = 0; i < n; ++i) {
    if (dtype == DType::kFloat32) {
      reinterpret_cast<uint32_t*>(bytes.data())[i] = 0x3F000000u | random.bits(i) >> 9;
    } else {
      const uint32_t exponent = dtype == DType::kBFloat16 ? 0x3F00 : 0x3800;
      const int shift = dtype == DType::kBFloat16 ? 25 : 22;
      reinterpret_cast<uint16_t*>(bytes.data())[i] =
          static_cast<uint16_t>(exponent | random.bits(i) >> shift);
    }
  }
  return bytes;
}

/// FLOP/s of this rank in the job's precision: a product of square matrices, the best of several.
double measure_peak(const Job& job) {
  const bool is_gpu = job.device.kind == Device::Kind::kCuda;
  const int64_t n = is_gpu ? 8192 : 1024;
  OpConfig config;
  config.device = job.device;
  config.compute = is_gpu ? job.precision : DType::kFloat32;
  config.tf32 = job.tf32;
  config.training = false;
  AffineDesc desc;
  desc.src = {{n, n}, config.compute, nullptr};
  desc.out_features = n;
  desc.has_bias = false;
  const std::unique_ptr<Op> op = make_affine(config, desc);
  const std::unique_ptr<Stream> stream = make_stream(job.device);
  Memory src(job.device, n * n * 4), weights(job.device, n * n * 4), dst(job.device, n * n * 4),
      scratchpad(job.device, op->info().scratchpad_bytes + 64);
  const std::vector<std::byte> src_bytes = random_numbers(n * n, config.compute),
                               weight_bytes = random_numbers(n * n, DType::kFloat32);
  copy(*stream, src.data(), src_bytes.data(), static_cast<int64_t>(src_bytes.size()));
  copy(*stream, weights.data(), weight_bytes.data(), static_cast<int64_t>(weight_bytes.size()));
  const Tensor src_t{src.data(), op->info().src[0]}, dst_t{dst.data(), op->info().dst[0]};
  const Tensor weights_t{weights.data(), {{n, n}, DType::kFloat32, nullptr}};
  op->prepare(*stream, {&weights_t, 1});
  OpArgs args;
  args.src = {&src_t, 1};
  args.dst = {&dst_t, 1};
  args.params = {&weights_t, 1};
  args.scratchpad = scratchpad.data();
  double best_s = 1e30;
  stream->synchronize();
  for (int i = 0; i < 10; ++i) {
    const double start = seconds();
    op->forward(*stream, args);
    stream->synchronize();
    best_s = std::min(best_s, seconds() - start);
  }
  return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / best_s;
}

/// Forward, and backward for weights and inputs; the first layers with weights need no
/// gradient of their input, and a frozen trunk none at all.
double flops_per_sample(const Graph& graph) {
  double flops = 0;
  std::vector<bool> wants_gradient(graph.size(), false);
  const std::vector<bool> is_trunk = graph.trunk();
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (!vertex.layer) continue;
    bool src_wants = false;
    for (int i : vertex.inputs) src_wants = src_wants || wants_gradient[i];
    wants_gradient[v] =
        src_wants || (!is_trunk[v] && !vertex.layer->parameters(graph.input_shapes(v)).empty());
    flops += (src_wants           ? 6.0
              : wants_gradient[v] ? 4.0
                                  : 2.0) *
             static_cast<double>(vertex.layer->multiply_adds(graph.input_shapes(v)));
  }
  return flops;
}

/// The job's data, or random data in a temporary folder of this rank.
struct BenchData {
  JobData data;
  Graph graph;
  std::vector<Graph> shorter;  // of sequences of unequal lengths
  std::filesystem::path temporary;

  explicit BenchData(Job& job, int rank) {
    job.validation.reset();  // not a part of the step
    if (job.train && std::filesystem::exists(job.train->path)) {
      data = open_data(job);
      graph = build_graph(job, data.contract);
      const LoaderOptions loading = make_loader_options(job, *data.train, data.train_fields, graph, true,
                                                        data.contract.normalization, 0, 1);
      shorter = sequence_graphs(job, data.contract, graph, *data.train, loading);
      if (!shorter.empty()) graph = std::move(shorter.back()), shorter.pop_back();
      return;
    }
    graph = build_graph(job, {});
    if (!job.further_losses.empty())
      throw Error("bench step", "random data is made for one loss only", "name data in the job file");
    const Shape output = graph.vertex(loss_vertex(graph, job.loss)).shape;
    temporary = std::filesystem::temp_directory_path() / fmt::format("lockstep-bench-{}-{}", getpid(), rank);
    std::filesystem::create_directories(temporary);
    std::vector<SyntheticField> fields;
    int64_t n_elements = 0;
    job.train = DataSource{temporary, "", "target", {}};
    for (const int v : graph.inputs()) {
      const Vertex& input = graph.vertex(v);
      fields.push_back({input.name, input.shape, input.n_ids});
      n_elements += input.shape.n_elements();
      job.train->inputs[input.name] = input.name;
    }
    if (fields.size() == 1) {
      fields[0].name = job.train->input = "input";
      job.train->inputs.clear();
    }
    const int64_t n_samples = std::clamp<int64_t>(int64_t{256} << 20 / (4 * n_elements), job.global_batch * 2,
                                                  job.global_batch * 8);
    fields.push_back({"target", job.loss.target_shape(output), job.loss.n_classes(output)});
    write_synthetic_dataset(temporary / "shard-00000.h5", fields, n_samples, job.seed);
    job.normalize = Job::Normalize::kNone;
    data = open_data(job);
  }
  ~BenchData() {
    std::error_code error;
    if (!temporary.empty()) std::filesystem::remove_all(temporary, error);
  }
};

/// The median of several comparisons, each begun by all ranks at once.
double measure_guard(Replica& replica, Communicator& comm) {
  std::vector<double> times(5);
  for (double& time : times) {
    comm.barrier();
    const double start = seconds();
    replica.compare_weights();
    time = seconds() - start;
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

struct Result {
  double step_s = 0, step_min_s = 0, peak = 0;
  StepTimes times;     // mean per step
  double guard_s = 0;  // one comparison of the weights over the ranks; 0: there is none
  double memory_mb = 0;
  std::string profile;  // empty: not asked for
};

double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

void print_result(const Job& job, const Result& r, int ranks, double flops, bool json) {
  const double samples_per_s = static_cast<double>(job.global_batch) / r.step_s;
  const double reached = samples_per_s * flops / ranks;
  const double rest = r.step_s - r.times.data_wait - r.times.forward - r.times.backward -
                      r.times.communication - r.times.update;
  if (json) {
    JsonObject o;
    o.set("job", job.name)
        .set("ranks", ranks)
        .set("threads", job.threads)
        .set("global_batch", job.global_batch);
    o.set("micro_batch", job.micro_batch)
        .set("step_ms", 1e3 * r.step_s)
        .set("step_min_ms", 1e3 * r.step_min_s);
    o.set("data_wait_ms", 1e3 * r.times.data_wait)
        .set("forward_ms", 1e3 * r.times.forward)
        .set("backward_ms", 1e3 * r.times.backward);
    o.set("communication_ms", 1e3 * r.times.communication)
        .set("update_ms", 1e3 * r.times.update)
        .set("other_ms", 1e3 * rest);
    o.set("samples_per_s", samples_per_s)
        .set("flops_per_sample", flops)
        .set("gflops_per_rank", reached * 1e-9);
    o.set("peak_gflops_per_rank", r.peak * 1e-9)
        .set("share_of_peak", reached / r.peak)
        .set("sync_guard_ms", 1e3 * r.guard_s)
        .set("memory_mb", r.memory_mb);
    if (!r.profile.empty()) o.set_raw("profile", r.profile);
    fmt::print("{}\n", o.str());
    return;
  }
  fmt::print("{}: {} rank{} of {} thread{}, global batch {}, micro-batch {}\n\n", job.name, ranks,
             ranks > 1 ? "s" : "", job.threads, job.threads > 1 ? "s" : "", job.global_batch,
             job.micro_batch);
  const auto row = [&](const char* name, double s) {
    fmt::print("  {:28} {:10.3f} ms {:6.1f} %\n", name, 1e3 * s, share(s, r.step_s));
  };
  row("data wait", r.times.data_wait);
  row("forward", r.times.forward);
  row("backward", r.times.backward);
  row("communication not hidden", r.times.communication);
  row("update", r.times.update);
  row("other", rest);
  row("step (median)", r.step_s);
  fmt::print(
      "\n  {} samples/s, {:.1f} GFLOP/s per rank = {:.1f} % of the {:.1f} GFLOP/s measured for a 1024 matrix "
      "product\n",
      grouped(samples_per_s), reached * 1e-9, share(reached, r.peak), r.peak * 1e-9);
  if (r.guard_s > 0) {
    const double steps_s = static_cast<double>(job.sync_guard.every_steps) * r.step_s;
    fmt::print("  sync guard: {:.3f} ms every {} steps = {:.4f} %\n", 1e3 * r.guard_s,
               job.sync_guard.every_steps, share(r.guard_s, steps_s));
  }
  fmt::print("  {:.0f} MB of memory on rank 0 for data, model and training\n", r.memory_mb);
  if (!r.profile.empty()) fmt::print("\n{}", r.profile);
}

}  // namespace

static int bench_step_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "bench step JOB.yaml [--steps N] [--profile] [--set KEY=VALUE …] [--json]",
      "Times training steps: data wait, forward, backward, communication that backward does not\n"
      "hide, update. Uses the job's data where it is there, else random data.",
      {"JOB.yaml"});
  line.add()("steps", po::value<int64_t>()->default_value(50), "timed steps")(
      "profile", "the time of every step of the plan too, on rank 0")(
      "set", po::value<Words>()->composing(), "KEY=VALUE: change a key of the job file")(
      "json", "print one JSON object");
  if (!line.parse(words, comm.is_root())) return 0;
  const int64_t n_steps = line.get<int64_t>("steps");
  if (n_steps < 1)
    throw UsageError(fmt::format("--steps must be at least 1, found {}", n_steps),
                     "write for instance --steps 50");

  Job job = read_job_on_all_ranks(comm, line.get<std::string>("JOB.yaml"),
                                  line.has("set") ? line.get<Words>("set") : Words{});
  check_on_root(comm, [&] {
    check_rank_count(job, comm.size());
    check_thread_count(job);
  });
  set_compute_threads(job.threads);
  std::unique_ptr<BenchData> bench;
  all_or_none(comm, [&] {
    bench = std::make_unique<BenchData>(job, comm.rank());
    check_groups(job.optimizer.groups, bench->graph);
    freeze_groups(job.optimizer.groups, bench->graph);
    for (Graph& shorter : bench->shorter) freeze_groups(job.optimizer.groups, shorter);
  });
  const PeakMemory memory;
  const int64_t free_before = free_bytes(job.device);
  const std::shared_ptr<const Augmentation> augmentation = make_augmentation(
      job, *bench->data.train, bench->data.train_fields, bench->graph, bench->data.contract.normalization);
  Replica replica(
      job, bench->graph, comm,
      ReplicaOptions{
          .times_steps = line.has("profile"), .augmentation = augmentation, .shorter = bench->shorter});
  LoaderOptions loading =
      make_loader_options(job, *bench->data.train, bench->data.train_fields, bench->graph, true,
                          bench->data.contract.normalization, comm.rank(), comm.size(), augmentation.get());
  loading.ranks = &comm;
  DataLoader loader(*bench->data.train, loading, 0);

  Result result;
  result.peak = measure_peak(job);
  const int64_t n_warm = std::max<int64_t>(3, n_steps / 5);
  int64_t step = 0;
  // Full steps only: the short last step of an epoch would flatter the median.
  const auto run = [&] {
    for (;;) {
      const int64_t in_epoch = step % loader.steps_per_epoch();
      const bool is_full = in_epoch == 0 || loader.samples_in_step(in_epoch) == job.global_batch;
      replica.step(loader, step++, 1 << 30);
      if (is_full) return;
    }
  };
  for (int64_t i = 0; i < n_warm; ++i) run();
  comm.barrier();
  const StepTimes before = replica.times();
  const std::vector<PlanStepTimes> profile_before = replica.step_times();
  std::vector<double> times;
  const int64_t first_step = step;
  for (int64_t i = 0; i < n_steps; ++i) {
    const double start = seconds();
    const int64_t step_before = step;
    run();
    times.push_back((seconds() - start) / static_cast<double>(step - step_before));
  }
  const StepTimes after = replica.times();
  const std::vector<PlanStepTimes> profile_after = replica.step_times();
  std::sort(times.begin(), times.end());
  result.step_s = times[times.size() / 2];
  result.step_min_s = times[0];
  const double n = static_cast<double>(step - first_step);
  result.times = {(after.data_wait - before.data_wait) / n, (after.forward - before.forward) / n,
                  (after.backward - before.backward) / n, (after.communication - before.communication) / n,
                  (after.update - before.update) / n};
  result.memory_mb = job.device.kind == Device::Kind::kCuda
                         ? static_cast<double>(free_before - free_bytes(job.device)) / (1 << 20)
                         : memory.mb();
  if (comm.size() > 1 && job.sync_guard.every_steps > 0) result.guard_s = measure_guard(replica, comm);
  if (line.has("profile")) {
    result.profile = line.has("json") ? profile_json(profile_before, profile_after, n)
                                      : profile_table(profile_before, profile_after, n, result.step_s);
  }
  if (comm.is_root())
    print_result(job, result, comm.size(), flops_per_sample(bench->graph), line.has("json"));
  return 0;
}

namespace {
const bool bench_step_registered = commands().add(
    "bench step", {.summary = "time the parts of a training step", .run = bench_step_command}, 13);
}

}  // namespace lockstep
