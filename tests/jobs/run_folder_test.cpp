// Nothing of an old run, of another process or of the user is lost or written over: --overwrite, the lock of
// a run folder, outputs over what exists.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "io/checkpoint/checkpoint.h"
#include "io/files/folder_lock.h"
#include "kernels/error.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

/// Every file below a folder with its content.
std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && !entry.is_symlink())
      files[entry.path().string()] = read_file(entry.path());
  }
  return files;
}

class RunFolders : public SmallRuns {};

TEST_F(RunFolders, OverwriteThatFailsLeavesTheOldRunAsItWas) {
  ASSERT_EQ(lockstep(train("kept")).status, 0);
  const auto before = content_of(file("kept"));
  ASSERT_GT(before.size(), 10U);
  for (const char* wrong : {"--set data.train.path=/nowhere", "--set model.width=3", "--set batch.micro=3",
                            "--set data.train.target=nothing", "--set model.zoo=lenet5"}) {
    const Ended ended = lockstep(train("kept") + "--overwrite " + wrong);
    EXPECT_EQ(ended.status, 1) << wrong << "\n" << ended.output;
    EXPECT_TRUE(content_of(file("kept")) == before) << wrong;
  }
  const Ended ranks = lockstep_on(2, train("kept") + "--overwrite --set batch.micro=8");
  EXPECT_EQ(ranks.status, 1) << ranks.output;
  EXPECT_TRUE(content_of(file("kept")) == before);
  // An error after the start, before anything was saved.
  const Ended diverges = lockstep(train("kept") +
                                  "--overwrite --set optimizer.sgd.lr=1e38 --set train.epochs=1 "
                                  "--set checkpoint.every_steps=0 --set loss=l2");
  EXPECT_NE(diverges.status, 0) << diverges.output;

  const Ended ended = lockstep(train("kept") + "--overwrite --set train.epochs=1");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(list_checkpoints(file("kept/checkpoints")).size(), 3U);
  EXPECT_FALSE(fs::exists(file("kept/.replaced")));
  EXPECT_FALSE(fs::exists(file("kept/.lock")));
}

TEST_F(RunFolders, AReplacedRunSurvivesTheEndOfTheNewOneBeforeItsFirstSave) {
  ASSERT_EQ(lockstep(train("twice")).status, 0);
  const std::string old = read_file(checkpoint("twice", 24));
  const std::string forever = train("twice") +
                              "--overwrite --set train.epochs=1000000 --set checkpoint.every_steps=0 --set "
                              "checkpoint.every_epochs=1000000 --set data.validation.path=" +
                              file("nan.h5");
  const Ended killed =
      run_shell("timeout -s KILL 3 " + std::string(LOCKSTEP_PROGRAM) + " " + forever + "; true");
  ASSERT_TRUE(fs::exists(file("twice/.replaced/complete"))) << killed.output;
  EXPECT_TRUE(read_file(file("twice/.replaced/checkpoints/step-000000024.h5")) == old);
  const Ended plain = lockstep(train("twice"));
  EXPECT_EQ(plain.status, 1) << plain.output;
  // A second try that fails puts the old one back.
  EXPECT_EQ(lockstep(train("twice") + "--overwrite --set data.train.target=nothing").status, 1);
  EXPECT_TRUE(read_file(checkpoint("twice", 24)) == old);
}

