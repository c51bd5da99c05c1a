#include "src/run/train.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cmath>
#include <memory>

#include "comm/activity.h"
#include "comm/agreement.h"
#include "comm/nccl/shared_gpus.h"
#include "comm/watchdog/heartbeat.h"
#include "src/job/data.h"
#include "src/job/label_range.h"
#include "src/network/loss_place.h"
#include "src/report/report.h"
#include "src/run/data_identity.h"
#include "src/run/progress.h"
#include "src/run/run_checkpoints.h"
#include "src/run/run_folder.h"
#include "src/run/train_state.h"
#include "src/run/validation.h"
#include "src/step/batch_statistics.h"
#include "src/step/replica.h"

namespace lockstep {

namespace {

/// Opens the data and builds the graph: on rank 0 first, so that a mistake in the job is one
/// message, then everywhere.
struct Setup {
  JobData data;
  Graph graph;
  std::shared_ptr<const Augmentation> augmentation;
  DataIdentity identity;
  std::string surplus_classes;  // rank 0: a warning, or ""

  Setup(const Job& job, Communicator& comm) {
    const auto build = [&] {
      data = open_data(job);
      graph = build_graph(job, data.contract);
      const Shape output = graph.vertex(loss_vertex(graph, job.loss)).shape;
      job.metrics.check(output);
      augmentation =
          make_augmentation(job, *data.train, data.train_fields, graph, data.contract.normalization);
      check_batch_statistics(graph, job, data.train->n_samples());
      loader_options(job, 0, 1);
      if (data.contract.n_classes == 0 && job.loss.is_classification())
        data.contract.n_classes = job.loss.n_classes(output);
    };
    check_on_root(comm, [&] {
      check_rank_count(job, comm.size());
      check_thread_count(job);
      build();
    });
    all_or_none(comm, [&] {
      if (!comm.is_root()) build();
    });
    const Work work("comparing the data with its checksums");
    all_or_none(comm, [&] { verify_data(job, data, comm.rank(), comm.size()); });
    check_on_root(comm, [&] {
      identity = identify(job, data);
      surplus_classes = lockstep::surplus_classes(job, data, graph);
    });
    for (std::string* text : {&identity.train, &identity.validation, &identity.measure})
      *text = comm.broadcast_string(*text);
  }

  LoaderOptions loader_options(const Job& job, int rank, int size) const {
    return make_loader_options(job, *data.train, data.train_fields, graph, true, data.contract.normalization,
                               rank, size, augmentation.get());
  }
};

/// What the next line of metrics needs beside the sums of TrainState: of this process only.
struct Interval {
  int64_t n_samples = 0;
  double start_s = 0;
  StepTimes times;
};

/// Collective. A sentence where several ranks compute on one GPU; "" where none do.
std::string gpus_shared_by_ranks(Communicator& comm, Device device) {
  const SharedGpus gpus = shared_gpus(comm, device);
  if (gpus.n_shared == 0) return "";
  return fmt::format(
      "{} of {} GPUs are shared by several ranks, which take turns on them: start one rank per GPU",
      gpus.n_shared, gpus.n_gpus);
}

/// One run: the parts, and what happens beside the steps.
class Trainer {
 public:
  Trainer(const Job& job, Communicator& comm, const TrainOptions& options)
      : job_(job),
        comm_(comm),
        folder_(comm, options.out.empty() ? "runs/" + job.name : options.out,
                {options.resume, options.overwrite, options.job_file}),
        setup_(job, comm),
        replica_(job, setup_.graph, comm,
                 {.augmentation = setup_.augmentation, .communication_plan = folder_.communication_plan()}),
        steps_per_epoch_((setup_.data.train->n_samples() + job.global_batch - 1) / job.global_batch),
        total_steps_(job.steps > 0 ? job.steps : job.epochs * steps_per_epoch_),
        checkpoints_(job, folder_, replica_, setup_.data.contract, steps_per_epoch_) {
    state_ = checkpoints_.resume(options.resume, setup_.identity);
    // A finished run may be given a longer life; one that stopped early stays stopped.
    state_.finished =
        state_.finished && (state_.step >= total_steps_ || out_of_patience() || epoch_without_mistakes());
    guard();
    if (setup_.data.validation) {
      validator_ = std::make_unique<Validator>(job, replica_.graph(), replica_.arena(),
                                               *setup_.data.validation, setup_.data.validation_fields,
                                               setup_.data.contract.normalization, comm);
    }
  }

