// A disk that fills up while a checkpoint is saved, on 1, 2 and 4 ranks: every rank throws
// AgreedError, the previous checkpoint stays whole, no temporary file and no open file is
// left, and the program goes on to save elsewhere. A file of predictions leaves nothing either.
//
// Two ways to fill it: a real small tmpfs (needs the right to mount), and a limit on the file
// size of one rank (RLIMIT_FSIZE), which meets each single write of the save in turn.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/checkpoint_write.h"
#include "io/loader/row_file.h"
#include "tests/io/checkpoint_state.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

int64_t n_open_files() {
  int64_t n = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

class FullDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name;
    if (comm.is_root()) {
      name = (fs::temp_directory_path() / "lockstep-full-XXXXXX").string();
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
    }
    folder = comm.broadcast_string(name);
  }
  void TearDown() override {
    comm.barrier();
    if (comm.is_root()) fs::remove_all(folder);
  }
  /// Collective. Empty where the save succeeds; else the agreed message.
  std::string try_save(const std::string& where, int64_t step) {
    state.info.step = step;
    try {
      save_checkpoint(comm, where, state.info, state.tensors());
    } catch (const AgreedError& error) {
      return error.what();
    }
    return "";
  }
  static int64_t n_files(const std::string& where) {
    return std::distance(fs::directory_iterator(where), fs::directory_iterator());
  }

  Communicator comm = Communicator::world();
  TestState state = make_state("odd");  // 16.7 MB
  std::string folder;
};

TEST_F(FullDiskTest, SmallTmpfs) {
  const std::string small = folder + "/small";
  int64_t mounted = 0;
  if (comm.is_root()) {
    fs::create_directory(small);
    mounted = ::mount("none", small.c_str(), "tmpfs", 0, "size=24m") == 0;
  }
  mounted = comm.all_reduce_max(mounted);
  if (!mounted) GTEST_SKIP() << "mounting a small tmpfs is not permitted here";

  ASSERT_EQ(try_save(small, 1), "");
  for (int64_t repeat = 0; repeat < 2; ++repeat) {
    const std::string message = try_save(small, 2 + repeat);
    EXPECT_NE(message.find("free space on that file system"), std::string::npos) << message;
    comm.barrier();
    EXPECT_EQ(n_files(small), 1);
    EXPECT_EQ(verify_checkpoint(small + "/step-000000001.h5"), std::vector<std::string>());
    EXPECT_EQ(try_save(folder + "/good", 10 + repeat), "");
  }
  EXPECT_EQ(list_checkpoints(folder + "/good").size(), 2u);
  comm.barrier();
  if (comm.is_root()) fs::remove(small + "/step-000000001.h5");
  comm.barrier();
  EXPECT_EQ(try_save(small, 4), "") << "after space was freed";
  comm.barrier();
  if (comm.is_root()) {
    EXPECT_EQ(::umount(small.c_str()), 0);
  }
}

TEST_F(FullDiskTest, EveryWriteOfEveryRankMayFail) {
  ASSERT_EQ(try_save(folder, 1), "");
  const auto n_file_bytes = static_cast<int64_t>(fs::file_size(folder + "/step-000000001.h5"));
  const int64_t n_open = n_open_files();
  std::signal(SIGXFSZ, SIG_IGN);
  int64_t n_failed = 0;
  for (const int failing_rank : {0, comm.size() - 1}) {
    for (const int64_t limit :
         {int64_t{0}, int64_t{50}, int64_t{100}, int64_t{5000}, int64_t{9000}, int64_t{66000}, int64_t{70000},
          n_file_bytes / 2, n_file_bytes - 4000000, n_file_bytes - 1}) {
      rlimit old{};
      ::getrlimit(RLIMIT_FSIZE, &old);
      if (comm.rank() == failing_rank) {
        const rlimit tight{static_cast<rlim_t>(limit), old.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &tight);
      }
      const std::string message = try_save(folder, 2);
      ::setrlimit(RLIMIT_FSIZE, &old);
      comm.barrier();
      // Only rank 0 writes the file's end, and the last rank may own none of the first bytes.
      if (failing_rank == 0 || limit < n_file_bytes / 2) {
        EXPECT_NE(message, "") << "rank " << failing_rank << " limit " << limit;
      }
      if (message.empty()) continue;
      ++n_failed;
      EXPECT_EQ(n_files(folder), 1) << "rank " << failing_rank << " limit " << limit;
      EXPECT_EQ(n_open_files(), n_open) << "rank " << failing_rank << " limit " << limit << "\n" << message;
    }
  }
  EXPECT_GE(n_failed, 16);
  EXPECT_EQ(verify_checkpoint(folder + "/step-000000001.h5"), std::vector<std::string>());
  EXPECT_EQ(try_save(folder, 2), "");
  EXPECT_EQ(verify_checkpoint(folder + "/step-000000002.h5"), std::vector<std::string>());
}

