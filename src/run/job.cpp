#include "src/run/job.h"

#include <fmt/format.h>

#include "kernels/printable.h"
#include "src/config/numbers.h"

namespace lockstep {

namespace {

/// A name of one folder that a terminal shows as it is.
bool is_plain_name(const std::string& name) {
  constexpr size_t kMostBytes = 200;  // file systems take 255, and suffixes follow
  return !name.empty() && name.size() <= kMostBytes && name != "." && name != ".." &&
         name.find('/') == std::string::npos && printable(name) == name;
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

void read_plateau(const Config& options, Job& job) {
  PlateauOptions plateau;
  plateau.factor = options.get_double("factor", plateau.factor);
  if (!(plateau.factor > 0 && plateau.factor < 1))
    throw options.error_at("factor", fmt::format("must lie between 0 and 1, found {}", plateau.factor),
                           "for instance factor: 0.1, a tenth of the rate after each plateau");
  plateau.patience = read_steps(options, "patience", plateau.patience, 0);
  plateau.threshold = options.get_double("threshold", plateau.threshold);
  plateau.cooldown = read_steps(options, "cooldown", plateau.cooldown, 0);
  plateau.least = options.get_double("least", plateau.least);
  for (const auto& [key, value] :
       {std::pair{"threshold", plateau.threshold}, std::pair{"least", plateau.least}})
    if (!(value >= 0 && value < 1))
      throw options.error_at(key, fmt::format("must lie in [0, 1), found {}", value),
                             "for instance threshold: 1.0e-4, least: 0.001");
  if (options.has("measure"))
    job.plateau_measure = read_measure(options.find("measure"), job.metrics, job.losses());
  options.finish();
  if (!job.validation)
    throw options.error("a plateau is one of validations, and there are no validation data",
                        "add data.validation or remove plateau");
  if (job.optimizer.rule->is_schedule_free())
    throw options.error(fmt::format("the optimizer {} stands in place of it", job.optimizer.name),
                        "leave out plateau, or take another optimizer");
  job.plateau = plateau;
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
  job.restore_best = train.get_bool("restore_best", false);
  if (job.restore_best && !job.validation)
    throw train.error_at("restore_best", "needs validation data, which say what is best",
                         "add data.validation or remove restore_best");
  if (job.stop_without_mistakes && job.mix.is_on())
    throw train.error_at("stop_when", "no_mistakes counts labels, and mixed samples have two of them",
                         "leave out stop_when, or data.mixup and data.cutmix");
  if (const std::optional<Config> plateau = train.find("plateau")) read_plateau(*plateau, job);
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
  read_losses(root, job);
  job.metrics = read_metrics(root.find("metrics"), job.losses());
  job.optimizer = read_optimizer(root.at("optimizer"));
  job.optimizer.average = read_weight_average(root);
  if (job.optimizer.rule->is_schedule_free()) {
    for (const char* key : {"schedule", "average"})
      if (root.has(key))
        throw root.error_at(key, fmt::format("the optimizer {} stands in place of it", job.optimizer.name),
                            std::string("leave out ") + key +
                                ", or take another optimizer; warmup_steps is an option of this one");
  }
  if (root.has("schedule")) job.schedule = read_schedule(root.at("schedule"));
  job.clip = read_clip(root);
  if (root.has("init")) job.init = read_init(root.at("init"));
  read_checkpoint(root, job);
  read_train(root, job);
  root.finish();
  return job;
}

Job make_job(const Value& description) {
  return read_job(Config::from_value(description, "the program's job"));
}

}  // namespace lockstep