  TrainResult run(Heartbeat& heartbeat);
  /// Collective. After an error that all ranks know of: waits for the checkpoint under way.
  void end_saving() { checkpoints_.wait(); }
  /// After an error that this rank alone knows of. One rank by itself saves the state; of several the others
  /// do.
  void fail_alone() {
    folder_.leave_as_it_is();
    if (comm_.size() == 1 && state_.step > 0 && !checkpoints_.has(state_.step)) {
      end_saving();
      spdlog::error("{}", checkpoints_.emergency().save());
    }
  }

 private:
  /// Collective. One update, and the state after it. Throws AgreedError where the numbers are no longer
  /// finite.
  StepResult one_step(DataLoader& loader, double since_save_s);
  /// Collective. After a step that has changed nothing.
  void save_before_error();
  void write_start();
  void log_interval(const StepResult& result, Interval& interval, Progress& progress);
  bool validate(Progress& progress);  // true: the run is to stop early
  void set_metrics(JsonObject& line, const std::vector<double>& values) const;
  void add_metrics(std::vector<EventScalar>& scalars, const char* of,
                   const std::vector<double>& values) const;
  /// "  accuracy 97.13 %  top_5 99.80 %"
  std::string text_of(const std::vector<double>& values) const;
  bool improves_early_stopping(double value);
  /// Collective. Stops the run, or mends it, where the weights of ranks differ.
  void guard();
  /// Whether an epoch ends here in which the job's wish came true: each sample was right in its turn.
  bool epoch_without_mistakes() const {
    return job_.stop_without_mistakes && state_.step % steps_per_epoch_ == 0 && !state_.mistakes;
  }
  bool out_of_patience() const {
    return job_.early_stopping_patience > 0 &&
           state_.validations_without_improvement >= job_.early_stopping_patience;
  }

  const Job& job_;
  Communicator& comm_;
  RunFolder folder_;
  Setup setup_;
  Replica replica_;
  const int64_t steps_per_epoch_, total_steps_;
  std::unique_ptr<Validator> validator_;
  TrainState state_;
  int64_t guarded_step_ = -1;
  // Last, so that its thread ends before what it uses.
  RunCheckpoints checkpoints_;
};

void Trainer::write_start() {
  JsonObject line;
  line.set("kind", "start")
      .set("name", job_.name)
      .set("version", LOCKSTEP_VERSION)
      .set("parameters", replica_.arena().n_parameters());
  line.set("ranks", comm_.size()).set("threads", job_.threads).set("device", job_.device.str());
  line.set("device_name", device_name(job_.device));
  if (comm_.size() > 1) line.set("gradients", replica_.reducer().way());
  if (replica_.optimizer().is_sharded()) line.set("optimizer_bytes", replica_.optimizer().state_bytes());
  line.set("global_batch", job_.global_batch).set("micro_batch", job_.micro_batch);
  line.set("train_samples", setup_.data.train->n_samples());
  if (setup_.data.validation) line.set("validation_samples", setup_.data.validation->n_samples());
  line.set("step", state_.step).set("steps", total_steps_);
  for (const Version& version : checkpoints_.versions())
    line.set(kComputedWith + version.name, version.value);
  folder_.write(line);
}

void Trainer::log_interval(const StepResult& result, Interval& interval, Progress& progress) {
  const double now_s = progress.elapsed_s(), span_s = now_s - interval.start_s;
  const auto n = static_cast<double>(state_.interval_samples);
  const double loss = state_.interval_loss / n;
  std::vector<double> metrics;
  for (int64_t i = 0; i < job_.metrics.size(); ++i)
    metrics.push_back(job_.metrics.value(i, state_.interval_metrics[i] / n));
  const double rate = static_cast<double>(interval.n_samples) / span_s;
  const StepTimes times = replica_.times();
  const double gradient_norm = replica_.gradient_norm();
  JsonObject line;
  line.set("kind", "train").set("step", state_.step);
  line.set("epoch", static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_));
  line.set("loss", loss);
  set_metrics(line, metrics);
  line.set("lr", result.lr).set("samples_per_s", rate).set("grad_norm", gradient_norm).set("time_s", now_s);
  if (job_.precision == DType::kFloat16) line.set("loss_scale", replica_.loss_scale().now);
  line.set("data_wait_s", times.data_wait - interval.times.data_wait);
  line.set("communication_s", times.communication - interval.times.communication);
  folder_.write(line);
  std::vector<EventScalar> scalars{{"train/loss", static_cast<float>(loss)},
                                   {"lr", static_cast<float>(result.lr)},
                                   {"samples_per_s", static_cast<float>(rate)}};
  add_metrics(scalars, "train/", metrics);
  folder_.write_scalars(state_.step, scalars);
  progress.show(state_.step, loss, text_of(metrics), result.lr, rate);
  state_.interval_loss = 0;
  state_.interval_metrics = {};
  state_.interval_samples = 0;
  interval = Interval{};
  interval.start_s = progress.elapsed_s();
  interval.times = times;
}

bool Trainer::validate(Progress& progress) {
  const Work work("validation");
  replica_.settle_weights();
  const ValidationResult result = validator_->run();
  const double value = validator_->value(result, job_.best);
  // Numbers over values that are not finite are no measure: they are told, and compared with nothing.
  const bool is_measure = result.not_finite.empty();
  const bool improved = is_measure && (state_.best_step < 0 || job_.best.is_better(value, state_.best_value));
  if (!is_measure) folder_.warn(state_.step, "validation: " + result.not_finite);
  if (improved) {
    state_.best_step = state_.step;
    state_.best_value = value;
    folder_.write_confusion(result, setup_.data.contract.class_names, state_.step);
  }
  if (is_measure) {
    const bool goes_on = job_.early_stopping.name == job_.best.name
                             ? improved
                             : improves_early_stopping(validator_->value(result, job_.early_stopping));
    state_.validations_without_improvement = goes_on ? 0 : state_.validations_without_improvement + 1;
  }

  JsonObject line;
  line.set("kind", "validation").set("step", state_.step);
  line.set("epoch", static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_))
      .set("loss", result.loss);
  set_metrics(line, result.metrics);
  folder_.write(line);
  std::vector<EventScalar> scalars{{"validation/loss", static_cast<float>(result.loss)}};
  add_metrics(scalars, "validation/", result.metrics);
  folder_.write_scalars(state_.step, scalars);
  progress.note(fmt::format("validation after step {}: loss {:.4f}{}{}", state_.step, result.loss,
                            text_of(result.metrics), improved ? "  (best)" : ""));
  return out_of_patience();
}

