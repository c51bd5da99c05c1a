// lockstep slurm: scripts, and what it asks of job and cluster. A program that speaks like sinfo stands for
// Slurm; the scripts run under a real one in tests/slurm/generated.sh.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

class SlurmScript : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    std::filesystem::create_directory(place_->file("bin"));
    write_file(
        place_->file("bin/sinfo"),
        "#!/bin/sh\necho 'cpu|2-00:00:00|(null)|64|100'\necho 'gpu|08:00:00|gpu:a100:4(S:0-1)|48|16'\n");
    std::filesystem::permissions(place_->file("bin/sinfo"), std::filesystem::perms::owner_all);
  }
  static void TearDownTestSuite() { delete place_; }
  static Ended slurm(const std::string& words) {
    return run_shell("PATH=" + place_->file("bin") + ":$PATH " + LOCKSTEP_PROGRAM + " slurm " +
                     place_->job() + " " + words);
  }
  /// A request that is refused, with what the message has to say.
  static void refuses(const std::string& words, const std::string& reason, const std::string& remedy) {
    const Ended ended = slurm(words);
    EXPECT_NE(ended.status, 0) << words;
    EXPECT_NE(ended.output.find(reason), std::string::npos) << words << "\n" << ended.output;
    EXPECT_NE(ended.output.find(remedy, ended.output.find("remedy: ")), std::string::npos) << words << "\n"
                                                                                           << ended.output;
    EXPECT_EQ(count(ended.output, "remedy: "), 1) << ended.output;
  }
  static inline Workplace* place_ = nullptr;
};

TEST_F(SlurmScript, HasWhatWasAskedFor) {
  const Ended ended = slurm(
      "--nodes 2 --gpus-per-node 4 --time 04:00:00 --partition gpu --account lab --module cuda/13 "
      "--cpus-per-task 6 --signal-before 300 --run runs/mine --set train.epochs=3");
  ASSERT_EQ(ended.status, 0) << ended.output;
  for (const char* text :
       {"#SBATCH --nodes=2\n", "--ntasks-per-node=4", "--gpus-per-node=4\n", "--cpus-per-task=6",
        "--distribution=block:block", "--time=04:00:00\n", "--partition=gpu\n", "--account=lab\n",
        "--signal=USR1@300", "--requeue", "module load cuda/13\n", "run=runs/mine\n", "--mpi=pmix",
        "--gpu-bind=none", "--resume auto", "--set train.epochs=3", "8 ranks on 2 nodes", "scontrol requeue"})
    EXPECT_NE(ended.output.find(text), std::string::npos) << text << "\n" << ended.output;
}

TEST_F(SlurmScript, EveryKindIsAScriptThatBashReads) {
  for (const std::string words :
       {"--nodes 1 --time 30", "--nodes 4 --ranks-per-node 2 --time 1-0", "--time 30 --array 1-3",
        "--time 30 --array 1-5%2 --run-as 'kfold --folds 5'", "--time 30 --chain 4", "--time 30 --system pbs",
        "--time 30 --system lsf", "--time 30 --container 'my image.sif' --gpus-per-node 1",
        "--time 30 --run 'a folder'"}) {
    const std::string file = place_->file("script.sh");
    const Ended ended = slurm(words + " --overwrite --out " + file);
    ASSERT_EQ(ended.status, 0) << words << ended.output;
    const Ended read = run_shell("bash -n " + file);
    EXPECT_EQ(read.status, 0) << words << read.output;
    EXPECT_EQ(count(read_file(file), " --progress "), words.find("kfold") == std::string::npos) << words;
  }
  EXPECT_NE(slurm("--time 30 --out " + place_->file("script.sh")).status, 0);  // it is there
}

TEST_F(SlurmScript, RefusesWhatCannotWork) {
  refuses("--nodes 3 --time 30", "power of two", "2 or 4 ranks");
  refuses("--nodes 16 --time 30", "which 16 ranks cannot share", "batch.");
  refuses("--gpus-per-node 8 --time 30 --partition gpu", "have 4", "--gpus-per-node 4");
  refuses("--gpus-per-node 1 --time 30 --partition cpu", "have none", "with GPUs");
  refuses("--time 30 --partition big", "none of that name", "cpu, gpu");
  refuses("--time 09:00:00 --partition gpu", "grants 08:00:00", "--time 08:00:00");
  refuses("--ranks-per-node 8 --cpus-per-task 9 --time 30 --partition cpu", "64 cores", "fewer");
  refuses("--time 2", "no time is left", "a --time of at least");
  refuses("--time soon", "--time soon", "04:00:00");
  refuses("--nodes 2", "--time is missing", "04:00:00");
  refuses("--time 30 --array 1-2 --system pbs", "Slurm only", "leave out");
  refuses("--time 30 --chain 3", "must be a file", "--out");
  refuses("--time 30 --run-as 'kfold --folds 5'", "goes with --array", "--array");
  refuses("--time 30 --set threads=2 --cpus-per-task 1", "2 threads", "--cpus-per-task 2");
  refuses("--time 30 --measured absent.json", "cannot be read", "bench step");
}

TEST_F(SlurmScript, EstimatesFromWhatWasMeasured) {
  // 20 epochs of 19 steps; a step of 2 ranks takes 1 s, of 4 with the same work for each half of it.
  write_file(place_->file("step.json"), "{\"ranks\": 2, \"global_batch\": 16, \"step_ms\": 1000}\n");
  const Ended four = slurm("--nodes 4 --cpus-per-task 2 --time 10 --signal-before 60 --measured " +
                           place_->file("step.json"));
  ASSERT_EQ(four.status, 0) << four.output;
  EXPECT_NE(four.output.find("380 steps of 500 ms"), std::string::npos) << four.output;
  EXPECT_NE(four.output.find("3 minutes, 0.4 core-hours, 1 start of this limit"), std::string::npos)
      << four.output;
  write_file(place_->file("study.json"),
             "{\"results\": [{\"ranks\": 1, \"step_ms\": 9000}, {\"ranks\": 2, \"step_ms\": 5000}]}\n");
  const Ended two = slurm("--nodes 2 --time 10 --signal-before 60 --measured " + place_->file("study.json"));
  EXPECT_NE(two.output.find("380 steps of 5e+03 ms"), std::string::npos) << two.output;
  EXPECT_NE(two.output.find("4 starts of this limit"), std::string::npos) << two.output;
  refuses("--nodes 4 --time 10 --measured " + place_->file("study.json"), "no row of 4 ranks", "--ranks 1,4");
}

TEST_F(SlurmScript, TwoStartsWithoutProgressAreEnough) {
  const std::string run = place_->file("watched");
  const auto start = [&] { return lockstep("slurm --progress " + run); };
  EXPECT_EQ(start().status, 0);
  ASSERT_EQ(lockstep(place_->train("watched") + "--set train.epochs=1").status, 0);
  EXPECT_EQ(start().status, 0);
  EXPECT_EQ(lockstep("slurm --finished " + run).status, 0);
  const Ended second = start();
  EXPECT_EQ(second.status, 0);
  EXPECT_NE(second.output.find("start 3: goes on from step 19"), std::string::npos) << second.output;
  const Ended third = start();
  EXPECT_EQ(third.status, 1);
  EXPECT_NE(third.output.find("without a checkpoint after step 19"), std::string::npos) << third.output;
  EXPECT_EQ(lockstep("slurm --finished " + place_->file("absent")).status, 1);
}

}  // namespace
}  // namespace lockstep
