#include "src/run/checkpoints/run_checkpoints.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <filesystem>

#include "comm/activity.h"
#include "comm/agreement.h"
#include "src/plan/stopwatch.h"

namespace lockstep {

namespace {

/// Steps of the checkpoint and of the job must mean the same samples.
void check_fits(const std::string& path, const CheckpointInfo& info, const Job& job) {
  Config batch = Config::from_text(info.job, path + " (its job)").at("batch");
  batch.positional("global");
  const int64_t global_batch = batch.get_int("global");
  if (global_batch != job.global_batch) {
    throw Error(path,
                fmt::format("it was trained with global batch {}, the job says {}: steps would mean other "
                            "samples",
                            global_batch, job.global_batch),
                fmt::format("set batch.global={}, or start over in another --out", global_batch));
  }
  if (info.seed != job.seed) {
    throw Error(path, fmt::format("it was trained with seed {}, the job says {}", info.seed, job.seed),
                fmt::format("set seed: {}, or start over in another --out", info.seed));
  }
}

}  // namespace

RunCheckpoints::RunCheckpoints(const Job& job, RunFolder& folder, Replica& replica, DataContract& contract,
                               int64_t steps_per_epoch)
    : job_(job),
      folder_(folder),
      replica_(replica),
      contract_(contract),
      steps_per_epoch_(steps_per_epoch),
      versions_(computed_with(job)),
      emergency_(job, folder.checkpoints(), replica, contract, data_, versions_, steps_per_epoch) {
  replica_.set_before_update([this] {
    const Stopwatch watch;
    saver_->hold_changes();
    local_->hold_changes();
    stall_s_ += watch.seconds();
    emergency_.state_changes();
  });
}

RunCheckpoints::~RunCheckpoints() {
  // One rank alone waits for nobody else, and MPI must not end under the write.
  if (std::uncaught_exceptions() > 0 && replica_.comm().size() > 1) CheckpointSaver::leave(std::move(saver_));
}

std::vector<CheckpointTensor> RunCheckpoints::tensors(StateIn place) {
  std::vector<CheckpointTensor> all =
      checkpoint_tensors(replica_.arena(), &replica_.optimizer(), contract_.normalization, place);
  std::vector<float*> residuals;
  for (size_t m = 0; m < replica_.residuals().size(); ++m)
    residuals.push_back(place == StateIn::kHost ? replica_.host_residuals()[m]->as<float>()
                                                : replica_.residuals()[m].as<float>());
  add_residuals(replica_.arena(), replica_.comm().rank() * int64_t(residuals.size()), job_.n_micro(),
                residuals, all);
  std::vector<float*> states;
  for (size_t m = 0; m < replica_.states().arrays().size(); ++m)
    states.push_back(place == StateIn::kHost ? replica_.states().host()[m]->as<float>()
                                             : replica_.states().arrays()[m].as<float>());
  add_carried_states(replica_.states(), replica_.comm().rank() * int64_t(states.size()), job_.n_micro(),
                     states, all);
  return all;
}

CheckpointInfo RunCheckpoints::info(const TrainState& state) const {
  CheckpointInfo info = make_checkpoint_info(job_, state, contract_, &data_, steps_per_epoch_);
  add_versions(versions_, info);
  return info;
}

TrainState RunCheckpoints::resume(const std::string& from, const DataIdentity& data) {
  TrainState state;
  data_ = data;
  Communicator& comm = replica_.comm();
  local_ = std::make_unique<LocalCheckpoints>(job_, comm, folder_.path(), !from.empty());
  if (from == "auto") warnings_ = local_->fetch(folder_.checkpoints());
  const std::string path =
      from.empty() ? "" : choose_checkpoint(comm, folder_.checkpoints(), from, warnings_);
  resumed_from_ = path;
  if (path.empty()) return state;
  all_or_none(comm, [&] {
    const CheckpointInfo info = read_checkpoint_info(path);
    check_fits(path, info, job_);
    check_same_training_data(path, info, data_, steps_per_epoch_, contract_);
    std::vector<CheckpointTensor> wanted = tensors(StateIn::kHost);
    const std::vector<std::string> absent = leave_absent_states(path, wanted);
    load_checkpoint(path, wanted);
    if (!absent.empty())
      warnings_.push_back(fmt::format(
          "{} states of the optimizer begin at zero, as the checkpoint's run kept these parameters "
          "frozen: {}{}",
          absent.size(), absent.front(), absent.size() > 1 ? ", …" : ""));
    state = read_train_state(info, job_.metrics);
    if (const std::string other = what_differs(read_versions(info), versions_); !other.empty())
      warnings_.push_back(
          "the checkpoint was computed with other versions, so bits may differ from here on: " + other);
    const std::string changed = what_is_compared_anew(info, data_);
    if (!changed.empty()) {
      if (state.best_step >= 0 || state.validations_without_improvement > 0)
        warnings_.push_back(changed + ": the best validation and early stopping begin anew");
      state.best_step = -1;
      state.best_value = 0;
      state.early_stopping_value.reset();
      state.validations_without_improvement = 0;
      state.plateau.best.reset();
      state.plateau.n_bad = 0;
    }
  });
  replica_.upload_state();
  if (job_.precision == DType::kFloat16 && state.loss_scale) replica_.set_loss_scale(*state.loss_scale);
  if (!state.follow_up) saved_step_ = state.step;  // else that file is not yet what it should be
  return state;
}

void RunCheckpoints::begin(const TrainState& state) {
  Communicator& comm = replica_.comm();
  saver_ =
      std::make_unique<CheckpointSaver>(comm, folder_.checkpoints(), tensors(StateIn::kDevice), job_.device);
  local_->prepare(tensors(StateIn::kDevice));
  saver_->probe(info(state));
  check_on_root(comm, [&] {
    const bool resumes = !resumed_from_.empty();
    // What follows the checkpoint's step is written again, where it was cut off in mid-step.
    folder_.begin(job_, !resumes ? -1 : state.follow_up ? state.step - 1 : state.step);
    folder_.keep_confusion_of(state.best_step);
    for (const std::string& path :
         set_aside_later_checkpoints(folder_.checkpoints(), resumes ? state.step : -1)) {
      warnings_.push_back(fmt::format("a checkpoint of a later step is now {}", path));
    }
    if (state.best_step < 0) {
      std::error_code ignored;
      std::filesystem::remove(folder_.checkpoints() + "/" + kBestLink, ignored);
    }
  });
  for (const std::string& warning : warnings_) folder_.warn(state.step, warning);
  if (resumed_from_.empty()) return;
  folder_.write(JsonObject()
                    .set("kind", "resume")
                    .set("step", state.step)
                    .set("file", resumed_from_)
                    .set("ranks", comm.size()));
}

void RunCheckpoints::save(TrainState& state) {
  if (has(state.step)) return;
  const Work work("saving a checkpoint");
  const Stopwatch watch;
  check_on_root(replica_.comm(), [&] { folder_.check_held(); });
  replica_.settle_weights();
  report(saver_->wait());
  waited_s_ = watch.seconds();
  if (job_.precision == DType::kFloat16) state.loss_scale = replica_.loss_scale();
  saver_->start(replica_.stream(), info(state),
                [this, step = state.step, best = state.best_step] { tidy(step, best); });
  saved_step_ = state.step;
  stall_s_ = watch.seconds();
  if (job_.asynchronous_checkpoints) return;
  const std::optional<SaveOutcome> saved = saver_->wait();
  stall_s_ = watch.seconds();
  report(saved);
}

void RunCheckpoints::save_locally(const TrainState& state) {
  if (!local_->is_on() || state.step % job_.local_checkpoints.every_steps != 0 || has(state.step)) return;
  TrainState now = state;
  if (job_.precision == DType::kFloat16) now.loss_scale = replica_.loss_scale();
  local_->save(replica_.stream(), info(now));
}

std::string RunCheckpoints::end(TrainState& state) {
  wait();
  if (!failure_.empty() && has(state.step)) {
    saved_step_ = -1;  // once more: what filled the disk may be gone
    save(state);
    wait();
  }
  local_->end(state.finished && failure_.empty());
  return failure_;
}

void RunCheckpoints::poll() {
  report(saver_->poll());
  if (const std::string error = local_->poll(); !error.empty())
    spdlog::warn("a local checkpoint of {} was not saved, training goes on: {}", host_name(), error);
}

void RunCheckpoints::wait() { report(saver_->wait()); }

void RunCheckpoints::report(const std::optional<SaveOutcome>& ended) {
  if (!ended) return;
  failure_ = ended->error;
  if (failure_.empty()) longest_save_s_ = std::max(longest_save_s_, ended->time_s);
  if (!replica_.comm().is_root()) return;
  if (failure_.empty()) folder_.has_saved();
  if (!ended->error.empty()) {
    // Nothing is lost yet: the last good checkpoint stays and training goes on.
    folder_.warn(ended->step,
                 fmt::format("CHECKPOINT NOT SAVED at step {}: {}\n  training goes on; free space or the run "
                             "cannot be resumed from here",
                             ended->step, ended->error));
    return;
  }
  folder_.write(JsonObject()
                    .set("kind", "checkpoint")
                    .set("step", ended->step)
                    .set("file", std::filesystem::path(ended->path).filename().string())
                    .set("time_s", ended->time_s)
                    .set("stall_s", stall_s_)
                    .set("waited_s", waited_s_)
                    .set("bytes", ended->n_bytes));
}

bool RunCheckpoints::is_kept(int64_t step) const {
  const auto divides = [&](int64_t every) {
    return every > 0 && step % every == 0 && step / every % job_.keep_every == 0;
  };
  return job_.keep_every > 0 &&
         (divides(job_.checkpoint_every_epochs * steps_per_epoch_) || divides(job_.checkpoint_every_steps));
}

void RunCheckpoints::tidy(int64_t step, int64_t best_step) const {
  const std::string folder = folder_.checkpoints();
  link_checkpoint(folder, kLastLink, step);
  link_checkpoint(folder, kBestLink, best_step);
  // Where the best one could not be saved, the link still points at the best of before.
  const int64_t best = linked_checkpoint(folder, kBestLink);
  prune_checkpoints(folder, job_.keep, [&](int64_t old) {
    return old == step || old == best_step || old == best || is_kept(old);
  });
}

}  // namespace lockstep
