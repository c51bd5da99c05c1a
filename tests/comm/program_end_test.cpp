// How a run on two ranks ends when one rank fails: promptly, with a non-zero status and a
// line that names rank and host; with status 0 when all is well.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <regex>
#include <string>

namespace {

struct Ended {
  int status = -1;
  double time_s = 0;
  std::string output;
};

Ended run(const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  Ended ended;
  std::FILE* pipe = popen(("timeout -k 5 50 " + command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ended;
  char buffer[512];
  while (std::fgets(buffer, sizeof(buffer), pipe) != nullptr) ended.output += buffer;
  const int status = pclose(pipe);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  ended.time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ended;
}

Ended on_two_ranks(const std::string& how) {
  return run(std::string(LOCKSTEP_MPIEXEC) + " -n 2 " + LOCKSTEP_END_PROGRAM + " " + how);
}

constexpr double kPromptly_s = 30;  // far above the 1-2 s it takes, far below a hang

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

void expect_line_of_rank_1(const Ended& ended, const std::string& message) {
  EXPECT_TRUE(std::regex_search(ended.output, std::regex("lockstep: rank 1 on [^ :]+: " + message)))
      << ended.output;
}

TEST(ProgramEnd, AllWellGivesStatusZeroAndSilence) {
  const Ended ended = on_two_ranks("well");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(ended.output, "");
}

TEST(ProgramEnd, OneThrowingRankEndsAll) {
  const Ended ended = on_two_ranks("throw");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_LT(ended.time_s, kPromptly_s);
  expect_line_of_rank_1(ended, "layer conv1: went wrong on one rank");
}

TEST(ProgramEnd, OneKilledRankEndsAll) {
  const Ended ended = on_two_ranks("kill");
  EXPECT_NE(ended.status, 0) << ended.output;
  EXPECT_NE(ended.status, 124) << "ended by the time limit";
  EXPECT_LT(ended.time_s, kPromptly_s);
}

TEST(ProgramEnd, ExitStatusIsTheOneAskedFor) {
  const Ended ended = on_two_ranks("status");
  EXPECT_EQ(ended.status, 7) << ended.output;
  expect_line_of_rank_1(ended, "status wanted");
}

TEST(ProgramEnd, AgreedErrorsArePrintedOnce) {
  const Ended ended = on_two_ranks("agreed");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_LT(ended.time_s, kPromptly_s);
  EXPECT_EQ(count(ended.output, "is not readable"), 1) << ended.output;
  expect_line_of_rank_1(ended, "shard.h5: is not readable\n  remedy: copy it again");
}

TEST(ProgramEnd, ThrowingBesideAReductionInFlightEndsAll) {
  const Ended ended = on_two_ranks("reducer");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_LT(ended.time_s, kPromptly_s);
  expect_line_of_rank_1(ended, "layer conv1: went wrong beside the reduction");
}

TEST(ProgramEnd, UnwindingPastTheSessionDoesNotWaitInFinalize) {
  const Ended ended = on_two_ranks("unwind");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_LT(ended.time_s, kPromptly_s);
  expect_line_of_rank_1(ended, "unwinding: passes the session on one rank");
}

/// As srun starts a process: its variables, and none of another launcher's.
Ended under_srun(const std::string& variables) {
  return run(
      "env -u OMPI_COMM_WORLD_RANK -u OMPI_COMM_WORLD_SIZE -u PMIX_RANK -u PMI_RANK -u PMI_SIZE "
      "SLURM_PROCID=1 SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 " +
      variables + " " + LOCKSTEP_END_PROGRAM + " session");
}

TEST(ProgramEnd, SrunWithoutPmixNamesTheRemedy) {
  const Ended ended = under_srun("");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_NE(ended.output.find("srun --mpi=pmix"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("started 4 processes"), std::string::npos) << ended.output;
}

TEST(ProgramEnd, ALauncherThatMpiDoesNotUnderstandNamesTheRemedy) {
  const Ended ended = run(std::string("env -u OMPI_COMM_WORLD_SIZE PMI_RANK=0 PMI_SIZE=2 ") +
                          LOCKSTEP_END_PROGRAM + " session");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_NE(ended.output.find("MPI connects only 1"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("srun --mpi=pmix"), std::string::npos) << ended.output;
}

TEST(ProgramEnd, OneRankNeedsNoLauncher) {
  const Ended ended = run(std::string(LOCKSTEP_END_PROGRAM) + " session");
  EXPECT_EQ(ended.status, 0) << ended.output;
}

}  // namespace