TEST_F(RunFolders, ForeignFilesStay) {
  fs::create_directories(file("foreign/checkpoints"));
  write_file(file("foreign/metrics.jsonl"), "mine\n");
  write_file(file("foreign/checkpoints/weights.pt"), "mine too\n");
  for (const char* options : {"", "--overwrite", "--resume auto"}) {
    const Ended ended = lockstep(train("foreign") + options);
    EXPECT_EQ(ended.status, 1) << ended.output;
    EXPECT_TRUE(has(ended, "no run of lockstep has written it")) << ended.output;
  }
  EXPECT_EQ(read_file(file("foreign/metrics.jsonl")), "mine\n");
  fs::remove(file("foreign/metrics.jsonl"));
  fs::create_directories(file("foreign/tb"));
  write_file(file("foreign/tb/events.out.tfevents.1.other"), "mine");
  write_file(file("foreign/checkpoints/step-5.txt"), "mine");
  EXPECT_EQ(lockstep(train("foreign") + "--overwrite").status, 0);
  EXPECT_EQ(lockstep(train("foreign") + "--overwrite").status, 0);
  EXPECT_EQ(read_file(file("foreign/checkpoints/weights.pt")), "mine too\n");
  EXPECT_EQ(read_file(file("foreign/checkpoints/step-5.txt")), "mine");
  EXPECT_EQ(read_file(file("foreign/tb/events.out.tfevents.1.other")), "mine");
  for (const char* name : {"..", "."}) {
    const Ended ended = lockstep("train " + file("job.yaml") + " --overwrite --set name=" + name);
    EXPECT_EQ(ended.status, 1) << ended.output;
    EXPECT_TRUE(has(ended, "name")) << ended.output;
  }
}

TEST_F(RunFolders, TheUsersJobFileIsNotRewritten) {
  fs::create_directories(file("exp"));
  fs::copy(file("job.yaml"), file("exp/job.yaml"));
  const std::string before = read_file(file("exp/job.yaml")) + "# a comment of mine\n";
  write_file(file("exp/job.yaml"), before);
  const std::string words =
      "train " + file("exp/job.yaml") + " --out " + file("exp") + " --set train.epochs=1";
  ASSERT_EQ(lockstep(words).status, 0);
  EXPECT_EQ(read_file(file("exp/job.yaml")), before);
  EXPECT_NE(read_file(file("exp/job.resolved.yaml")).find("epochs: 1"), std::string::npos);
  ASSERT_EQ(lockstep(words + " --overwrite").status, 0);
  EXPECT_EQ(read_file(file("exp/job.yaml")), before);
}

