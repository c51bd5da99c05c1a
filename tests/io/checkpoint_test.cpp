// Saving and loading checkpoints on 1, 2, 4 and 8 ranks: values, shapes, info, folders,
// errors. What other programs and other rank counts see of the files is
// checkpoint_identity_test; damage is checkpoint_damage_test.
#include "io/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <sstream>
#include <thread>

#include "comm/agreement.h"
#include "io/checkpoint/checkpoint_format.h"
#include "io/checkpoint/checkpoint_write.h"
#include "io/hdf5/hdf5.h"
#include "tests/io/checkpoint_state.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name;
    if (comm.is_root()) {
      name = (fs::temp_directory_path() / "lockstep-checkpoint-XXXXXX").string();
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
    }
    folder = comm.broadcast_string(name);
  }
  void TearDown() override {
    comm.barrier();
    if (comm.is_root()) fs::remove_all(folder);
  }

  /// Loads every tensor into fresh memory on this rank; counts the equal ones.
  int64_t count_equal(const std::string& path, const TestState& state) {
    TestState loaded;
    for (const TestTensor& t : state.storage) {
      loaded.storage.emplace_back(t.name, t.shape, t.dtype);
      std::fill(loaded.storage.back().bytes.begin(), loaded.storage.back().bytes.end(), '\x5A');
    }
    load_checkpoint(path, loaded.tensors());
    int64_t n_equal = 0;
    for (size_t i = 0; i < state.storage.size(); ++i)
      n_equal += loaded.storage[i].bytes == state.storage[i].bytes;
    return n_equal;
  }

  static std::string bytes_of(const std::string& path) {
    std::stringstream bytes;
    bytes << std::ifstream(path, std::ios::binary).rdbuf();
    return bytes.str();
  }

  static void expect_equal(const CheckpointInfo& a, const CheckpointInfo& b) {
    EXPECT_EQ(a.step, b.step);
    EXPECT_EQ(a.epoch, b.epoch);
    EXPECT_EQ(a.step_in_epoch, b.step_in_epoch);
    EXPECT_EQ(a.seed, b.seed);
    EXPECT_EQ(a.job, b.job);
    EXPECT_EQ(a.numbers, b.numbers);
    EXPECT_EQ(a.texts, b.texts);
  }

  std::string reason_of(const std::function<void()>& work) {
    try {
      work();
    } catch (const Error& error) {
      return error.what();
    }
    return "(no error)";
  }

  Communicator comm = Communicator::world();
  std::string folder;
};

TEST_F(CheckpointTest, OneRankAloneWritesTheSameBytes) {
  for (const std::string kind : {"odd", "many"}) {
    TestState state = make_state(kind);
    const std::string path = save_checkpoint(comm, folder, state.info, state.tensors());
    if (comm.rank() == comm.size() - 1) {
      const std::string alone =
          save_checkpoint_alone(folder + "/alone-" + kind, state.info, state.tensors(), 10);
      EXPECT_TRUE(bytes_of(alone) == bytes_of(path)) << kind;
      EXPECT_EQ(verify_checkpoint(alone), std::vector<std::string>());
      EXPECT_TRUE(list_temporary_files(folder + "/alone-" + kind).empty());
      CheckpointInfo other = state.info;
      ++other.seed;
      EXPECT_EQ(save_checkpoint_alone(folder + "/alone-" + kind, other, state.tensors(), 10), alone);
      EXPECT_TRUE(bytes_of(alone) == bytes_of(path)) << "what has the name already and is whole stays";
      std::ofstream(alone) << "damaged";
      EXPECT_EQ(save_checkpoint_alone(folder + "/alone-" + kind, state.info, state.tensors(), 10), alone);
      EXPECT_TRUE(bytes_of(alone) == bytes_of(path)) << "what is damaged is replaced";
    }
    comm.barrier();
  }
}

TEST_F(CheckpointTest, OneRankAloneDoesNotWaitForEverForHdf5) {
  TestState state = make_state("odd");
  std::vector<CheckpointTensor> sharded = state.tensors();
  sharded[0].data = nullptr;
  sharded[0].sharded = true;
  const std::string path = save_checkpoint(comm, folder, state.info, state.tensors());
  const std::string own = folder + "/" + std::to_string(comm.rank());
  EXPECT_THROW(save_checkpoint_alone(own, state.info, sharded, 10), Error);
  const auto held = h5::lock();  // by a thread that waits for ever
  std::thread([&] {
    const std::string alone = save_checkpoint_alone(own, state.info, state.tensors(), 0.05);
    EXPECT_TRUE(bytes_of(alone) == bytes_of(path));
    EXPECT_TRUE(list_temporary_files(own).empty());
    try {
      save_checkpoint_alone("/proc/nowhere", state.info, state.tensors(), 0.05);
      ADD_FAILURE() << "nothing can be written there";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("/proc/nowhere"), std::string::npos) << error.what();
    }
  }).join();
}

