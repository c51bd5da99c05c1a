// lockstep kfold JOB.yaml: cross-validation on the training data of a job.
#include <fmt/format.h>

#include "jobs/command.h"
#include "jobs/trials.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

void print_spreads(const TrialsResult& result) {
  for (const std::string& metric : validated_names(result.jobs.front().metrics)) {
    std::vector<double> values;
    for (const TrialOutcome& outcome : result.outcomes) values.push_back(outcome.last_of(metric));
    const Spread spread = spread_of(values);
    bool is_share = false;
    for (const MetricList::Named& one : result.jobs.front().metrics.all())
      is_share = is_share || (one.name == metric && one.metric->is_share());
    if (spread.n < 2) continue;
    fmt::print("{:12} {} ± {} over {} folds\n", metric, measure_text(spread.mean, is_share),
               measure_text(spread.deviation, is_share), spread.n);
  }
}

int kfold_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "kfold JOB.yaml [--folds K] [--stratify | --group-by FIELD] [--set KEY=VALUE …] [--out DIR]",
      "Cross-validation: K runs, each of which trains on all but one of K parts of the job's training data\n"
      "and validates on that part, into DIR/fold-1 and so on; DIR/kfold.html and DIR/kfold.csv tell mean "
      "and\n"
      "deviation of every metric. Validation data of the job are not used. The same command goes on where "
      "an\n"
      "earlier one was stopped.",
      {"JOB.yaml"});
  line.add()("folds", po::value<int64_t>()->default_value(5), "how many parts")(
      "stratify", "each class in all parts alike, within one sample")(
      "group-by", po::value<std::string>(), "field whose equal values stay in one part")(
      "seed", po::value<int64_t>()->default_value(0), "of the parts; that of training is the job's");
  add_trial_options(line, "fold");
  if (!line.parse(words, comm.is_root())) return 0;
  const auto folds = line.get<int64_t>("folds"), seed = line.get<int64_t>("seed");
  if (folds < 2 || folds > 1000)
    throw UsageError(fmt::format("--folds must lie between 2 and 1000, found {}", folds),
                     "write for instance --folds 5");
  if (seed < 0)
    throw UsageError(fmt::format("--seed must not be negative, found {}", seed), "write --seed 0");
  if (line.has("stratify") && line.has("group-by"))
    throw UsageError("--stratify and --group-by exclude each other", "choose one of them");

  TrialsOptions options;
  options.job_file = line.text("JOB.yaml");
  if (line.has("set")) options.set = line.get<Words>("set");
  options.overwrite = line.has("overwrite");
  options.only = line.has("only") ? line.get<int64_t>("only") : 0;
  std::vector<Trial> trials;
  for (int64_t k = 1; k <= folds; ++k) {
    Trial trial;
    trial.name = fmt::format("fold-{}", k);
    trial.assignments = {fmt::format("data.fold.of={}", folds), fmt::format("data.fold.held_out={}", k),
                         fmt::format("data.fold.seed={}", seed)};
    if (line.has("stratify")) trial.assignments.emplace_back("data.fold.stratify=true");
    if (line.has("group-by")) trial.assignments.push_back("data.fold.group_by=" + line.text("group-by"));
    trials.push_back(std::move(trial));
  }
  options.out = line.has("out") ? line.text("out") : "runs/" + job_name(comm, options) + "-kfold";
  const TrialsResult result = run_trials(comm, trials, options, [&](const TrialsResult& now) {
    const Job& job = now.jobs.front();
    write_of_trials(options, "kfold.csv", folds_csv(trials, now.outcomes, validated_names(job.metrics)));
    write_of_trials(options, "kfold.html", folds_page(job.name, trials, now.outcomes, job.metrics));
  });
  if (comm.is_root()) {
    print_spreads(result);
    fmt::print("page: {0}/kfold.html\ntable: {0}/kfold.csv\n", options.out);
  }
  return result.status;
}

const bool kfold_registered =
    commands().add("kfold",
                   {.summary = "cross-validation: train on all but one part of the data, in turns",
                    .run = kfold_command,
                    .saves_when_stopped = true},
                   1);

}  // namespace

}  // namespace lockstep
