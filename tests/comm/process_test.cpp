// Signals and the launcher's environment, each in a process of its own (death tests).
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "comm/agreement.h"
#include "comm/communicator.h"

namespace lockstep {
namespace {

using testing::ExitedWithCode;

TEST(StopSignals, EachSignalSetsTheFlagAndTheProgramGoesOn) {
  for (const int number : {SIGTERM, SIGINT, SIGUSR1})
    EXPECT_EXIT(
        {
          install_stop_signals();
          if (stop_signal() != 0) _exit(90);
          raise(number);
          _exit(stop_signal());
        },
        ExitedWithCode(number), "");
}

TEST(StopSignals, SecondInterruptEndsAtOnce) {
  EXPECT_EXIT(
      {
        install_stop_signals();
        raise(SIGINT);
        raise(SIGINT);
        _exit(0);
      },
      ExitedWithCode(128 + SIGINT), "");
}

TEST(StopSignals, RepeatedTermKeepsRunning) {  // schedulers send SIGTERM more than once
  EXPECT_EXIT(
      {
        install_stop_signals();
        for (int i = 0; i < 5; ++i) raise(SIGTERM);
        raise(SIGINT);
        _exit(stop_signal() == SIGINT ? 0 : 1);
      },
      ExitedWithCode(0), "");
}

/// The launcher's variables and nothing else of it.
void set_launcher(std::initializer_list<std::pair<const char*, const char*>> variables) {
  for (const char* name :
       {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID",
        "SLURM_NTASKS", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"})
    unsetenv(name);
  for (const auto& [name, value] : variables) setenv(name, value, 1);
}

void expect_launcher(int rank, int size,
                     std::initializer_list<std::pair<const char*, const char*>> variables) {
  EXPECT_EXIT(
      {
        set_launcher(variables);
        _exit(launcher_rank() == rank && launcher_size() == size ? 0 : 1);
      },
      ExitedWithCode(0), "");
}

TEST(Launcher, ReadsWhatEachLauncherSets) {
  expect_launcher(0, 1, {});
  expect_launcher(3, 8, {{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}});
  expect_launcher(2, 4,
                  {{"PMIX_RANK", "2"}, {"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}});
  expect_launcher(5, 6, {{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "6"}, {"SLURM_STEP_NUM_TASKS", "6"}});
  // mpirun inside a Slurm allocation: mpirun's own numbers count.
  expect_launcher(1, 2,
                  {{"OMPI_COMM_WORLD_RANK", "1"},
                   {"OMPI_COMM_WORLD_SIZE", "2"},
                   {"SLURM_NTASKS", "4"},
                   {"SLURM_PROCID", "0"},
                   {"SLURM_STEP_NUM_TASKS", "4"}});
  // A batch script runs one process, whatever the job's number of tasks.
  expect_launcher(0, 1, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "16"}});
  expect_launcher(0, 1, {{"OMPI_COMM_WORLD_SIZE", "many"}, {"PMIX_RANK", ""}});
}

}  // namespace
}  // namespace lockstep
