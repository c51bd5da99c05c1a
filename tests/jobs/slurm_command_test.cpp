// `lockstep slurm` as a person runs it: the scripts of slurm/examples are its output, mistakes are one
// message with a remedy, and --progress ends a job that gets nowhere.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define EXPECT_SAYS(ended, part) \
  EXPECT_TRUE(has((ended).output, part)) << "lacks: " << (part) << "\n" << (ended).output

/// In the folder of the sources, where the shell finds the program by its name.
Ended run_there(const std::string& command) {
  const std::string program = LOCKSTEP_PROGRAM;
  return run_shell("cd " LOCKSTEP_SOURCE_DIR " && PATH=" + fs::path(program).parent_path().string() +
                   ":$PATH && " + command);
}

TEST(SlurmCommand, TheExamplesAreItsOutput) {
  int n_examples = 0;
  for (const auto& entry : fs::directory_iterator(std::string(LOCKSTEP_SOURCE_DIR) + "/slurm/examples")) {
    const std::string text = read_file(entry.path());
    const size_t begin = text.find("# lockstep slurm ");
    ASSERT_NE(begin, std::string::npos) << entry.path();
    const std::string command = text.substr(begin + 2, text.find('\n', begin) - begin - 2);
    const Ended written = run_there(command + " --elsewhere 2>/dev/null");
    EXPECT_EQ(written.status, 0) << command;
    EXPECT_EQ(written.output, text) << entry.path() << " is not what its first line writes";
    EXPECT_EQ(run_shell("bash -n " + entry.path().string()).status, 0) << entry.path();
    ++n_examples;
  }
  EXPECT_GE(n_examples, 8);
}

Ended refused(const std::string& words) {
  return run_there("lockstep slurm jobs/lenet5-digits.yaml --elsewhere " + words + " 2>&1");
}

TEST(SlurmCommand, MistakesAreOneMessageWithARemedy) {
  const std::pair<const char*, const char*> kMistakes[] = {
      {"--nodes 2", "--time is missing"},
      {"--time soon", "is not a time limit"},
      {"--time 60 --nodes 3", "not a power of two"},
      {"--time 60 --nodes 16", "cannot share the 8 micro-batches"},
      {"--time 60 --nodes 0", "--nodes must be 1 to"},
      {"--time 0:30 --signal-before 40", "the signal comes before"},
      {"--time 60 --cpus-per-task 1 --set threads=4", "the job's 4 threads"},
      {"--time 60 --set device=cuda", "the script asks for none"},
      {"--time 60 --gpus-per-node 1 --set device=cpu", "the script asks for GPUs"},
      {"--time 60 --gpus-per-node 2 --ranks-per-node 2", "exclude each other"},
      {"--time 60 --array 'grid 5'", "--array begins with kfold or sweep"},
      {"--time 60 --array 'kfold --folds 5' --chain 3", "--chain is for one run"},
      {"--time 60 --system sge", "--system is slurm, pbs or lsf"},
  };
  for (const auto& [words, what] : kMistakes) {
    const Ended ended = refused(words);
    EXPECT_TRUE(ended.status == 1 || ended.status == 2) << words << ": " << ended.status;
    EXPECT_SAYS(ended, what);
    EXPECT_EQ(count(ended.output, "remedy: "), 1) << ended.output;
  }
  // More than 1 GB of state: not to be written within a second
  const Ended large = run_there(
      "lockstep slurm jobs/bench-mlp.yaml --elsewhere --time 0:01 --set "
      "'model={zoo: mlp, hidden: [16384, 16384], classes: 10, input: [1, 28, 28]}' 2>&1");
  EXPECT_EQ(large.status, 1);
  EXPECT_SAYS(large, "shorter than one checkpoint");
}