TEST_F(RunFolders, OneRunAtATime) {
  const std::string forever = train("live") +
                              "--set train.epochs=1000000 --set checkpoint.every_steps=0 --set "
                              "checkpoint.every_epochs=1000000 --set data.validation.path=" +
                              file("nan.h5");
  std::thread background([&] {
    run_shell("echo $$ > " + file("live.pid") + "; exec " + std::string(LOCKSTEP_PROGRAM) + " " + forever);
  });
  for (int i = 0; i < 4000 && !fs::exists(file("live/metrics.jsonl")); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(fs::exists(file("live/metrics.jsonl")));
  const std::string pid = std::to_string(std::stoi(read_file(file("live.pid"))));
  for (const char* options : {"", "--overwrite", "--resume auto"}) {
    const Ended ended = lockstep(train("live") + options);
    EXPECT_EQ(ended.status, 1) << ended.output;
    EXPECT_TRUE(has(ended, "in use by lockstep train on ")) << ended.output;
    EXPECT_TRUE(has(ended, "process " + pid + ", since 20")) << ended.output;
    EXPECT_EQ(count(ended.output, "in use"), 1) << ended.output;
  }
  const Ended repair = lockstep("repair " + file("live"));
  EXPECT_EQ(repair.status, 1) << repair.output;
  EXPECT_TRUE(has(repair, "in use")) << repair.output;
  kill(std::stoi(pid), SIGKILL);
  background.join();
  EXPECT_TRUE(fs::exists(file("live/.lock")));
  const Ended next = lockstep_on(2, train("live"));
  EXPECT_EQ(next.status, 0) << next.output;
  EXPECT_TRUE(has(next, "is gone; taking over")) << next.output;
  EXPECT_FALSE(fs::exists(file("live/.lock")));
}

TEST_F(RunFolders, LocksOfOtherHostsAreHeldAsLongAsTheyAreTouched) {
  fs::create_directories(file("far"));
  const std::string lock = file("far/.lock");
  const std::string text =
      "{\"host\": \"elsewhere\", \"pid\": 1, \"since\": \"2026-01-01 00:00:00\", \"command\": \"train\", "
      "\"process_start\": \"1\", \"place\": \"another boot\"}\n";
  write_file(lock, text);
  std::atomic<bool> ends{false};
  std::thread holder([&] {
    while (!ends) {
      std::this_thread::sleep_for(std::chrono::milliseconds(700));
      fs::last_write_time(lock, fs::file_time_type::clock::now());
    }
  });
  EXPECT_THROW(FolderLock(file("far"), "train"), Error);
  ends = true;
  holder.join();
  fs::last_write_time(lock, fs::file_time_type::clock::now() - std::chrono::seconds(65));
  {
    const FolderLock taken(file("far"), "train");
    EXPECT_NE(read_file(lock), text);
    EXPECT_THROW(FolderLock(file("far"), "train"), Error);  // this process lives
    taken.check_held();
    write_file(lock, text);
    EXPECT_THROW(taken.check_held(), Error);
  }
  EXPECT_EQ(read_file(lock), text) << "another process's lock was removed";
  // A process of this number, but another start: the number was given anew.
  write_file(lock, "");
  fs::last_write_time(lock, fs::file_time_type::clock::now() - std::chrono::seconds(65));
  const FolderLock taken(file("far"), "train");
}

TEST_F(RunFolders, OutputsDoNotReplaceFilesUnasked) {
  ASSERT_EQ(lockstep(train("source") + "--set train.epochs=1").status, 0);
  const std::string from = checkpoint("source", 8), before = read_file(from);
  const std::string weights = file("w.safetensors");
  EXPECT_EQ(lockstep("export " + from + " --out " + weights).status, 0);
  const Ended again = lockstep("export " + from + " --out " + weights);
  EXPECT_EQ(again.status, 1);
  EXPECT_TRUE(has(again, "--overwrite")) << again.output;
  EXPECT_EQ(lockstep("export " + from + " --out " + weights + " --overwrite").status, 0);
  for (const char* options : {"", " --overwrite"}) {
    EXPECT_EQ(lockstep("export " + from + " --out " + from + options).status, 1);
    EXPECT_EQ(
        lockstep("import " + weights + " --job " + file("job.yaml") + " --out " + weights + options).status,
        1);
  }
  EXPECT_TRUE(read_file(from) == before);

  fs::create_directories(file("start.h5.tmp"));
  write_file(file("start.h5.tmp/mine"), "mine");
  const std::string import =
      "import " + weights + " --job " + file("job.yaml") + " --out " + file("start.h5");
  EXPECT_EQ(lockstep(import).status, 0);
  EXPECT_EQ(read_file(file("start.h5.tmp/mine")), "mine");
  EXPECT_EQ(lockstep(import).status, 1);
  EXPECT_EQ(lockstep_on(2, import + " --overwrite").status, 0);
  int n_hidden = 0;
  for (const auto& entry : fs::directory_iterator(file("")))
    n_hidden += entry.path().filename().string().starts_with(".start.h5");
  EXPECT_EQ(n_hidden, 0);
}

TEST_F(RunFolders, LocalCopiesTouchNoOtherFiles) {
  fs::create_directories(file("victim"));
  write_file(file("victim/mine"), "mine");
  const std::string local =
      "--set checkpoint.local.folder=" + file("copies") + " --set checkpoint.local.every_steps=2 ";
  ASSERT_EQ(lockstep(train("with_id") + local + "--set train.epochs=1").status, 0);
  EXPECT_TRUE(fs::is_empty(file("copies")));
  write_file(file("with_id/run_id"), "x/../../victim\n");
  const Ended ended = lockstep(train("with_id") + local + "--resume auto");
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_TRUE(has(ended, "16 hexadecimal digits")) << ended.output;
  EXPECT_EQ(read_file(file("victim/mine")), "mine");
}

TEST_F(RunFolders, NamesThatHdf5CannotStoreAreRefusedWithTheJob) {
  const std::string head =
      "name: n\ndata: {train: {path: " + file("train.h5") +
      "}}\nbatch: {global: 8}\noptimizer: {sgd: {lr: 0.1}}\ntrain: {epochs: 1}\nmodel: {layers: [";
  for (const char* names : {"/a", "a//b", "a/./b", "./a"}) {
    write_file(file("names.yaml"), head + "{affine: {name: '" + names + "', features: 4}}]}\n");
    const Ended ended = lockstep("train " + file("names.yaml") + " --out " + file("names"));
    EXPECT_EQ(ended.status, 1) << names << ended.output;
    EXPECT_TRUE(has(ended, "HDF5 cannot store")) << ended.output;
    EXPECT_FALSE(fs::exists(file("names"))) << "an empty folder stays";
  }
  write_file(file("names.yaml"),
             head + "{affine: {name: 'a.weight/b', features: 5}}, {affine: {name: a, features: 4}}]}\n");
  const Ended ended = lockstep("train " + file("names.yaml") + " --out " + file("names"));
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_TRUE(has(ended, "would have to be a group")) << ended.output;
}

// Signals interrupt calls on some network file systems.
TEST_F(RunFolders, InterruptedWritesAreRepeated) {
  ASSERT_EQ(lockstep(train("uninterrupted")).status, 0);
  for (const int ranks : {1, 2}) {
    for (const char* waits : {"true", "false"}) {
      const std::string run = std::string("interrupted_") + waits + std::to_string(ranks);
      const Ended ended =
          run_shell("env LD_PRELOAD=" LOCKSTEP_INTERRUPTED_WRITES " " +
                    lockstep_command(ranks, train(run) + "--set checkpoint.asynchronous=" + waits));
      EXPECT_EQ(ended.status, 0) << ended.output;
      EXPECT_FALSE(has(ended, "NOT SAVED")) << ended.output;
      const std::vector<CheckpointEntry> a = list_checkpoint(checkpoint(run, 24)),
                                         b = list_checkpoint(checkpoint("uninterrupted", 24));
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].checksum, b[i].checksum) << a[i].name;
      EXPECT_EQ(lockstep("verify " + file(run)).status, 0);
    }
  }
}