TEST_F(CheckpointTest, EveryShapeAndTypeComesBackOnEveryRank) {
  for (const char* kind : {"odd", "many", "small"}) {
    TestState state = make_state(kind);
    const std::string path = save_checkpoint(comm, folder, state.info, state.tensors());
    EXPECT_EQ(fs::path(path).filename(), "step-000001000.h5");
    EXPECT_EQ(count_equal(path, state), static_cast<int64_t>(state.storage.size())) << kind;
    expect_equal(read_checkpoint_info(path), state.info);
    EXPECT_EQ(verify_checkpoint(path), std::vector<std::string>());

    const std::vector<CheckpointEntry> entries = list_checkpoint(path);
    ASSERT_EQ(entries.size(), state.storage.size());
    for (size_t i = 1; i < entries.size(); ++i) EXPECT_LT(entries[i - 1].name, entries[i].name);
    for (const TestTensor& t : state.storage) {
      const auto found = std::find_if(entries.begin(), entries.end(),
                                      [&](const CheckpointEntry& entry) { return entry.name == t.name; });
      ASSERT_NE(found, entries.end()) << t.name;
      EXPECT_EQ(found->shape, t.shape);
      EXPECT_EQ(found->dtype, t.dtype);
    }
    comm.barrier();  // the next round replaces the file
  }
}

TEST_F(CheckpointTest, TenMillionElements) {
  TestState state = make_state("large");
  const std::string path = save_checkpoint(comm, folder, state.info, state.tensors());
  EXPECT_EQ(count_equal(path, state), 1);
}

TEST_F(CheckpointTest, WithoutAnyTensor) {
  CheckpointInfo info;
  info.job = std::string(200000, 'j');  // more than an object header holds
  const std::string path = save_checkpoint(comm, folder + "/new/folder", info, {});
  expect_equal(read_checkpoint_info(path), info);
  EXPECT_TRUE(list_checkpoint(path).empty());
  EXPECT_TRUE(verify_checkpoint(path).empty());
}

TEST_F(CheckpointTest, AStateWhoseTensorsEachRankHasOfItsOwnPartOnly) {
  // A rank reads only what it owns: other ranks' bytes may be anything. (Sharded state.)
  TestState state = make_state("odd");
  TestState own = state;
  int64_t n_cleared = 0;
  for (TestTensor& t : own.storage) std::fill(t.bytes.begin(), t.bytes.end(), '\0');
  for (const auto& piece : checkpoint_format::deal_pieces(state.tensors(), comm.size())) {
    const auto first = static_cast<size_t>(piece.first_byte), n = static_cast<size_t>(piece.n_bytes);
    if (piece.owner != comm.rank()) {
      ++n_cleared;
      continue;
    }
    const auto& src = state.storage[static_cast<size_t>(piece.tensor)].bytes;
    std::copy_n(
        src.begin() + static_cast<std::ptrdiff_t>(first), n,
        own.storage[static_cast<size_t>(piece.tensor)].bytes.begin() + static_cast<std::ptrdiff_t>(first));
  }
  EXPECT_EQ(n_cleared > 0, comm.size() > 1);
  const std::string path = save_checkpoint(comm, folder, state.info, own.tensors());
  EXPECT_EQ(count_equal(path, state), static_cast<int64_t>(state.storage.size()));
}

TEST_F(CheckpointTest, PiecesAreDealtEvenlyAndInOrder) {
  TestState state = make_state("odd");
  const auto tensors = state.tensors();
  for (int n_ranks : {1, 2, 3, 8, 1000}) {
    std::vector<int64_t> n_bytes(static_cast<size_t>(n_ranks), 0);
    int last = 0;
    for (const auto& piece : checkpoint_format::deal_pieces(tensors, n_ranks)) {
      ASSERT_GE(piece.owner, last);
      ASSERT_LT(piece.owner, n_ranks);
      last = piece.owner;
      n_bytes[static_cast<size_t>(piece.owner)] += piece.n_bytes;
    }
    const int64_t total = std::accumulate(n_bytes.begin(), n_bytes.end(), int64_t{0});
    for (const int64_t n : n_bytes) EXPECT_LE(n, total / n_ranks + (1 << 20)) << n_ranks;
  }
}