void Trainer::set_metrics(JsonObject& line, const std::vector<double>& values) const {
  for (size_t i = 0; i < values.size(); ++i) line.set(job_.metrics.all()[i].name, values[i]);
}

void Trainer::add_metrics(std::vector<EventScalar>& scalars, const char* of,
                          const std::vector<double>& values) const {
  for (size_t i = 0; i < values.size(); ++i)
    scalars.push_back({of + job_.metrics.all()[i].name, static_cast<float>(values[i])});
}

std::string Trainer::text_of(const std::vector<double>& values) const {
  std::string text;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto& [name, metric] = job_.metrics.all()[i];
    text += fmt::format("  {} {}", name, measure_text(values[i], metric->is_share()));
  }
  return text;
}

bool Trainer::improves_early_stopping(double value) {
  std::optional<double>& best = state_.early_stopping_value;
  if (best && !job_.early_stopping.is_better(value, *best)) return false;
  best = value;
  return true;
}

void Trainer::guard() {
  if (comm_.size() == 1 || guarded_step_ == state_.step) return;
  guarded_step_ = state_.step;
  const Work work("comparing weights");
  const SyncVerdict verdict = replica_.compare_weights();
  if (verdict.tensors.empty()) return;
  if (!job_.sync_guard.restores || verdict.good_rank < 0) {
    throw AgreedError(
        fmt::format("step {}", state_.step), verdict.str(),
        fmt::format(
            "all ranks need the same program, libraries and hardware model, and memory without faults; "
            "{}resume from the last checkpoint in {}",
            verdict.good_rank >= 0
                ? "sync_guard: {on_difference: restore} goes on with what most ranks hold; "
                : "",
            folder_.checkpoints()));
  }
  checkpoints_.emergency().state_changes();
  replica_.restore_from(verdict.good_rank);
  checkpoints_.emergency().state_is_whole(state_);
  folder_.warn(state_.step, fmt::format("{}: restored from rank {}", verdict.str(), verdict.good_rank));
}

