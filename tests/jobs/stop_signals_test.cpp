// Stop signals at any moment of training: a checkpoint and status 85, whatever code the signal interrupts.
// The MLP has 11 million parameters, because it is the matrix kernels of large layers that a signal handler
// on the thread's own stack would break.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSignals[] = {"TERM", "USR1", "INT", "USR2", "XCPU", "HUP"};

/// LOCKSTEP_STOP_RUNS: more of them, for a campaign.
int n_runs() {
  const char* text = getenv("LOCKSTEP_STOP_RUNS");
  return text ? atoi(text) : 6;
}

constexpr const char* kLargeMlp = R"(name: large
model: {zoo: mlp, hidden: [2048, 2048, 2048, 1024], classes: 10}
data: {train: {path: data/train, input: image, target: label}}
batch: {global: 64, micro: 32}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.001}}
train: {epochs: 1000, log_every_steps: 1}
)";

std::string command_of(int n_ranks, const std::string& words) {
  return n_ranks == 1 ? std::string(LOCKSTEP_PROGRAM) + " " + words : lockstep_command(n_ranks, words);
}

class StopSignals : public testing::TestWithParam<int> {
 protected:
  StopSignals() { write_file(place_.file("large.yaml"), kLargeMlp); }
  Workplace place_;
};

TEST_P(StopSignals, EveryRunEndsWithACheckpointAndStatus85) {
  const std::string out = place_.file("run"), words = "train large.yaml --out " + out;
  unsigned random = 7;
  for (int run = 0; run < n_runs(); ++run) {
    fs::remove_all(out);
    random = random * 1664525 + 1013904223;  // Numerical Recipes' generator: the moments need no quality
    const double delay_s = 0.4 * (random >> 8) / (1 << 24);
    // The signal goes to one rank: what launchers make of theirs differs, see docs/faults.md.
    const Ended ended = run_shell("cd " + place_.path() + "; " + command_of(GetParam(), words) +
                                  " > log 2>&1 & pid=$!; " + "for i in $(seq 400); do grep -q '\"train\"' " +
                                  out + "/metrics.jsonl 2>/dev/null && break; sleep 0.02; done; " + "sleep " +
                                  std::to_string(delay_s) + "; pkill -n -" + kSignals[run % 6] + " -f '^" +
                                  LOCKSTEP_PROGRAM + " " + words + "'; wait $pid");
    const std::string log = read_file(place_.file("log"));
    ASSERT_EQ(ended.status, 85) << "run " << run << ", SIG" << kSignals[run % 6] << ": " << log;
    ASSERT_NE(log.find("stopped by a signal"), std::string::npos) << log;
    ASSERT_TRUE(fs::exists(out + "/checkpoints") && !fs::is_empty(out + "/checkpoints")) << log;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, StopSignals, testing::Values(1, 2));

TEST(StopSignalsEarly, ASignalBeforeTheFirstStepSavesToo) {
  Workplace place;
  for (const char* delay_s : {"0", "0.02", "0.1"}) {
    const Ended ended =
        run_shell("cd " + place.path() + "; " + command_of(1, "train job.yaml --out early --overwrite") +
                  " & pid=$!; while kill -0 $pid && grep -q 'SigBlk:.*0000000000000000' /proc/$pid/status; "
                  "do :; done; sleep " +
                  delay_s + "; kill -USR1 $pid; wait $pid");
    EXPECT_EQ(ended.status, 85) << ended.output;
  }
}

TEST(StopSignalsEarly, AReaderThatLeavesIsAStop) {
  Workplace place;
  const Ended ended = run_shell("cd " + place.path() + "; (" +
                                command_of(1, "train job.yaml --out pipe --set train.epochs=2000") +
                                "; echo $? > status) | head -1; cat status; ls pipe/checkpoints");
  EXPECT_NE(ended.output.find("85\n"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("step-"), std::string::npos) << ended.output;
}

}  // namespace
}  // namespace lockstep
