// CheckpointSaver on 1, 2 and 4 ranks: the file of save_checkpoint() byte for byte, whatever becomes
// of the tensors after the copy; a full disk is an outcome and the next save succeeds; HDF5 readers of
// the same process go on beside the write.
#include "io/checkpoint/checkpoint_saver.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "comm/agreement.h"
#include "io/hdf5/hdf5.h"
#include "tests/io/checkpoint_state.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class SaverTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name;
    if (comm.is_root()) {
      name = (fs::temp_directory_path() / "lockstep-saver-XXXXXX").string();
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
    }
    folder = comm.broadcast_string(name);
  }
  void TearDown() override {
    comm.barrier();
    if (comm.is_root()) fs::remove_all(folder);
  }
  /// Collective. The bytes of a save that training waits for.
  std::string expected(TestState& state) {
    const std::string path = save_checkpoint(comm, folder + "/expected", state.info, state.tensors());
    const std::string bytes = read_file(path);
    comm.barrier();
    return bytes;
  }

  Communicator comm = Communicator::world();
  std::unique_ptr<Stream> stream = make_stream(Device{});
  std::string folder;
};

TEST_F(SaverTest, TheFileIsThatOfASaveThatWaits) {
  int n_compared = 0;
  for (const char* kind : {"odd", "many", "small"}) {
    TestState state = make_state(kind);
    const std::string wanted = expected(state);
    ASSERT_GT(wanted.size(), 4000u);
    CheckpointSaver saver(comm, folder, state.tensors(), Device{});
    EXPECT_FALSE(saver.poll()) << "no write was started";
    saver.start(*stream, state.info);
    saver.hold_changes();
    for (TestTensor& t : state.storage) std::fill(t.bytes.begin(), t.bytes.end(), '\x5A');
    const std::optional<SaveOutcome> saved = saver.wait();
    ASSERT_TRUE(saved);
    EXPECT_EQ(saved->error, "");
    EXPECT_EQ(saved->step, state.info.step);
    EXPECT_TRUE(read_file(saved->path) == wanted) << kind;
    EXPECT_FALSE(saver.wait()) << "an outcome is given once";
    if (comm.is_root()) {
      EXPECT_EQ(saved->n_bytes, static_cast<int64_t>(wanted.size()));
    }
    ++n_compared;
    comm.barrier();
  }
  EXPECT_EQ(n_compared, 3);
}

/// Cuts every second tensor into parts that ranks hold in turn, and spoils what is not this rank's.
std::vector<CheckpointTensor> cut(TestState& state, int64_t n_part, int rank, int n_ranks) {
  std::vector<CheckpointTensor> tensors = state.tensors();
  for (size_t t = 0; t < tensors.size(); t += 2) {
    CheckpointTensor& tensor = tensors[t];
    const int64_t n = tensor.shape.n_elements(), size = size_of(tensor.dtype);
    auto* data = static_cast<std::byte*>(std::exchange(tensor.data, nullptr));
    tensor.sharded = true;
    for (int64_t first = 0, k = int64_t(t); first < n; first += n_part, ++k) {
      const int64_t n_here = std::min(n_part, n - first);
      if (k % n_ranks == rank)
        tensor.parts.push_back({first, n_here, data + first * size});
      else
        std::fill_n(data + first * size, n_here * size, std::byte{0x33});
    }
  }
  return tensors;
}

TEST_F(SaverTest, ShardedTensorsGiveTheFileOfWholeOnes) {
  int n_compared = 0;
  for (const char* kind : {"odd", "many", "small"}) {
    for (const int64_t n_part : {int64_t{7}, int64_t{10007}, int64_t{700001}}) {
      if (n_part == 7 && std::string(kind) != "small") continue;  // a message per part: takes long
      TestState state = make_state(kind);
      const std::string wanted = expected(state);
      TestState spoilt = make_state(kind);
      const std::vector<CheckpointTensor> tensors = cut(spoilt, n_part, comm.rank(), comm.size());
      CheckpointSaver saver(comm, folder, tensors, Device{});
      saver.start(*stream, spoilt.info);
      const std::optional<SaveOutcome> saved = saver.wait();
      ASSERT_TRUE(saved);
      EXPECT_EQ(saved->error, "");
      EXPECT_TRUE(read_file(saved->path) == wanted) << kind << ", parts of " << n_part;

      for (TestTensor& t : spoilt.storage) std::fill(t.bytes.begin(), t.bytes.end(), '\x33');
      load_checkpoint(saved->path, tensors);
      for (size_t t = 0; t < tensors.size(); ++t) {
        if (!tensors[t].sharded) {
          EXPECT_TRUE(spoilt.storage[t].bytes == state.storage[t].bytes);
        }
        const int64_t size = size_of(tensors[t].dtype);
        for (const TensorPart& part : tensors[t].parts)
          EXPECT_EQ(std::memcmp(part.data, state.storage[t].bytes.data() + part.first * size,
                                size_t(part.n_elements * size)),
                    0);
      }
      ++n_compared;
      comm.barrier();
    }
  }
  EXPECT_EQ(n_compared, 7);
}