void Trainer::save_before_error() {
  // What rounding took from the gradients has changed already.
  if (state_.step > 0 && replica_.residuals().empty()) checkpoints_.save(state_);
  checkpoints_.wait();
}

StepResult Trainer::one_step(DataLoader& loader, double since_save_s) {
  const bool clock_says_save =
      job_.checkpoint_every_minutes > 0 && since_save_s > 60 * job_.checkpoint_every_minutes;
  StepResult step =
      replica_.step(loader, state_.step, setup_.data.train->n_samples(), total_steps_, clock_says_save);
  if (!step.not_finite.empty()) {
    save_before_error();
    const size_t checkpoints = list_checkpoints(folder_.checkpoints()).size();
    folder_.write(JsonObject().set("kind", "end").set("step", state_.step).set("status", "not_finite"));
    if (comm_.is_root()) {
      try {
        write_report(folder_.path());
      } catch (const std::exception&) {  // the loss is what there is to say
      }
    }
    throw AgreedError(
        fmt::format("step {}", state_.step + 1), "the loss is not finite: " + step.not_finite,
        fmt::format("lower the learning rate, or check the data (input: field '{}', target: field '{}'); {}",
                    setup_.data.train_fields.input, setup_.data.train_fields.target,
                    checkpoints == 0 ? "no checkpoint was saved yet"
                                     : "the last good checkpoint is in " + folder_.checkpoints()));
  }
  const bool epoch_begins = state_.step % steps_per_epoch_ == 0;
  state_.mistakes = (!epoch_begins && state_.mistakes) || step.accuracy < 1;
  ++state_.step;
  state_.follow_up = true;
  const auto n = static_cast<double>(step.n_samples);
  state_.interval_loss += step.loss * n;
  for (int64_t i = 0; i < job_.metrics.size(); ++i) state_.interval_metrics[i] += step.metrics[i] * n;
  state_.interval_samples += step.n_samples;
  checkpoints_.emergency().state_is_whole(state_);
  tell_step(state_.step);
  checkpoints_.poll();
  if (step.overflowed && replica_.loss_scale().next <= LossScale::kSmallest) {
    checkpoints_.wait();
    throw AgreedError(fmt::format("step {}", state_.step),
                      "the float16 gradients overflow even without a loss scale",
                      fmt::format("use precision: bfloat16, or lower the learning rate; the last good "
                                  "checkpoint is in {}",
                                  folder_.checkpoints()));
  }
  return step;
}

