// kill -9 at random moments while checkpoints are written: every file that has a checkpoint's name is
// whole, the newest or the one before is there, and the link to the last one points at a whole file.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "io/checkpoint/checkpoint.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

TEST(CheckpointKill, ThePreviousOrTheNewOneIsWhole) {
  std::mt19937_64 random(7);
  int n_checked = 0, n_temporary = 0;
  for (int round = 0; round < 16; ++round) {
    const TemporaryFolder folder;
    const int n_ranks = 1 + round % 2,
              killed_rank = static_cast<int>(random() % static_cast<uint64_t>(n_ranks));
    const uint64_t delay_us = random() % 120000;
    const std::string launcher = n_ranks > 1 ? std::string(LOCKSTEP_MPIEXEC) + " -n 2 " : "";
    const std::string command = launcher + LOCKSTEP_CHECKPOINT_WRITER + " " + folder.path() + " odd " +
                                std::to_string(killed_rank) + " " + std::to_string(delay_us) +
                                " > /dev/null 2>&1";
    ASSERT_NE(std::system(command.c_str()), 0);
    const std::vector<std::string> paths = list_checkpoints(folder.path());
    ASSERT_FALSE(paths.empty()) << "round " << round;
    for (const std::string& path : paths) {
      EXPECT_EQ(verify_checkpoint(path), std::vector<std::string>()) << "round " << round;
      ++n_checked;
    }
    n_temporary += static_cast<int>(list_temporary_files(folder.path()).size());
    const int64_t newest = checkpoint_step(paths.back()),
                  linked = linked_checkpoint(folder.path(), kLastLink);
    // Killed between the first file's name and its link, there is no link yet.
    if (linked >= 0) {
      EXPECT_GE(linked, newest - 1);
    }
  }
  EXPECT_GE(n_checked, 16);
  EXPECT_GT(n_temporary, 0) << "no kill met a write";
}

}  // namespace
}  // namespace lockstep
