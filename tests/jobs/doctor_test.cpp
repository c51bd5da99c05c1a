// The doctor finds planted faults: in facts that are given, and with the program on ranks bound to one core,
// in a folder that cannot be written, on a disk that is full, and where MPI does not connect the processes.
#include <gtest/gtest.h>
#include <unistd.h>

#include "jobs/doctor/checks.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

/// Two hosts of two ranks, two cores each, all well.
std::vector<RankFacts> well() {
  std::vector<RankFacts> ranks(4);
  for (int r = 0; r < 4; ++r) {
    RankFacts& f = ranks[r];
    f.host = r < 2 ? "a" : "b";
    f.cpu = "AVX2", f.versions = "1", f.mpi = "MPI 1", f.file_system = "Lustre";
    f.cores = {r % 2};
    f.shm_free_bytes = f.folder_free_bytes = int64_t{8} << 30;
    f.writable = f.sees_root_file = true;
  }
  return ranks;
}

/// The names of the checks that do not say ok, "threads:warn " each.
std::string faults(const std::vector<RankFacts>& ranks) {
  std::string found;
  for (const DoctorCheck& check : doctor_checks()) {
    const Finding finding = check.judge(ranks);
    EXPECT_FALSE(finding.meaning.empty()) << check.name;
    EXPECT_EQ(finding.remedy.empty(), finding.verdict == Verdict::kOk) << check.name;
    if (finding.verdict != Verdict::kOk) found += check.name + ":" + verdict_word(finding.verdict) + " ";
  }
  return found;
}

template <class Change>
std::string faults_with(Change change) {
  std::vector<RankFacts> ranks = well();
  change(ranks);
  return faults(ranks);
}

TEST(DoctorChecks, FindEachPlantedFaultAndNothingElse) {
  using Ranks = std::vector<RankFacts>;
  EXPECT_EQ(faults(well()), "");
  EXPECT_EQ(faults({well()[0]}), "");
  EXPECT_EQ(faults_with([](Ranks& r) { r[3].cores = r[2].cores; }), "cores:fail threads:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[1].threads = 2; }), "threads:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[1].quota_cores = 0.5; }), "CPU quota:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[2].cpu = "AVX-512"; }), "CPU kind:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[2].versions = "2"; }), "versions:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[3].mpi = "MPI 2"; }), "MPI:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[1].writable = false; }), "writable:fail ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[2].sees_root_file = false; }), "shared folder:fail ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[0].file_system = "tmpfs"; }), "file system:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[0].folder_free_bytes = 1000; }), "free space:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[0].folder_free_inodes = 10; }), "free space:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[2].shm_free_bytes = 1 << 20; }), "/dev/shm:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[2].open_files = 256; }), "limits:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[2].locked_bytes = 65536; }), "limits:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[1].load = 9; }), "load:warn ");
  EXPECT_EQ(faults_with([](Ranks& r) { r[0].governor = "powersave"; }), "governor:warn ");
}

TEST(DoctorPage, NamesEveryCheckInItsTable) {
  const std::string page = read_file(std::string(LOCKSTEP_SOURCE_DIR) + "/docs/doctor.md");
  for (const DoctorCheck& check : doctor_checks())
    EXPECT_EQ(count(page, "\n| " + check.name + " |"), 1) << check.name;
  EXPECT_EQ(count(page, "\n| "), static_cast<int>(doctor_checks().size()) + 1);  // and the heading
}

TEST(Doctor, FindsRanksBoundToOneCore) {
  TemporaryFolder folder;
  const Ended ended =
      run_shell("taskset -c 0 " + lockstep_command(4, "doctor --folder " + folder.file("runs")));
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "4 ranks on "), 1) << ended.output;
  EXPECT_EQ(count(ended.output, "share 1 cores"), 1) << ended.output;
}

TEST(Doctor, RefusesProcessesThatMpiDoesNotConnect) {
  const Ended ended = run_shell("OMPI_COMM_WORLD_SIZE=3 " + std::string(LOCKSTEP_PROGRAM) + " doctor");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "each would train alone"), 1) << ended.output;
}

TEST(Doctor, FindsFoldersThatCannotBeWritten) {
  const Ended ended = lockstep("doctor --json --folder /proc");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_EQ(count(ended.output, "\"check\": \"writable\", \"verdict\": \"fail\""), 1) << ended.output;
  EXPECT_EQ(count(ended.output, "\"fit\": false"), 1) << ended.output;
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
  EXPECT_EQ(count(ended.output, "fail writable"), 1) << ended.output;
}

}  // namespace
}  // namespace lockstep