TEST(SlurmCommand, WritesAFileOnce) {
  const TemporaryFolder folder;
  const std::string words = "--time 60 --out " + folder.file("job.sbatch");
  const Ended first = refused(words);
  EXPECT_EQ(first.status, 0) << first.output;
  EXPECT_SAYS(first, "submit it with: sbatch ");
  const std::string text = read_file(folder.file("job.sbatch"));
  EXPECT_EQ(text.find("#!/usr/bin/env bash\n"), 0u);
  EXPECT_FALSE(has(text, folder.path())) << "the script tells where it was written";
  EXPECT_NE(refused(words).status, 0);
  EXPECT_EQ(refused(words + " --overwrite").status, 0);
}

TEST(SlurmCommand, AnEstimateRestsOnWhatWasMeasured) {
  const TemporaryFolder folder;
  write_file(folder.file("step.json"), R"({"job": "x", "ranks": 1, "global_batch": 16, "step_ms": 7200})");
  const Ended steps =
      refused("--time 2:00:00 --set 'train={steps: 1000}' --measured " + folder.file("step.json"));
  EXPECT_EQ(steps.status, 0) << steps.output;
  EXPECT_SAYS(steps, "# Estimate: 2.0");
  EXPECT_SAYS(steps, "1000 steps of 7.2e+03 ms (bench step on 1 rank)");
  EXPECT_SAYS(steps, "Jobs of 02:00:00: 1 restart.");
}

TEST(SlurmProgress, EndsAtTheThirdStartThatFindsTheSame) {
  const TemporaryFolder folder;
  const std::string run = folder.file("run");
  const auto start = [&](const std::string& chain) {
    return run_shell("unset SLURM_JOB_ID; LOCKSTEP_CHAIN=" + chain +
                     " " LOCKSTEP_PROGRAM " slurm --progress " + run + " 2>&1");
  };
  EXPECT_EQ(start("7").status, 0);
  EXPECT_EQ(start("7").status, 0);
  const Ended third = start("7");
  EXPECT_EQ(third.status, 1);
  EXPECT_SAYS(third, "two starts in a row made no progress: the newest checkpoint is still missing");
  EXPECT_SAYS(third, "remedy: ");
  EXPECT_EQ(start("8").status, 0) << "a job that a person submits anew is another matter";
  EXPECT_EQ(start("8").status, 0);
  fs::create_directories(run + "/checkpoints");
  write_file(run + "/checkpoints/step-000000010.h5", "");
  EXPECT_EQ(start("8").status, 0);
  EXPECT_EQ(start("8").status, 0);
  EXPECT_SAYS(start("8"), "still that of step 10");
  EXPECT_EQ(count(read_file(run + "/starts.jsonl"), "\n"), 8);
}

/// A run of 20 epochs whose job ends soon.
TEST(TimeLimitRun, EndsWithACheckpointAndGoesOnToTheSameBits) {
  Workplace place;
  const auto train = [&](const std::string& end, const std::string& out) {
    return run_shell("cd " + place.path() + "; LOCKSTEP_END_TIME=" + end + " " +
                     lockstep_command(2, place.train(out)) + "--resume auto --set train.epochs=4 2>&1");
  };
  const Ended whole = train("", "whole");
  EXPECT_EQ(whole.status, 0) << whole.output;
  const Ended stopped = train("$(($(date +%s) + 4))", "parts");  // within its margin: one step
  EXPECT_EQ(stopped.status, 85) << stopped.output;
  EXPECT_SAYS(stopped, "before the time limit: a step takes");
  EXPECT_SAYS(stopped, "stopped before the time limit; continue with --resume auto: after step 1");
  const Ended resumed = train("1000", "parts");
  EXPECT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_SAYS(resumed, "has passed");
  EXPECT_EQ(read_file(place.checkpoint("whole", 76)), read_file(place.checkpoint("parts", 76)));
  const Ended unreadable = train("soon", "unread");
  EXPECT_EQ(unreadable.status, 1);
  EXPECT_SAYS(unreadable, "seconds since 1970");
  EXPECT_EQ(count(unreadable.output, "remedy: "), 1) << unreadable.output;
}

}  // namespace
}  // namespace lockstep