TEST_F(FullDiskTest, SomebodyRemovesFilesAtAnyMoment) {
  const std::string where = folder + "/swept";
  std::atomic<bool> ends = false;
  std::thread sweeper;
  if (comm.is_root()) {
    sweeper = std::thread([&] {
      std::error_code ignored;
      for (int i = 0; !ends; ++i) {
        for (const auto& entry : fs::directory_iterator(where, ignored)) fs::remove(entry.path(), ignored);
        std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 1000));
      }
    });
  }
  state = make_state("tiny");
  const int64_t n_open = n_open_files();
  int64_t n_failed = 0;
  for (int64_t step = 0; step < 300; ++step) {
    if (comm.is_root()) {
      std::error_code ignored;
      fs::create_directories(where, ignored);
    }
    n_failed += !try_save(where, step).empty();
  }
  ends = true;
  if (sweeper.joinable()) sweeper.join();
  EXPECT_GT(n_failed, 50);
  EXPECT_EQ(comm.all_reduce_max(n_failed), n_failed);
  EXPECT_EQ(n_open_files(), n_open);
  if (comm.is_root()) fs::create_directories(where);
  comm.barrier();
  EXPECT_EQ(try_save(where, 1), "");
}

TEST_F(FullDiskTest, RootFailsWhileAllWriteContent) {
  const std::string path = folder + "/.step-000000009.h5.tmp";
  std::vector<CheckpointEntry> entries;
  for (const TestTensor& t : state.storage) entries.push_back({t.name, t.shape, t.dtype, 0});
  const auto pieces = checkpoint_format::deal_pieces(state.tensors(), comm.size());
  checkpoint_format::PieceData data;
  for (const auto& piece : pieces)
    data.push_back(state.storage[static_cast<size_t>(piece.tensor)].bytes.data() + piece.first_byte);
  std::signal(SIGXFSZ, SIG_IGN);
  const int64_t n_open = n_open_files();
  for (const int64_t limit : {0, 100000, 200000}) {
    check_on_root(comm, [&] { checkpoint_format::lay_out(path, state.info, entries); });
    rlimit old{};
    ::getrlimit(RLIMIT_FSIZE, &old);
    if (comm.is_root()) {
      const rlimit tight{static_cast<rlim_t>(limit), old.rlim_max};
      ::setrlimit(RLIMIT_FSIZE, &tight);
    }
    EXPECT_THROW(checkpoint_format::write_content(comm, path, state.tensors(), pieces, data), AgreedError)
        << limit;
    ::setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_EQ(n_open_files(), n_open) << limit;
  }
  EXPECT_EQ(try_save(folder, 2), "");
  EXPECT_EQ(verify_checkpoint(folder + "/step-000000002.h5"), std::vector<std::string>());
}

TEST_F(FullDiskTest, AFileOfRowsThatDoesNotFitLeavesNothing) {
  const Field field{"output", DType::kFloat32, Shape{10}};
  EXPECT_THROW(RowFile(comm, folder + "/p.h5", {field}, int64_t{1} << 45), AgreedError);  // 1.4 PB
  comm.barrier();
  EXPECT_EQ(n_files(folder), 0);
}

}  // namespace
}  // namespace lockstep
