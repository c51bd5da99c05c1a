#include "src/run/run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "comm/agreement.h"
#include "comm/nccl/shared_gpus.h"
#include "src/run/run_impl.h"

namespace lockstep {

namespace {

/// Collective. A sentence where several ranks compute on one GPU; "" where none do.
std::string gpus_shared_by_ranks(Communicator& comm, Device device) {
  const SharedGpus gpus = shared_gpus(comm, device);
  if (gpus.n_shared == 0) return "";
  return fmt::format(
      "{} of {} GPUs are shared by several ranks, which take turns on them: start one rank per GPU",
      gpus.n_shared, gpus.n_gpus);
}

}  // namespace

template <typename Function>
decltype(auto) Run::guarded(const Function& work) {
  try {
    return work();
  } catch (const AgreedError&) {
    impl_->end_saving();
    heartbeat_->stop();
    throw;
  } catch (...) {
    impl_->fail_alone();
    tell_others_of_failure();  // who save the state; also this rank's memory is still there
    throw;
  }
}

Run::Run(const Job& job, Communicator& comm, const RunOptions& options) {
  set_compute_threads(job.threads);
  heartbeat_ = std::make_unique<Heartbeat>(comm, HeartbeatOptions{.silent_s = job.watchdog.silent_s,
                                                                  .stuck_s = job.watchdog.stuck_s,
                                                                  .end = options.when_rank_lost});
  try {
    impl_ = std::make_unique<Impl>(job, comm, options);
  } catch (const AgreedError&) {
    heartbeat_->stop();
    throw;
  }
  guarded([&] { impl_->begin(*heartbeat_); });
}

Run::~Run() = default;

bool Run::goes_on() const { return impl_->goes_on(); }
void Run::advance() {
  guarded([&] {
    impl_->step();
    impl_->follow();
  });
}
const StepResult& Run::step() {
  return guarded([&]() -> const StepResult& { return impl_->step(); });
}
void Run::follow() {
  guarded([&] { impl_->follow(); });
}
const ValidationResult& Run::validate() {
  return guarded([&]() -> const ValidationResult& { return impl_->validate(); });
}
void Run::save() {
  guarded([&] { impl_->save(); });
}
RunResult Run::finish() {
  return guarded([&] {
    RunResult result = impl_->finish();
    heartbeat_->stop();
    return result;
  });
}
int64_t Run::steps_done() const { return impl_->steps_done(); }
int64_t Run::total_steps() const { return impl_->total_steps(); }
int64_t Run::steps_per_epoch() const { return impl_->steps_per_epoch(); }
const std::string& Run::folder() const { return impl_->folder(); }
Replica& Run::replica() { return impl_->replica(); }

Run::Impl::Impl(const Job& job, Communicator& comm, const RunOptions& options)
    : job_(job),
      comm_(comm),
      folder_(comm, options.out.empty() ? "runs/" + job.name : options.out,
              {options.resume, options.overwrite, options.job_file}),
      setup_(job, comm),
      replica_(setup_.job, setup_.graph, comm,
               {.augmentation = setup_.augmentation,
                .shorter = setup_.shorter,
                .communication_plan = folder_.communication_plan()}),
      steps_per_epoch_(setup_.steps_per_epoch),
      total_steps_(job.steps > 0 ? job.steps : job.epochs * steps_per_epoch_),
      log_every_(job.log_every_steps > 0 ? job.log_every_steps : std::max<int64_t>(1, steps_per_epoch_ / 10)),
      prints_(options.prints),
      observer_(options.observer),
      checkpoints_(job, folder_, replica_, setup_.data.contract, steps_per_epoch_) {
  check_on_root(comm, [&] {
    job.schedule.check(total_steps_, steps_per_epoch_);
    if (job.optimizer.average) job.optimizer.average->check(total_steps_, steps_per_epoch_);
  });
  state_ = checkpoints_.resume(options.resume, setup_.identity);
  // A finished run may be given a longer life; one that stopped early stays stopped.
  state_.finished =
      state_.finished && (state_.step >= total_steps_ || out_of_patience() || epoch_without_mistakes());
  guard();
  if (setup_.data.validation) {
    validator_ =
        std::make_unique<Validator>(setup_.job, replica_.graph(), replica_.arena(), *setup_.data.validation,
                                    setup_.data.validation_fields, setup_.data.contract, comm);
  }
}

void Run::Impl::begin(Heartbeat& heartbeat) {
  work_.emplace("a training step");
  LoaderOptions loading = setup_.loader_options(job_, comm_.rank(), comm_.size());
  loading.ranks = &comm_;
  loader_ = std::make_unique<DataLoader>(*setup_.data.train, loading, state_.step);
  progress_ = std::make_unique<Progress>(prints_ && comm_.is_root(), launcher_size() > 1, state_.step,
                                         total_steps_, steps_per_epoch_);
  log_ = std::make_unique<RunLog>(job_, folder_, *progress_);
  observers_.push_back(log_.get());
  if (observer_) observers_.push_back(observer_.get());
  checkpoints_.begin(state_);
  read_time_limit();
  write_start();
  note(fmt::format("{}: {} parameters, {} training samples, global batch {}, {} rank{}, {}{}", job_.name,
                   grouped(static_cast<double>(replica_.arena().n_parameters())),
                   grouped(static_cast<double>(setup_.data.train->n_samples())), job_.global_batch,
                   comm_.size(), comm_.size() > 1 ? "s" : "", job_.device.str(),
                   state_.step > 0 ? fmt::format(", resumed at step {}", state_.step) : ""));

  if (!setup_.surplus_classes.empty()) folder_.warn(state_.step, setup_.surplus_classes);
  if (job_.precision == DType::kBFloat16 && job_.device.kind == Device::Kind::kCpu && !cpu_has_bfloat16()) {
    note(
        "this CPU does not multiply bfloat16: values are kept in bfloat16 and products computed in float32, "
        "which is slower than precision: float32");
  }
  if (job_.device.kind == Device::Kind::kCuda && comm_.size() > 1)
    note("gradients: " + replica_.reducer().way());
  if (const std::string shared = gpus_shared_by_ranks(comm_, job_.device); !shared.empty()) {
    folder_.warn(state_.step, shared);
    note(shared);
  }
  tell_step(state_.step);
  heartbeat.set_rescue([this] { return checkpoints_.emergency().save(); });
  checkpoints_.emergency().state_is_whole(state_);
}

void Run::Impl::write_start() {
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

void Run::Impl::fail_alone() {
  folder_.leave_as_it_is();
  if (comm_.size() == 1 && state_.step > 0 && !checkpoints_.has(state_.step)) {
    end_saving();
    spdlog::error("{}", checkpoints_.emergency().save());
  }
}

}  // namespace lockstep
