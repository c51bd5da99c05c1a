// The doctor finds planted faults: in facts that are given, and with the program on ranks bound to one core,
// in a folder that cannot be written, on a disk that is full, and where MPI does not connect the processes.
#include <gtest/gtest.h>
#include <unistd.h>

#include "jobs/doctor/checks.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

/// Two hosts of two ranks, a core each, all well.
std::vector<RankFacts> well() {
  std::vector<RankFacts> ranks(4);
  for (int r = 0; r < 4; ++r) {
    RankFacts& f = ranks[r];
    f.host = r < 2 ? "a" : "b", f.cores = std::to_string(r % 2);
    f.cpu = "AVX2", f.program = "1", f.folder_kind = "Lustre", f.open_files = 4096;
    f.shm_free_bytes = f.folder_free_bytes = int64_t{8} << 30;
    f.folder_is_writable = f.folder_is_seen = true;
  }
  return ranks;
}

template <class Change>
std::string faults_with(Change change) {
  std::vector<RankFacts> ranks = well();
  Measured measured{.small_us = 5, .large_gb_per_s = 2, .copy_gb_per_s = 9, .checkpoint_mb_per_s = 300};
  change(ranks, measured);
  std::string found;
  for (const Finding& finding : judge(ranks, measured)) {
    EXPECT_EQ(finding.remedy.empty(), finding.health == Health::kOk) << finding.check;
    if (finding.health != Health::kOk)
      found += finding.check + (finding.health == Health::kFail ? ":fail " : ":warn ");
  }
  return found;
}

TEST(DoctorChecks, TheStartOfARunSaysWhatCostsBitsAndRefusesFoldersApart) {
  const auto brief = [](auto change, bool means_it = false) {
    std::vector<RankFacts> ranks = well();
    change(ranks);
    return judge_briefly(ranks, means_it);
  };
  using Ranks = std::vector<RankFacts>;
  EXPECT_TRUE(brief([](Ranks&) {}).warnings.empty());
  EXPECT_EQ(brief([](Ranks&) {}).refusal, "");
  EXPECT_EQ(brief([](Ranks& r) { r[2].cpu = "AVX-512"; }).warnings.size(), 1U);
  EXPECT_EQ(brief([](Ranks& r) { r[3].program = "2"; }).warnings.size(), 1U);
  EXPECT_EQ(brief([](Ranks& r) { r[3].cores = r[2].cores; }).warnings.size(), 1U);
  EXPECT_TRUE(brief([](Ranks& r) { r[3].cores = r[2].cores; }, true).warnings.empty());
  EXPECT_NE(brief([](Ranks& r) { r[2].folder_is_seen = r[2].folder_is_writable = false; }).refusal, "");
  // Where nobody can write, the run itself says so.
  EXPECT_EQ(brief([](Ranks& r) {
              for (RankFacts& rank : r) rank.folder_is_seen = rank.folder_is_writable = false;
            }).refusal,
            "");
}

TEST(DoctorChecks, FindEachPlantedFaultAndNothingElse) {
  using Ranks = std::vector<RankFacts>;
  EXPECT_EQ(faults_with([](Ranks&, Measured&) {}), "");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r.pop_back(); }), "ranks:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[3].cores = r[2].cores; }), "cores:fail ");
  // Two of three ranks on one core, though the host has as many cores as ranks.
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) {
              for (RankFacts& rank : r) rank.host = "a";
              r[0].cores = r[1].cores = "0", r[2].cores = "1,2,3", r[3].cores = "1,2,3";
            }),
            "cores:fail ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[0].quota_cores = 0.5; }), "cores:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[1].threads = 2; }), "cores:fail threads:fail ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[2].cpu = "AVX-512"; }), "processors:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[2].program = "2"; }), "versions:fail ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[2].clock_ahead_s = -3; }), "clocks:warn ");
  EXPECT_EQ(faults_with([](Ranks&, Measured& m) { m.large_gb_per_s = 0.05; }), "all-reduce:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[1].folder_is_writable = false; }), "folder:fail ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[2].folder_is_seen = false; }), "folder:fail ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[0].folder_kind = "tmpfs"; }), "file system:warn ");
  EXPECT_EQ(faults_with([](Ranks&, Measured& m) { m.checkpoint_mb_per_s = 5; }), "file system:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[0].folder_free_inodes = 10; }), "space:fail ");
  EXPECT_EQ(faults_with([](Ranks&, Measured& m) { m.job_checkpoint_bytes = int64_t{9} << 30; }),
            "space:fail ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[2].shm_free_bytes = 1 << 20; }), "shared memory:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[2].open_files = 256; }), "open files:warn ");
  EXPECT_EQ(faults_with([](Ranks& r, Measured&) { r[0].load = 9; }), "load:warn ");
}

TEST(DoctorPage, NamesEveryCheckInItsTable) {
  const std::string page = read_file(std::string(LOCKSTEP_SOURCE_DIR) + "/docs/doctor.md");
  for (const std::string& name : check_names()) EXPECT_EQ(count(page, "\n| " + name + " |"), 1) << name;
  EXPECT_EQ(count(page, "\n| "), static_cast<int>(check_names().size()) + 1);  // and the heading
}

TEST(Doctor, RefusesProcessesThatMpiDoesNotConnect) {
  const Ended ended = run_shell("OMPI_COMM_WORLD_SIZE=3 " + std::string(LOCKSTEP_PROGRAM) + " doctor");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "each would train alone"), 1) << ended.output;
}

TEST(Doctor, FindsRanksBoundToOneCore) {
  TemporaryFolder folder;
  const Ended ended = run_shell("taskset -c 0 " + lockstep_command(4, "doctor --folder " + folder.path()));
  EXPECT_NE(ended.status, 0) << ended.output;
  EXPECT_EQ(count(ended.output, "4 ranks with 4 threads share 1 core"), 1) << ended.output;
}

TEST(Doctor, FindsFoldersThatCannotBeWritten) {
  const Ended ended = lockstep("doctor --json --folder /proc");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "\"check\": \"folder\", \"health\": \"fail\""), 1) << ended.output;
  EXPECT_EQ(count(ended.output, "\"fit\": false"), 1) << ended.output;
  EXPECT_EQ(count(ended.output, "read back whole"), 0) << ended.output;
}

TEST(Doctor, FindsFullDisks) {
  TemporaryFolder folder;
  const std::string disk = folder.file("disk");
  if (geteuid() != 0 ||
      run_shell("mkdir " + disk + " && mount -t tmpfs -o size=64k tmpfs " + disk).status != 0)
    GTEST_SKIP() << "only root can mount a small disk";
  run_shell("head -c 65536 /dev/zero > " + disk + "/full");
  const Ended ended = lockstep("doctor --folder " + disk);
  run_shell("umount " + disk);
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "FAIL  folder"), 1) << ended.output;
  EXPECT_EQ(count(ended.output, "not fit to train"), 1) << ended.output;
}

TEST(Doctor, FindsTooManyThreads) {
  TemporaryFolder folder;
  const Ended ended = run_shell("OMP_NUM_THREADS=1000 " + std::string(LOCKSTEP_PROGRAM) +
                                " doctor --folder " + folder.path());
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "rank 0 has 1000 threads on "), 1) << ended.output;
}

}  // namespace
}  // namespace lockstep
