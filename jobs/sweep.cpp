// lockstep sweep JOB.yaml: one job with many settings, and which are the best.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "comm/agreement.h"
#include "jobs/command.h"
#include "jobs/trials.h"
#include "src/run/select/grid.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

constexpr size_t kMostShown = 10;

void print_best(const std::vector<Trial>& cells, const TrialsResult& result, const std::string& out) {
  const std::vector<size_t> order = ranked(result.outcomes, result.jobs.front().best);
  for (size_t r = 0; r < std::min(order.size(), kMostShown); ++r) {
    const size_t i = order[r];
    fmt::print("{:3}. {}  {}\n", r + 1, outcome_line(cells[i], result.outcomes[i], result.jobs[i].best),
               fmt::join(cells[i].assignments, "  "));
  }
  if (order.size() > kMostShown) fmt::print("     … {} more in the table\n", order.size() - kMostShown);
  fmt::print("page: {0}/sweep.html\ntable: {0}/sweep.csv\n", out);
}

int sweep_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "sweep JOB.yaml --grid KEY=V1,V2 … | --random N --range KEY=log(A,B) … [--set KEY=VALUE …] [--out DIR]",
      "Trains a job with every combination of the listed settings, or with settings drawn at random, one\n"
      "after the other on the ranks of this launch, into DIR/cell-1 and so on; DIR/sweep.html and\n"
      "DIR/sweep.csv have them in the order of the validation measure (checkpoint.best). The same command\n"
      "goes on where an earlier one was stopped.",
      {"JOB.yaml"});
  line.add()("grid", po::value<Words>()->composing(), "KEY=VALUE,VALUE,…: values of a key; may be repeated")(
      "range", po::value<Words>()->composing(),
      "KEY=log(A,B), uniform(A,B), int(A,B) or VALUE,VALUE: what --random draws from; may be repeated")(
      "random", po::value<int64_t>()->default_value(0), "how many draws")(
      "seed", po::value<int64_t>()->default_value(0), "of the draws; that of training is the job's")(
      "list", "show the cells and train nothing");
  add_trial_options(line, "cell");
  if (!line.parse(words, comm.is_root())) return 0;
  const auto n_random = line.get<int64_t>("random"), seed = line.get<int64_t>("seed");
  for (const auto& [name, value] : {std::pair{"random", n_random}, {"seed", seed}})
    if (value < 0)
      throw UsageError(fmt::format("--{} must not be negative, found {}", name, value),
                       fmt::format("write for instance --{} 20", name));
  const auto texts = [&](const char* name) { return line.has(name) ? line.get<Words>(name) : Words{}; };
  std::vector<Trial> cells;
  const auto make_cells = [&] {
    cells = sweep_cells(texts("grid"), texts("range"), n_random, static_cast<uint64_t>(seed));
  };
  check_on_root(comm, make_cells);
  if (!comm.is_root()) make_cells();  // which has succeeded on root
  if (line.has("list")) {
    for (const Trial& cell : cells)
      if (comm.is_root()) fmt::print("{}  {}\n", cell.name, fmt::join(cell.assignments, "  "));
    return 0;
  }
  TrialsOptions options;
  options.job_file = line.text("JOB.yaml");
  options.set = texts("set");
  options.overwrite = line.has("overwrite");
  options.only = line.has("only") ? line.get<int64_t>("only") : 0;
  options.goes_on = true;
  options.out = line.has("out") ? line.text("out") : "runs/" + job_name(comm, options) + "-sweep";
  const TrialsResult result = run_trials(comm, cells, options, [&](const TrialsResult& now) {
    const Job& job = now.jobs.front();
    write_of_trials(options, "sweep.csv",
                    sweep_csv(cells, now.outcomes, validated_names(job.metrics), job.best));
    write_of_trials(options, "sweep.html", sweep_page(job.name, cells, now.outcomes, job.metrics, job.best));
  });
  if (comm.is_root()) print_best(cells, result, options.out);
  return result.status;
}

const bool sweep_registered = commands().add("sweep",
                                             {.summary = "train a job with many settings, and rank them",
                                              .run = sweep_command,
                                              .saves_when_stopped = true},
                                             1);

}  // namespace

}  // namespace lockstep
