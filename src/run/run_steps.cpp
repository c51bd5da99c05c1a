// The life of a run: steps, and what follows them.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint.h"
#include "src/report/report.h"
#include "src/run/run_impl.h"

namespace lockstep {

namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

void Run::Impl::read_time_limit() {
  int64_t end_s = 0;
  check_on_root(comm_, [&] {
    end_s = end_time_of(std::getenv("LOCKSTEP_END_TIME"), std::getenv("SLURM_JOB_END_TIME"));
    if (end_s > 0 && static_cast<double>(end_s) <= seconds_since_1970()) {
      // What an older allocation left in the environment, or a job that was given more time.
      folder_.warn(state_.step, "the end time in the environment has passed; the run does without it");
      end_s = 0;
    }
  });
  time_limit_.end_s = static_cast<double>(comm_.all_reduce_max(end_s));
  time_limit_.checkpoint_s =
      guessed_checkpoint_s(4 * replica_.arena().n_elements() + replica_.optimizer().state_bytes());
}

void Run::Impl::watch_time_limit() {
  // Rank 0 alone: it tells why the run ended, and clocks may differ.
  if (time_limit_.end_s == 0 || time_is_up_ || !comm_.is_root()) return;
  const double now_s = seconds_since_1970();
  time_limit_.step_begins(now_s);
  if (checkpoints_.longest_save_s() > 0) time_limit_.checkpoint_s = checkpoints_.longest_save_s();
  if (!time_limit_.is_near(now_s)) return;
  time_is_up_ = true;
  note(time_is_up_text(time_limit_, now_s));
  ask_for_stop();  // the step tells the other ranks
}

const StepResult& Run::Impl::step() {
  last_ = StepResult();
  last_.lr = job_.optimizer.lr *
             job_.schedule.factor(std::max<int64_t>(state_.step - 1, 0), total_steps_, steps_per_epoch_) *
             state_.plateau.rate_factor;
  // An emergency checkpoint may have been made after a step and before what follows it.
  if (state_.follow_up) return last_;

  watch_time_limit();
  const double since_save_s = progress_->elapsed_s() - last_save_s_;
  const bool clock_says_save =
      job_.checkpoint_every_minutes > 0 && since_save_s > 60 * job_.checkpoint_every_minutes;
  replica_.set_rate_factor(state_.plateau.rate_factor);
  last_ = replica_.step(*loader_, state_.step, total_steps_, clock_says_save);
  if (!last_.not_finite.empty()) fail_not_finite(last_.not_finite);
  const bool epoch_begins = state_.step % steps_per_epoch_ == 0;
  state_.mistakes = (!epoch_begins && state_.mistakes) || last_.accuracy < 1;
  ++state_.step;
  state_.follow_up = true;
  const auto n = static_cast<double>(last_.n_samples);
  state_.interval_loss += last_.loss * n;
  for (int64_t i = 0; i < job_.metrics.size(); ++i) state_.interval_metrics[i] += last_.metrics[i] * n;
  state_.interval_samples += last_.n_samples;
  interval_.n_samples += last_.n_samples;
  checkpoints_.emergency().state_is_whole(state_);
  tell_step(state_.step);
  checkpoints_.poll();
  if (last_.overflowed && replica_.loss_scale().next <= LossScale::kSmallest) {
    checkpoints_.wait();
    throw AgreedError(fmt::format("step {}", state_.step),
                      "the float16 gradients overflow even without a loss scale",
                      fmt::format("use precision: bfloat16, or lower the learning rate; the last good "
                                  "checkpoint is in {}",
                                  folder_.checkpoints()));
  }
  return last_;
}

void Run::Impl::fail_not_finite(const std::string& where) {
  // What rounding took from the gradients has changed already.
  if (state_.step > 0 && replica_.residuals().empty()) checkpoints_.save(state_);
  checkpoints_.wait();
  const size_t checkpoints = list_checkpoints(folder_.checkpoints()).size();
  folder_.write(JsonObject().set("kind", "end").set("step", state_.step).set("status", "not_finite"));
  if (comm_.is_root()) {
    try {
      write_report(folder_.path());
    } catch (const std::exception&) {  // the loss is what there is to say
    }
  }
  throw AgreedError(
      fmt::format("step {}", state_.step + 1), "the loss is not finite: " + where,
      fmt::format("lower the learning rate, or check the data (input: field '{}', target: field '{}'); {}",
                  setup_.data.train_fields.input, setup_.data.train_fields.target,
                  checkpoints == 0 ? "no checkpoint was saved yet"
                                   : "the last good checkpoint is in " + folder_.checkpoints()));
}

void Run::Impl::follow() {
  const bool epoch_ends = state_.step % steps_per_epoch_ == 0, run_ends = state_.step == total_steps_;
  if (job_.sync_guard.every_steps > 0 && state_.step % job_.sync_guard.every_steps == 0) guard();
  if (state_.interval_samples > 0 && (state_.step % log_every_ == 0 || epoch_ends || run_ends))
    report_interval();

  const int64_t epoch = state_.step / steps_per_epoch_;
  stops_early_ = epoch_without_mistakes();
  if (validator_ && (run_ends || (epoch_ends && epoch % job_.validate_every_epochs == 0))) {
    validate();
    stops_early_ = out_of_patience() || stops_early_;
  }
  state_.finished = run_ends || stops_early_;
  state_.follow_up = false;
  checkpoints_.emergency().state_is_whole(state_);
  const bool epoch_save =
      epoch_ends && job_.checkpoint_every_epochs > 0 && epoch % job_.checkpoint_every_epochs == 0;
  const bool step_save = job_.checkpoint_every_steps > 0 && state_.step % job_.checkpoint_every_steps == 0;
  const bool is_best = state_.best_step == state_.step;
  if (epoch_save || step_save || last_.flagged || state_.finished || last_.stop_requested || is_best) {
    save();
    last_save_s_ = interval_.start_s = progress_->elapsed_s();
  }
  checkpoints_.save_locally(state_);
  stopped_ = last_.stop_requested && !state_.finished;
}

void Run::Impl::save() {
  if (!checkpoints_.has(state_.step)) guard();
  checkpoints_.save(state_);
}

void Run::Impl::report_interval() {
  const double now_s = progress_->elapsed_s(), span_s = now_s - interval_.start_s;
  const auto n = static_cast<double>(state_.interval_samples);
  const StepTimes times = replica_.times();
  IntervalReport report;
  report.step = state_.step;
  report.epoch = epoch();
  report.loss = state_.interval_loss / n;
  for (int64_t i = 0; i < job_.metrics.size(); ++i)
    report.metrics.push_back(job_.metrics.value(i, state_.interval_metrics[i] / n));
  report.lr = last_.lr;
  report.gradient_norm = replica_.gradient_norm();
  if (job_.precision == DType::kFloat16) report.loss_scale = replica_.loss_scale().now;
  report.samples_per_s = static_cast<double>(interval_.n_samples) / span_s;
  report.elapsed_s = now_s;
  report.data_wait_s = times.data_wait - interval_.times.data_wait;
  report.communication_s = times.communication - interval_.times.communication;
  tell([&](RunObserver& observer) { observer.interval(report); });
  state_.interval_loss = 0;
  state_.interval_metrics = {};
  state_.interval_samples = 0;
  interval_ = Interval{};
  interval_.start_s = progress_->elapsed_s();
  interval_.times = times;
}

const ValidationResult& Run::Impl::validate() {
  if (!validator_) throw AgreedError("validation", "the job names no validation data", "set data.validation");
  const Work work("validation");
  replica_.settle_weights();
  validated_ = validator_->run();
  const double value = validator_->value(validated_, job_.best);
  // Numbers over values that are not finite are no measure: they are told, and compared with nothing.
  const bool is_measure = validated_.not_finite.empty();
  const bool improved = is_measure && (state_.best_step < 0 || job_.best.is_better(value, state_.best_value));
  if (!is_measure) folder_.warn(state_.step, "validation: " + validated_.not_finite);
  if (improved) {
    state_.best_step = state_.step;
    state_.best_value = value;
    folder_.write_attention(validated_, state_.step);
    folder_.write_confusion(validated_, setup_.data.contract.class_names, state_.step);
  }
  if (is_measure) {
    const bool goes_on = job_.early_stopping.name == job_.best.name
                             ? improved
                             : improves_early_stopping(validator_->value(validated_, job_.early_stopping));
    state_.validations_without_improvement = goes_on ? 0 : state_.validations_without_improvement + 1;
  }
  if (is_measure && job_.plateau)
    state_.plateau.advance(validator_->value(validated_, job_.plateau_measure),
                           job_.plateau_measure.higher_is_better, *job_.plateau);
  const ValidationReport report{state_.step, epoch(), validated_, improved};
  tell([&](RunObserver& observer) { observer.validation(report); });
  interval_.start_s = progress_->elapsed_s();
  return validated_;
}

bool Run::Impl::improves_early_stopping(double value) {
  std::optional<double>& best = state_.early_stopping_value;
  if (best && !job_.early_stopping.is_better(value, *best)) return false;
  best = value;
  return true;
}

void Run::Impl::guard() {
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

int64_t Run::Impl::restore_best() {
  const int64_t best = state_.best_step;
  if (!job_.restore_best || !state_.finished || best < 0 || best == state_.step) return -1;
  const std::string folder = folder_.checkpoints();
  int64_t linked = -1;
  check_on_root(comm_, [&] { linked = linked_checkpoint(folder, kBestLink); });
  if (comm_.all_reduce_max(linked) != best) {
    folder_.warn(state_.step, fmt::format("the best weights, of step {}, are not on the disk: those of the "
                                          "last step stay",
                                          best));
    return -1;
  }
  const Work work("restoring the best weights");
  replica_.settle_weights();
  all_or_none(comm_, [&] {
    Normalization stays = setup_.data.contract.normalization;
    load_checkpoint(folder + "/" + checkpoint_file_name(best),
                    checkpoint_tensors(replica_.arena(), nullptr, stays));
  });
  replica_.upload_state();
  check_on_root(comm_, [&] { link_checkpoint(folder, kLastLink, best); });
  return best;
}

RunResult Run::Impl::finish() {
  const std::string not_saved = checkpoints_.end(state_);
  const int64_t restored = restore_best();
  RunResult result;
  if (stops_early_) result.status = RunResult::Status::kEarlyStopped;
  if (stopped_) result.status = RunResult::Status::kStopped;
  result.by_time_limit = stopped_ && time_is_up_;
  result.step = state_.step;
  result.best_step = state_.best_step;
  result.best_value = state_.best_value;
  result.run_folder = folder_.path();
  static const char* const kStatus[] = {"finished", "early_stopped", "stopped"};
  JsonObject line;
  line.set("kind", "end").set("step", state_.step).set("status", kStatus[static_cast<int>(result.status)]);
  line.set("time_s", progress_->elapsed_s())
      .set("total_data_wait_s", loader_->wait_s())
      .set("prefetch", loader_->prefetch());
  if (state_.best_step >= 0) {
    line.set("best_" + job_.best.name, state_.best_value).set("best_step", state_.best_step);
  }
  if (restored >= 0) line.set("restored_step", restored);
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

}  // namespace lockstep