TrainResult Trainer::run(Heartbeat& heartbeat) {
  const Work work("a training step");
  const int64_t n_samples = setup_.data.train->n_samples();
  const int64_t log_every =
      job_.log_every_steps > 0 ? job_.log_every_steps : std::max<int64_t>(1, steps_per_epoch_ / 10);
  LoaderOptions loading = setup_.loader_options(job_, comm_.rank(), comm_.size());
  loading.ranks = &comm_;
  DataLoader loader(*setup_.data.train, loading, state_.step);
  Progress progress(comm_.is_root(), launcher_size() > 1, state_.step, total_steps_, steps_per_epoch_);
  TrainResult result;
  checkpoints_.begin(state_);
  write_start();
  progress.note(fmt::format("{}: {} parameters, {} training samples, global batch {}, {} rank{}, {}{}",
                            job_.name, grouped(static_cast<double>(replica_.arena().n_parameters())),
                            grouped(static_cast<double>(n_samples)), job_.global_batch, comm_.size(),
                            comm_.size() > 1 ? "s" : "", job_.device.str(),
                            state_.step > 0 ? fmt::format(", resumed at step {}", state_.step) : ""));

  if (!setup_.surplus_classes.empty()) folder_.warn(state_.step, setup_.surplus_classes);
  if (job_.precision == DType::kBFloat16 && job_.device.kind == Device::Kind::kCpu && !cpu_has_bfloat16()) {
    progress.note(
        "this CPU does not multiply bfloat16: values are kept in bfloat16 and products computed in float32, "
        "which is "
        "slower than precision: float32");
  }
  if (job_.device.kind == Device::Kind::kCuda && comm_.size() > 1)
    progress.note("gradients: " + replica_.reducer().way());
  if (const std::string shared = gpus_shared_by_ranks(comm_, job_.device); !shared.empty()) {
    folder_.warn(state_.step, shared);
    progress.note(shared);
  }
  tell_step(state_.step);
  heartbeat.set_rescue([this] { return checkpoints_.emergency().save(); });
  Interval interval;
  double last_save_s = 0;
  checkpoints_.emergency().state_is_whole(state_);
  // An emergency checkpoint may have been made after a step and before what follows it.
  while (state_.follow_up || (state_.step < total_steps_ && !state_.finished)) {
    StepResult step;
    step.lr = job_.optimizer.lr *
              job_.schedule.factor(std::max<int64_t>(state_.step - 1, 0), total_steps_, steps_per_epoch_);
    if (!state_.follow_up) {
      step = one_step(loader, progress.elapsed_s() - last_save_s);
      interval.n_samples += step.n_samples;
    }
    const bool epoch_ends = state_.step % steps_per_epoch_ == 0, run_ends = state_.step == total_steps_;
    if (job_.sync_guard.every_steps > 0 && state_.step % job_.sync_guard.every_steps == 0) guard();
    if (state_.interval_samples > 0 && (state_.step % log_every == 0 || epoch_ends || run_ends))
      log_interval(step, interval, progress);

    const int64_t epoch = state_.step / steps_per_epoch_;
    bool stops_early = epoch_without_mistakes();
    if (validator_ && (run_ends || (epoch_ends && epoch % job_.validate_every_epochs == 0))) {
      stops_early = validate(progress) || stops_early;
      interval.start_s = progress.elapsed_s();
    }
    state_.finished = run_ends || stops_early;
    state_.follow_up = false;
    checkpoints_.emergency().state_is_whole(state_);
    const bool epoch_save =
        epoch_ends && job_.checkpoint_every_epochs > 0 && epoch % job_.checkpoint_every_epochs == 0;
    const bool step_save = job_.checkpoint_every_steps > 0 && state_.step % job_.checkpoint_every_steps == 0;
    const bool is_best = state_.best_step == state_.step;
    if (epoch_save || step_save || step.flagged || state_.finished || step.stop_requested || is_best) {
      if (!checkpoints_.has(state_.step)) guard();
      checkpoints_.save(state_);
      last_save_s = interval.start_s = progress.elapsed_s();
    }
    checkpoints_.save_locally(state_);
    if (step.stop_requested && !state_.finished) {
      result.status = TrainResult::Status::kStopped;
      break;
    }
    if (stops_early) result.status = TrainResult::Status::kEarlyStopped;
  }

  const std::string not_saved = checkpoints_.end(state_);
  result.step = state_.step;
  result.best_step = state_.best_step;
  result.best_value = state_.best_value;
  result.run_folder = folder_.path();
  static const char* const kStatus[] = {"finished", "early_stopped", "stopped"};
  JsonObject line;
  line.set("kind", "end").set("step", state_.step).set("status", kStatus[static_cast<int>(result.status)]);
  line.set("time_s", progress.elapsed_s())
      .set("total_data_wait_s", loader.wait_s())
      .set("prefetch", loader.prefetch());
  if (state_.best_step >= 0) {
    line.set("best_" + job_.best.name, state_.best_value).set("best_step", state_.best_step);
  }
  if (!not_saved.empty()) line.set("not_saved", not_saved);
  folder_.write(line);
  if (!not_saved.empty()) {
    throw AgreedError(fmt::format("step {}", state_.step),
                      "training has ended, but its last state is not on the disk: " + not_saved,
                      fmt::format("free space and go on from the last checkpoint in {} with --resume auto",
                                  folder_.checkpoints()));
  }
  return result;
}

}  // namespace

TrainResult train(const Job& job, Communicator& comm, const TrainOptions& options) {
  set_compute_threads(job.threads);
  Heartbeat heartbeat(comm, {job.watchdog.silent_s, job.watchdog.stuck_s});
  try {
    Trainer trainer(job, comm, options);
    try {
      const TrainResult result = trainer.run(heartbeat);
      heartbeat.stop();
      return result;
    } catch (const AgreedError&) {
      trainer.end_saving();
      heartbeat.stop();
      throw;
    } catch (...) {
      trainer.fail_alone();
      tell_others_of_failure();  // who save the state; also this rank's memory is still there
      throw;
    }
  } catch (const AgreedError&) {
    heartbeat.stop();
    throw;
  }
}

}  // namespace lockstep
