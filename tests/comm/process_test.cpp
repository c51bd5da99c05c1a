// Signals and the launcher's environment, each in a process of its own (death tests).
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <thread>

#include "comm/agreement.h"
#include "comm/communicator.h"

namespace lockstep {
namespace {

using testing::ExitedWithCode;

/// Sends a signal to the process, as launchers do, and waits until it has arrived; 0 after a second without.
int stopped_by(int number) {
  kill(getpid(), number);
  for (int i = 0; i < 1000 && stop_signal() != number; ++i) usleep(1000);
  return stop_signal();
}

TEST(StopSignals, EachSignalSetsTheFlagAndTheProgramGoesOn) {
  for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP})
    EXPECT_EXIT(
        {
          take_stop_signals();
          if (stop_signal() != 0) _exit(90);
          _exit(stopped_by(number));
        },
        ExitedWithCode(number), "")
        << number;
}

TEST(StopSignals, ASignalToTheThreadItselfCounts) {
  EXPECT_EXIT(
      {
        take_stop_signals();
        raise(SIGTERM);
        _exit(stop_signal());
      },
      ExitedWithCode(SIGTERM), "");
}

TEST(StopSignals, NoHandlerRunsWhileTheStackPointerIsInTheHeap) {
  // Every thread blocks them, also those that are made later.
  EXPECT_EXIT(
      {
        take_stop_signals();
        sigset_t blocked;
        std::thread([&] { pthread_sigmask(SIG_BLOCK, nullptr, &blocked); }).join();
        for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP})
          if (!sigismember(&blocked, number)) _exit(number);
        _exit(0);
      },
      ExitedWithCode(0), "");
}

TEST(StopSignals, NohupIsRespected) {
  EXPECT_EXIT(
      {
        signal(SIGHUP, SIG_IGN);
        take_stop_signals();
        kill(getpid(), SIGHUP);
        _exit(stopped_by(SIGUSR2) == SIGUSR2 ? 0 : 1);
      },
      ExitedWithCode(0), "");
}

TEST(StopSignals, AReaderOfStdoutThatGoesAwayIsAStopAndNoWriteFails) {
  EXPECT_EXIT(
      {
        int ends[2];
        if (pipe(ends) != 0) _exit(91);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[1]);
        take_stop_signals();
        usleep(20000);
        if (stop_signal() != 0) _exit(92);
        close(ends[0]);
        for (int i = 0; i < 1000 && stop_signal() == 0; ++i) usleep(1000);
        if (write(STDOUT_FILENO, "text", 4) != 4) _exit(93);
        _exit(stop_signal());
      },
      ExitedWithCode(SIGPIPE), "");
}

TEST(StopSignals, SecondInterruptEndsAtOnce) {
  EXPECT_EXIT(
      {
        take_stop_signals();
        stopped_by(SIGINT);
        kill(getpid(), SIGINT);
        sleep(5);
        _exit(0);
      },
      ExitedWithCode(128 + SIGINT), "");
}

TEST(StopSignals, RepeatedTermKeepsRunning) {  // schedulers send SIGTERM more than once
  EXPECT_EXIT(
      {
        take_stop_signals();
        for (int i = 0; i < 5; ++i) {
          if (stopped_by(SIGTERM) != SIGTERM) _exit(1);
        }
        _exit(0);
      },
      ExitedWithCode(0), "");
}

void do_nothing(int) {}

TEST(StopSignals, HandlersOfLibrariesRunOnAnotherStack) {
  EXPECT_EXIT(
      {
        static uintptr_t frame = 0;
        signal(SIGALRM, [](int) {
          const volatile char here = 0;
          frame = reinterpret_cast<uintptr_t>(&here);
        });
        signal(SIGWINCH, do_nothing);
        move_handlers_to_signal_stacks();
        raise(SIGALRM);
        stack_t stack = {};
        sigaltstack(nullptr, &stack);
        const auto first = reinterpret_cast<uintptr_t>(stack.ss_sp);
        _exit(frame >= first && frame < first + stack.ss_size ? 0 : 1);
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