// Containers may lack /dev/shm, or /proc, or both.
TEST_F(RunFolders, HardenedContainersSaveToo) {
  if (run_shell("unshare -m mount -t tmpfs -o ro tmpfs /dev/shm").status != 0)
    GTEST_SKIP() << "no permission to mount";
  ASSERT_EQ(lockstep(train("open")).status, 0);
  const std::string no_shm = "mount -t tmpfs -o ro tmpfs /dev/shm; ",
                    no_proc = "mount -t tmpfs -o ro tmpfs /proc; ";
  int n = 0;
  for (const std::string& mounts : {no_shm, no_proc, no_shm + no_proc}) {
    for (const int ranks : {1, 2}) {
      if (ranks > 1 && mounts != no_shm) continue;  // this mpirun needs /proc itself
      const std::string run = "hardened" + std::to_string(n++);
      const std::string words = train(run) + "--set checkpoint.every_steps=8";
      const Ended ended = run_shell(
          "unshare -m sh -c \"" + mounts +
          (ranks == 1 ? std::string(LOCKSTEP_PROGRAM) + " " + words : lockstep_command(ranks, words)) + "\"");
      EXPECT_EQ(ended.status, 0) << mounts << ended.output;
      EXPECT_FALSE(has(ended, "NOT SAVED")) << ended.output;
      EXPECT_EQ(lockstep("verify " + file(run)).status, 0) << mounts << ended.output;
      const std::vector<CheckpointEntry> a = list_checkpoint(checkpoint(run, 24)),
                                         b = list_checkpoint(checkpoint("open", 24));
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].checksum, b[i].checksum) << a[i].name;
    }
  }
}

