// lockstep lr-range JOB.yaml: the loss against a growing learning rate, and which rates that suggests.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "comm/agreement.h"
#include "io/files/files.h"
#include "jobs/command.h"
#include "jobs/job_file.h"
#include "src/run/select/rate_range.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

void print_suggestions(const RateRange& range, const std::string& page, const std::string& table) {
  fmt::print("{} steps from rate {:.3g} to {:.3g}{}\n", range.rates.size(), range.rates.front(),
             range.rates.back(), range.end.empty() ? "" : ", where " + range.end);
  if (std::isfinite(range.steepest))
    fmt::print("steepest descent     {:.3g}\na tenth of the rate at the minimum  {:.3g}\n", range.steepest,
               range.tenth());
  else
    fmt::print("the loss never fell: no rate is suggested\n");
  if (range.falls_to_the_end())
    fmt::print("the loss still fell at the last rate: a higher --to shows more\n");
  fmt::print("page: {}\ntable: {}\n", page, table);
}

int lr_range_command(const Words& words, Communicator& comm) {
  const RateRangeOptions usual;
  CommandLine line("lr-range JOB.yaml [--from RATE --to RATE --steps N] [--set KEY=VALUE …] [--out DIR]",
                   "Trains a fresh network of a job for some steps while the learning rate grows, and shows\n"
                   "the loss against the rate: DIR/lr-range.html and DIR/lr-range.csv. Stops where the loss\n"
                   "has risen to four times its lowest. Nothing of the training is kept.",
                   {"JOB.yaml"});
  line.add()("set", po::value<Words>()->composing(),
             "KEY=VALUE: change a key of the job file; may be repeated")(
      "from", po::value<double>()->default_value(usual.from, "1e-6"), "rate of the first step")(
      "to", po::value<double>()->default_value(usual.to), "rate of the last step")(
      "steps", po::value<int64_t>()->default_value(usual.steps), "how many")(
      "out", po::value<std::string>(), "folder of the page and the table (default: runs/NAME-lr-range)")(
      "overwrite", "replace them");
  if (!line.parse(words, comm.is_root())) return 0;

  const Job job =
      read_job_on_all_ranks(comm, line.text("JOB.yaml"), line.has("set") ? line.get<Words>("set") : Words{});
  const std::string folder = line.has("out") ? line.text("out") : "runs/" + job.name + "-lr-range";
  const std::string page = folder + "/lr-range.html", table = folder + "/lr-range.csv";
  check_on_root(comm, [&] {
    std::filesystem::create_directories(folder);
    for (const std::string& file : {page, table}) check_output_file(file, line.has("overwrite"));
  });
  RateRangeOptions options;
  options.from = line.get<double>("from");
  options.to = line.get<double>("to");
  options.steps = line.get<int64_t>("steps");
  const RateRange range = find_rate_range(job, comm, options);
  check_on_root(comm, [&] {
    write_text_file_atomically(page, rate_range_page(range, job.name));
    write_text_file_atomically(table, rate_range_csv(range));
    print_suggestions(range, page, table);
  });
  return 0;
}

const bool lr_range_registered = commands().add(
    "lr-range", {.summary = "find learning rates: the loss while the rate grows", .run = lr_range_command},
    1);

}  // namespace

}  // namespace lockstep