TEST_F(SaverTest, PartsThatDoNotMakeUpATensorAreRefused) {
  TestState state = make_state("small");
  std::vector<CheckpointTensor> tensors = cut(state, 3, comm.rank(), comm.size());
  for (CheckpointTensor& tensor : tensors) {
    if (tensor.parts.size() < 2) continue;
    tensor.parts.pop_back();
    break;
  }
  EXPECT_THROW(CheckpointSaver(comm, folder, tensors, Device{}), AgreedError);
}

TEST_F(SaverTest, SavesThatFollowOneAnotherWaitAndDoNotMix) {
  TestState state = make_state("odd");
  std::vector<char>& first = state.storage[5].bytes;
  CheckpointSaver saver(comm, folder, state.tensors(), Device{});
  std::atomic<int> n_named = 0;
  std::vector<std::vector<char>> contents;
  for (int64_t step = 1; step <= 6; ++step) {
    saver.hold_changes();  // what training does before its update
    for (char& c : first) c = static_cast<char>(c * 5 + step);
    contents.push_back(first);
    state.info.step = step;
    saver.start(*stream, state.info, [&] { ++n_named; });
  }
  ASSERT_TRUE(saver.wait());
  EXPECT_EQ(n_named, comm.is_root() ? 6 : 0);
  for (int64_t step = 1; step <= 6; ++step) {
    const std::string path = folder + "/" + checkpoint_file_name(step);
    EXPECT_EQ(verify_checkpoint(path), std::vector<std::string>());
    std::vector<char> loaded(first.size());
    load_checkpoint(path, {{state.storage[5].name, state.storage[5].shape, DType::kFloat32, loaded.data()}});
    EXPECT_TRUE(loaded == contents[static_cast<size_t>(step - 1)]) << step;
  }
}

TEST_F(SaverTest, AFullDiskIsAnOutcomeAndTheNextSaveSucceeds) {
  TestState state = make_state("odd");
  std::signal(SIGXFSZ, SIG_IGN);
  CheckpointSaver saver(comm, folder, state.tensors(), Device{});
  saver.start(*stream, state.info);
  ASSERT_EQ(saver.wait()->error, "");
  for (const int failing_rank : {0, comm.size() - 1}) {
    rlimit old{};
    ::getrlimit(RLIMIT_FSIZE, &old);
    if (comm.rank() == failing_rank) {
      const rlimit tight{100000, old.rlim_max};
      ::setrlimit(RLIMIT_FSIZE, &tight);
    }
    state.info.step = 2000;
    bool named = false;
    saver.start(*stream, state.info, [&] { named = true; });
    const std::optional<SaveOutcome> failed = saver.wait();
    ::setrlimit(RLIMIT_FSIZE, &old);
    ASSERT_TRUE(failed);
    EXPECT_NE(failed->error, "") << failing_rank;
    EXPECT_FALSE(named);
    comm.barrier();
    EXPECT_EQ(list_checkpoints(folder).size(), 1u);
    EXPECT_TRUE(list_temporary_files(folder).empty());
    comm.barrier();
  }
  state.info.step = 3000;
  saver.start(*stream, state.info);
  EXPECT_EQ(saver.wait()->error, "");
  EXPECT_EQ(verify_checkpoint(folder + "/" + checkpoint_file_name(3000)), std::vector<std::string>());
}

TEST_F(SaverTest, ReadersOfTheSameProcessGoOn) {
  // As a slow loader does: HDF5's lock is taken again and again, and held for milliseconds.
  TestState state = make_state("odd");
  const std::string wanted = expected(state);
  const std::string data = folder + "/expected/" + checkpoint_file_name(state.info.step);
  std::atomic<bool> stop = false;
  std::atomic<int64_t> n_reads = 0;
  std::thread reader([&] {
    for (; !stop; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
      const auto guard = h5::lock();
      const h5::Id file = h5::open_file(data);
      EXPECT_EQ(h5::read_int_attribute(file.get(), "step", data), state.info.step);
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      ++n_reads;
    }
  });
  CheckpointSaver saver(comm, folder, state.tensors(), Device{});
  for (int64_t repeat = 0; repeat < 5; ++repeat) {
    saver.start(*stream, state.info);
    const std::optional<SaveOutcome> saved = saver.wait();
    ASSERT_TRUE(saved);
    EXPECT_EQ(saved->error, "");
    EXPECT_TRUE(read_file(saved->path) == wanted) << repeat;
    comm.barrier();
  }
  const int64_t n_during = n_reads;
  stop = true;
  reader.join();
  EXPECT_GT(n_during, 0);
}

TEST_F(SaverTest, AnEndWithoutWaitingStillFinishesTheFile) {
  TestState state = make_state("many");
  {
    CheckpointSaver saver(comm, folder, state.tensors(), Device{});
    saver.start(*stream, state.info);
  }
  comm.barrier();
  EXPECT_EQ(verify_checkpoint(folder + "/" + checkpoint_file_name(state.info.step)),
            std::vector<std::string>());
}

}  // namespace
}  // namespace lockstep