TEST_F(RunFolders, VerifyKnowsCheckpointsByTheirContent) {
  ASSERT_EQ(lockstep(train("verified") + "--set train.epochs=1").status, 0);
  fs::copy(checkpoint("verified", 8), file("mine.h5"));
  EXPECT_TRUE(has(lockstep("verify " + file("mine.h5")), ": whole"));
  EXPECT_TRUE(has(lockstep("inspect " + file("mine.h5")), "parameters"));
  const std::string bytes = read_file(file("mine.h5"));
  for (const size_t at : {size_t{300}, bytes.size() / 2, bytes.size() - 20}) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 8);
    write_file(file("mine.h5"), damaged);
    const Ended ended = lockstep("verify " + file("mine.h5"));
    EXPECT_EQ(ended.status, 1) << ended.output;
    EXPECT_TRUE(has(ended, "DAMAGED")) << at << ended.output;
  }
}

TEST_F(RunFolders, AnExportHasTheAveragesOfLayersBelowInput) {
  write_file(file("averages.yaml"),
             "name: n\ndata: {train: {path: " + file("train.h5") +
                 "}}\nbatch: {global: 8}\noptimizer: {sgd: {lr: 0.1}}\ntrain: {epochs: 1}\n"
                 "model: {layers: [{affine: {name: a, features: 4}}, {batch_norm: {name: "
                 "input.norm}}, {affine: {name: b, features: 4}}]}\n");
  const Ended ended = lockstep("train " + file("averages.yaml") + " --out " + file("averages"));
  ASSERT_EQ(ended.status, 0) << ended.output;
  ASSERT_EQ(lockstep("export " + checkpoint("averages", 8) + " --out " + file("averages.safetensors")).status,
            0);
  const std::string header = read_file(file("averages.safetensors")).substr(0, 2000);
  EXPECT_NE(header.find("\"input.norm.running_mean\""), std::string::npos) << header;
  EXPECT_NE(header.find("\"input.norm.running_var\""), std::string::npos) << header;
}

TEST_F(RunFolders, TensorBoardHasTheSettingsOfAnyJob) {
  const Ended ended = lockstep(train("settings") + "--set data.validation= --set schedule=");
  ASSERT_EQ(ended.status, 0);
  EXPECT_FALSE(has(ended, "NOT WRITTEN")) << ended.output;
  const std::string events = read_file(file("settings/tb/events.out.tfevents.lockstep"));
  for (const char* part : {"_hparams_/session_start_info", "optimizer.sgd.lr", "batch.global", "```yaml"})
    EXPECT_NE(events.find(part), std::string::npos) << part;
}

TEST_F(RunFolders, TopTellsHowRunsAreDoing) {
  ASSERT_EQ(lockstep(train("top")).status, 0);
  const Ended done = lockstep("top " + file("top"));
  EXPECT_EQ(done.status, 0);
  for (const char* part : {"small: finished, step 24 of 24, epoch 3.00, 1 rank\n", "training loss",
                           "validation accuracy", "█", "checkpoint at step 24: step-000000024.h5"})
    EXPECT_TRUE(has(done, part)) << part << "\n" << done.output;
  EXPECT_FALSE(has(done, "\033")) << "no terminal, no control sequences";

  // A run that was killed: without its last line it goes on, until nothing was written for long.
  const std::string metrics = file("top/metrics.jsonl");
  std::string text = read_file(metrics);
  text.resize(text.find("{\"kind\": \"end\""));
  write_file(metrics, text);
  const Ended running = lockstep("top --once " + file("top"));
  EXPECT_TRUE(has(running, "small: running, step 24 of 24")) << running.output;
  std::filesystem::last_write_time(metrics,
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  const Ended silent = lockstep("top " + file("top"));
  EXPECT_TRUE(has(silent, "silent for 2 h 00 min: lost, or stopped")) << silent.output;

  EXPECT_EQ(lockstep("top " + file("top") + " --every 0").status, 2);
  const Ended nothing = lockstep("top " + file("nowhere"));
  EXPECT_EQ(nothing.status, 1);
  EXPECT_TRUE(has(nothing, "there is no such file")) << nothing.output;
}

}  // namespace
}  // namespace lockstep