TEST_F(CheckpointTest, LoadingNamesWhatDoesNotFit) {
  TestState state = make_state("odd");
  const std::string path = save_checkpoint(comm, folder, state.info, state.tensors());
  std::vector<char> memory(1 << 20);
  auto load = [&](const std::string& name, const Shape& shape, DType dtype = DType::kFloat32) {
    return reason_of([&] { load_checkpoint(path, {{name, shape, dtype, memory.data()}}); });
  };
  const std::string missing = load("/parameters/conv.bias", Shape{3});
  EXPECT_NE(missing.find("/parameters/conv.bias"), std::string::npos) << missing;
  EXPECT_NE(missing.find("16 tensors: /parameters/conv.weight, "), std::string::npos) << missing;
  const std::string shape = load("/parameters/conv.weight", Shape{3, 1, 5, 6});
  EXPECT_NE(shape.find("(3, 1, 5, 5)"), std::string::npos) << shape;
  EXPECT_NE(shape.find("(3, 1, 5, 6)"), std::string::npos) << shape;
  const std::string dtype = load("/parameters/conv.weight", Shape{3, 1, 5, 5}, DType::kFloat64);
  EXPECT_NE(dtype.find("float32"), std::string::npos) << dtype;
  EXPECT_EQ(load("/parameters/conv.weight", Shape{3, 1, 5, 5}), "(no error)");
  EXPECT_NE(reason_of([&] { read_checkpoint_info(folder + "/absent.h5"); }).find("does not exist"),
            std::string::npos);
  EXPECT_NE(reason_of([&] { read_checkpoint_info(folder); }).find("is a folder"), std::string::npos);
}

TEST_F(CheckpointTest, SavingRefusesBadInputOnAllRanksAlike) {
  TestState state = make_state("small");
  auto tensors = state.tensors();
  auto save = [&] { save_checkpoint(comm, folder, state.info, tensors); };
  tensors[1].name = tensors[0].name;
  EXPECT_THROW(save(), AgreedError);
  tensors[1].name = "no-slash";
  EXPECT_THROW(save(), AgreedError);
  tensors[1].name = "/parameters/fc.weight/below-a-dataset";
  EXPECT_THROW(save(), AgreedError);
  tensors = state.tensors();
  state.info.job = std::string("a\0b", 3);
  EXPECT_THROW(save(), AgreedError);
  state.info.job = "name: test";
  comm.barrier();
  EXPECT_TRUE(fs::is_empty(folder));
  comm.barrier();
  save();
  EXPECT_EQ(list_checkpoints(folder).size(), 1u);
}

TEST_F(CheckpointTest, UnwritableFolderIsOneAgreedErrorAndTheProgramGoesOn) {
  TestState state = make_state("small");
  if (comm.is_root()) std::ofstream(folder + "/file") << "not a folder";
  comm.barrier();
  EXPECT_THROW(save_checkpoint(comm, folder + "/file/sub", state.info, state.tensors()), AgreedError);
  EXPECT_THROW(save_checkpoint(comm, "/proc/nowhere", state.info, state.tensors()), AgreedError);
  const std::string path = save_checkpoint(comm, folder, state.info, state.tensors());
  EXPECT_TRUE(verify_checkpoint(path).empty());
}

TEST_F(CheckpointTest, PruneKeepsTheLastAndTheProtected) {
  EXPECT_TRUE(list_checkpoints(folder + "/absent").empty());
  TestState state = make_state("small");
  for (const int64_t step : std::initializer_list<int64_t>{5, 40, 300, 2000, 1234567890123}) {
    state.info.step = step;
    save_checkpoint(comm, folder, state.info, state.tensors());
  }
  comm.barrier();
  if (!comm.is_root()) return;
  for (const char* name : {".step-000000007.h5.tmp", "step-x.h5", "step-000000009.h5.bak", "best.txt"}) {
    std::ofstream(folder + "/" + name) << "x";
  }
  auto names = [&] {
    std::vector<std::string> list;
    for (const std::string& path : list_checkpoints(folder))
      list.push_back(fs::path(path).filename().string());
    return list;
  };
  using Names = std::vector<std::string>;
  const Names all = {"step-000000005.h5", "step-000000040.h5", "step-000000300.h5", "step-000002000.h5",
                     "step-1234567890123.h5"};
  EXPECT_EQ(names(), all);
  const auto none = [](int64_t) { return false; };
  prune_checkpoints(folder, 0, none);
  EXPECT_EQ(names(), all);
  EXPECT_FALSE(fs::exists(folder + "/.step-000000007.h5.tmp"));
  prune_checkpoints(folder, 2, [](int64_t step) { return step == 40; });
  EXPECT_EQ(names(), (Names{"step-000000040.h5", "step-000002000.h5", "step-1234567890123.h5"}));
  prune_checkpoints(folder, 1, none);
  EXPECT_EQ(names(), (Names{"step-1234567890123.h5"}));
  for (const char* name : {"step-x.h5", "step-000000009.h5.bak", "best.txt"}) {
    EXPECT_TRUE(fs::exists(folder + "/" + name)) << name;
  }
}

}  // namespace
}  // namespace lockstep
