// fault_campaign [--runs N] [--seed S] [--report FILE]: N disturbed runs, the kinds of faults in turn, and a
// table of what came of them. Ends with status 1 if a run hung, ended or reported wrongly, or lost something.
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "tests/campaign/campaign.h"

namespace lockstep {
namespace {

std::string median(std::vector<double> values) {
  if (values.empty()) return "";
  std::sort(values.begin(), values.end());
  return fmt::format("{:.2f} s", values[values.size() / 2]);
}

std::string table(const Campaign& campaign) {
  std::string text =
      "| fault | runs | faults | hangs | wrong status or report | losses | median time to the report |\n"
      "|---|---|---|---|---|---|---|\n";
  FaultTally sum;
  for (int i = 0; i < kFaultKinds; ++i) {
    const FaultTally& tally = campaign.tally(static_cast<FaultKind>(i));
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", kFaultNames[static_cast<size_t>(i)],
                        tally.n_runs, tally.n_injected, tally.n_hangs, tally.n_wrong, tally.n_losses,
                        median(tally.report_s));
    sum.n_runs += tally.n_runs, sum.n_injected += tally.n_injected, sum.n_hangs += tally.n_hangs;
    sum.n_wrong += tally.n_wrong, sum.n_losses += tally.n_losses;
  }
  return text + fmt::format("| **all** | {} | {} | {} | {} | {} | |\n", sum.n_runs, sum.n_injected,
                            sum.n_hangs, sum.n_wrong, sum.n_losses);
}

int run(int argc, char** argv) {
  namespace po = boost::program_options;
  int n_runs = 200;
  uint64_t seed = 1;
  std::string report;
  po::options_description options("fault_campaign");
  options.add_options()("help", "print this")("runs", po::value(&n_runs), "how many runs (200)")(
      "seed", po::value(&seed), "of the generator that draws faults (1)")(
      "report", po::value(&report), "also write table and problems to this file");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, options), values);
  po::notify(values);
  if (values.contains("help")) {
    std::cout << options;
    return 0;
  }

  Campaign campaign(seed);
  std::vector<FaultKind> kinds;
  for (int i = 0; i < kFaultKinds; ++i) kinds.push_back(static_cast<FaultKind>(i));
  if (!campaign.can_mount()) {
    std::erase(kinds, FaultKind::kFullDisk);
    fmt::print("no full disks: mounting a small file system is not permitted here\n");
  }
  std::string problems, result;
  int n_bad = 0;
  for (int i = 0; i < n_runs; ++i) {
    const FaultKind kind = kinds[static_cast<size_t>(i) % kinds.size()];
    const auto start = std::chrono::steady_clock::now();
    const std::string problem = campaign.run(kind);
    const double time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    fmt::print("run {}/{}: {}: {} ({:.1f} s)\n{}", i + 1, n_runs, name_of(kind),
               problem.empty() ? "right" : "WRONG", time_s, problem);
    std::fflush(stdout);
    problems += problem;
    n_bad += !problem.empty();
    result = fmt::format("{} runs, seed {}\n\n", i + 1, seed) + table(campaign);
    // After every run, so that one that is interrupted has something to show.
    if (!report.empty()) std::ofstream(report) << result << (problems.empty() ? "" : "\n" + problems);
  }
  fmt::print("\n{}\n{}\n", result,
             n_bad == 0 ? "All runs came to the right end." : "Some runs did NOT (above).");
  return n_bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  try {
    return lockstep::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "fault_campaign: {}\n", error.what());
    return 2;
  }
}
