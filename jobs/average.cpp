// lockstep average CHECKPOINT…: the mean of several checkpoints' weights as one checkpoint.
#include <fmt/format.h>

#include <algorithm>

#include "comm/agreement.h"
#include "io/files/files.h"
#include "jobs/command.h"
#include "jobs/saved_checkpoint.h"
#include "src/data/class_names.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/predict/renew_statistics.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

void check_same_network(const std::string& path, const TrainedModel& model, const TrainedModel& first) {
  const auto refuse = [&](const std::string& what) {
    throw Error(path, what, "average checkpoints of one network for the same data, such as those of one run");
  };
  const std::vector<Segment> own = model.arena->segments(), others = first.arena->segments();
  if (own.size() != others.size())
    refuse(fmt::format("has {} parameters and statistics, the first one {}", own.size(), others.size()));
  for (size_t i = 0; i < own.size(); ++i)
    if (own[i].name != others[i].name || !(own[i].shape == others[i].shape))
      refuse(fmt::format("has {} {} where the first one has {} {}", own[i].name, own[i].shape.str(),
                         others[i].name, others[i].shape.str()));
  if (model.contract.class_names != first.contract.class_names)
    refuse(fmt::format("has the classes {}, the first one {}", list_of_names(model.contract.class_names),
                       list_of_names(first.contract.class_names)));
  if (model.contract.normalization.mean != first.contract.normalization.mean ||
      model.contract.normalization.stddev != first.contract.normalization.stddev)
    refuse("was trained on inputs that were normalised otherwise");
}

int average_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "average CHECKPOINT… --out CHECKPOINT.h5 [--average] [--statistics DATA]",
      "Writes a checkpoint at step 0 whose weights are the mean of several checkpoints' (Izmailov et al.\n"
      "2018; Wortsman et al. 2022): evaluate it, predict with it, or train on with `train --resume FILE`.\n"
      "--statistics makes batch norm's running statistics anew for these weights; with --average also of "
      "one\n"
      "checkpoint, whose running averages become its weights.",
      {"CHECKPOINT…"});
  line.add()("out", po::value<std::string>(), "checkpoint to write (needed)")("overwrite",
                                                                              "replace the file --out")(
      "average", "of the running averages of the weights (the job's key average) in their place")(
      "statistics", po::value<std::string>(), "a dataset, such as the training data")(
      "samples", po::value<int64_t>()->default_value(10000), "of it that the statistics are made of");
  if (!line.parse(words, comm.is_root())) return 0;
  const Words checkpoints = line.texts("CHECKPOINT…");
  const std::string out = line.text("out");
  if (!line.has("out"))
    throw UsageError("--out CHECKPOINT.h5 is missing",
                     "name the checkpoint to write, for instance --out averaged.h5");
  const bool renews = line.has("statistics");
  const auto n_samples = line.get<int64_t>("samples");
  if (checkpoints.size() < 2 && !renews && !line.has("average"))
    throw UsageError("one checkpoint is its own average", "name two or more");
  if (n_samples < 1) throw UsageError("--samples is at least 1", "write for instance --samples 10000");
  check_on_root(comm, [&] { check_output_file(out, line.has("overwrite"), checkpoints); });

  TrainedModel model;
  bool has_statistics = false;
  const auto read = [&] {
    model = load_model(checkpoints.front(), line.has("average"));
    const int64_t n = model.arena->n_elements();
    const float* own = model.arena->host().as<float>();
    std::vector<double> sums(own, own + n);
    for (size_t i = 1; i < checkpoints.size(); ++i) {
      const TrainedModel other = load_model(checkpoints[i], line.has("average"));
      check_same_network(checkpoints[i], other, model);
      const float* values = other.arena->host().as<float>();
      for (int64_t e = 0; e < n; ++e) sums[static_cast<size_t>(e)] += double{values[e]};
    }
    float* to = model.arena->host().as<float>();
    for (int64_t e = 0; e < n; ++e)
      to[e] = static_cast<float>(sums[static_cast<size_t>(e)] / static_cast<double>(checkpoints.size()));
    model.arena->host().upload(*make_stream(model.job.device));
    for (const Segment& segment : model.arena->segments())
      has_statistics = has_statistics || segment.is_statistic();
  };
  check_on_root(comm, read);
  all_or_none(comm, [&] {
    if (!comm.is_root()) read();
  });
  int64_t n_seen = 0;
  const Job job = model.job;  // its batch becomes that of one process meanwhile
  check_on_root(comm, [&] {
    if (renews && !has_statistics)
      throw Error("--statistics", "the network has no batch normalisation", "leave it out");
    if (renews) n_seen = renew_statistics(model, line.text("statistics"), n_samples);
  });
  if (renews) {
    model.job = job;
    comm.broadcast(model.arena->host().as<float>(), model.arena->n_elements() * int64_t{sizeof(float)});
    model.arena->host().upload(*make_stream(job.device));
  }
  Optimizer optimizer(model.job.optimizer, *model.arena);
  save_as(comm, out, make_checkpoint_info(model.job, TrainState{}, model.contract, nullptr, 1),
          checkpoint_tensors(*model.arena, &optimizer, model.contract.normalization));
  if (comm.is_root()) {
    fmt::print("{}: the mean of {} checkpoint{}, {} parameters\n", out, checkpoints.size(),
               checkpoints.size() == 1 ? "" : "s", model.arena->n_parameters());
    if (renews) fmt::print("batch norm's statistics are those of {} samples with these weights\n", n_seen);
    if (has_statistics && !renews)
      fmt::print(
          "batch norm's running statistics are averaged too; they are not those of the averaged network: "
          "--statistics DATA makes them anew\n");
  }
  return 0;
}

const bool average_registered = commands().add(
    "average", {.summary = "average the weights of several checkpoints", .run = average_command}, 5);

}  // namespace

}  // namespace lockstep
