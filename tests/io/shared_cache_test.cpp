// The cache that the ranks of a host share: every rank gets the bytes of the file, whoever fills a block and
// while others want it; and a rank that ends in the middle of a block holds up no other.
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include "comm/communicator.h"
#include "io/files/node_memory.h"
#include "io/loader/loader.h"
#include "io/loader/row_source.h"
#include "kernels/error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

constexpr int64_t kSamples = 3000, kElements = 600;  // 7 MB: many blocks

float value(int64_t sample, int64_t element) { return static_cast<float>((sample * 7 + element) % 1001); }

/// The same dataset for all ranks, made by rank 0.
struct SharedFiles {
  TemporaryFolder own;
  std::string path;
  SharedFiles(Communicator& comm, Storage storage) : path(comm.broadcast_string(own.path())) {
    if (comm.is_root()) {
      FixtureField x{"x", {kSamples, kElements}, "float32", {}, storage, {}, {}};
      for (int64_t i = 0; i < kSamples * kElements; ++i)
        x.values.push_back(static_cast<double>(value(i / kElements, i % kElements)));
      write_hdf5(own.file("a.h5"), {x});
    }
    comm.barrier();
  }
};

LoaderOptions options_of(Communicator& comm) {
  LoaderOptions options;
  options.fields = {{"x", DType::kFloat32, {kElements}, {}, {}, 0}};
  options.micro_batch = 16;
  options.global_batch = 16 * comm.size();
  options.first_micro = comm.rank();
  options.ranks = &comm;
  options.threads = 2;
  return options;
}

TEST(SharedCache, GivesEveryRankTheBytesOfTheFile) {
  Communicator comm = Communicator::world();
  for (Storage storage : {Storage::kContiguous, Storage::kGzip}) {
    const SharedFiles files(comm, storage);
    const Dataset data = Dataset::open(files.path);
    DataLoader loader(data, options_of(comm), 0);
    int64_t n_rows = 0;
    for (int64_t step = 0; step < 2 * loader.steps_per_epoch(); ++step) {
      const MicroBatch& batch = loader.next();
      const auto* rows = static_cast<const float*>(batch.data[0]);
      for (int64_t row = 0; row < batch.n_valid; ++row, ++n_rows) {
        const int64_t id = batch.sample_ids[static_cast<size_t>(row)];
        for (int64_t e = 0; e < kElements; ++e) ASSERT_EQ(rows[row * kElements + e], value(id, e)) << id;
      }
    }
    EXPECT_EQ(comm.all_reduce_sum(n_rows), 2 * kSamples);
  }
}

TEST(SharedCache, WindowsThatOverlapShareTheirElements) {
  Communicator comm = Communicator::world();
  for (Storage storage : {Storage::kContiguous, Storage::kGzip}) {
    const SharedFiles files(comm, storage);
    const auto flat = std::make_shared<const Dataset>(Dataset::open(files.path));
    const Dataset data = Dataset::windows(flat, "x", {3, 1, 1});
    EXPECT_EQ(RowCache::n_bytes(data, "x"), RowCache::n_bytes(*flat, "x"));
    LoaderOptions options = options_of(comm);
    options.fields[0].shape = {3, kElements};
    options.fields[0].drop_first = 1;
    options.fields.push_back(options.fields[0]);  // the same field again takes no memory of its own
    options.cache_limit_bytes = kSamples * kElements * 4;
    DataLoader loader(data, options, 0);
    int64_t n_rows = 0;
    for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
      const MicroBatch& batch = loader.next();
      for (const void* rows : batch.data) {
        for (int64_t row = 0; row < batch.n_valid; ++row, ++n_rows) {
          const int64_t id = batch.sample_ids[static_cast<size_t>(row)];
          for (int64_t e = 0; e < 3 * kElements; ++e)
            ASSERT_EQ(static_cast<const float*>(rows)[row * 3 * kElements + e],
                      value(id + 1 + e / kElements, e % kElements));
        }
      }
    }
    EXPECT_EQ(comm.all_reduce_sum(n_rows), 2 * (kSamples - 3));
    comm.barrier();
    if (comm.is_root()) std::filesystem::resize_file(files.path + "/a.h5", 100);  // all has been read
    comm.barrier();
    const MicroBatch& batch = loader.next();
    if (batch.n_valid > 0) {
      EXPECT_EQ(static_cast<const float*>(batch.data[0])[3], value(batch.sample_ids[0] + 1, 3));
    }
    comm.barrier();
  }
}

TEST(SharedCache, IsOneCopyOnTheHost) {
  Communicator comm = Communicator::world();
  std::optional<NodeMemory> memory = NodeMemory::shared(comm, 1 << 20);
  ASSERT_TRUE(memory);
  for (int64_t i = 0; i < 1 << 20; i += 4096) ASSERT_EQ(memory->data()[i], std::byte{0});
  comm.barrier();
  memory->data()[comm.rank()] = static_cast<std::byte>(comm.rank() + 1);
  comm.barrier();
  for (int r = 0; r < comm.size(); ++r) EXPECT_EQ(memory->data()[r], static_cast<std::byte>(r + 1));
  comm.barrier();
  std::optional<NodeMemory> other = NodeMemory::shared(comm, 0);  // at the same time, and empty
  ASSERT_TRUE(other);
  memory.reset();
  comm.barrier();
}

TEST(SharedCache, TheLimitIsOfTheHost) {
  // A dataset within the limit is shared although every rank's own copy would be beyond it.
  Communicator comm = Communicator::world();
  const SharedFiles files(comm, Storage::kContiguous);
  const Dataset data = Dataset::open(files.path);
  LoaderOptions options = options_of(comm);
  options.threads = 1;
  options.cache_limit_bytes = kSamples * kElements * 4;
  DataLoader loader(data, options, 0);
  for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) loader.next();
  comm.barrier();  // all has been read: the file is no longer needed
  if (comm.is_root()) std::filesystem::resize_file(files.path + "/a.h5", 100);
  comm.barrier();
  for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
    const MicroBatch& batch = loader.next();
    if (batch.n_valid == 0) continue;
    EXPECT_EQ(static_cast<const float*>(batch.data[0])[3], value(batch.sample_ids[0], 3));
  }
  comm.barrier();
}

TEST(SharedCache, BlocksThatNobodyFinishesAreReadFromTheFile) {
  // What a rank leaves behind that was killed while it filled: words that say "filling" for ever.
  Communicator comm = Communicator::world();
  const SharedFiles files(comm, Storage::kGzip);
  const Dataset data = Dataset::open(files.path);
  NodeMemory memory(RowCache::n_bytes(data, "x"));
  RowCache cache(data, "x", memory.data());
  ASSERT_NE(cache.find(0), nullptr);  // filled
  auto* states = reinterpret_cast<std::atomic<uint32_t>*>(memory.data());
  EXPECT_EQ(states[0], 2u);
  states[1] = 1;
  int64_t n_read = 0, n_missing = 0;
  RowSource source(data, "x", RowConverter(data.field("x"), DType::kFloat32, {}, {}, 0, "test"), cache, 1);
  std::vector<std::byte> staging(static_cast<size_t>(source.staging_bytes()));
  std::vector<float> row(kElements);
  for (int64_t id = 0; id < kSamples; ++id, ++n_read) {
    n_missing += cache.find(id) == nullptr;
    const RowRequest request{id, 0};
    source.gather(&request, 1, reinterpret_cast<std::byte*>(row.data()), staging.data());
    for (int64_t e = 0; e < kElements; ++e) ASSERT_EQ(row[static_cast<size_t>(e)], value(id, e)) << id;
  }
  EXPECT_EQ(n_read, kSamples);
  EXPECT_GT(n_missing, 0);
  EXPECT_LT(n_missing, kSamples / 4);
  EXPECT_EQ(states[1], 1u);
}

TEST(SharedCache, AProcessKilledWhileItFillsHoldsUpNobody) {
  // A child of each rank shares the memory and is killed at some moment of filling it, again and again.
  Communicator comm = Communicator::world();
  const SharedFiles files(comm, Storage::kContiguous);
  const Dataset data = Dataset::open(files.path);
  std::optional<NodeMemory> memory = NodeMemory::shared(comm, RowCache::n_bytes(data, "x"));
  ASSERT_TRUE(memory);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // no MPI, no HDF5: contiguous rows come by pread
    RowCache cache(data, "x", memory->data());
    for (int64_t id = 0;; id = (id + 83) % kSamples) cache.find(id);
  }
  std::this_thread::sleep_for(std::chrono::microseconds(200 * (1 + comm.rank())));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  RowCache cache(data, "x", memory->data());
  RowSource source(data, "x", RowConverter(data.field("x"), DType::kFloat32, {}, {}, 0, "test"), cache, 1);
  std::vector<std::byte> staging(static_cast<size_t>(source.staging_bytes()));
  std::vector<float> row(kElements);
  for (int64_t id = 0; id < kSamples; ++id) {
    const RowRequest request{id, 0};
    source.gather(&request, 1, reinterpret_cast<std::byte*>(row.data()), staging.data());
    for (int64_t e = 0; e < kElements; ++e) ASSERT_EQ(row[static_cast<size_t>(e)], value(id, e)) << id;
  }
  comm.barrier();
}

TEST(SharedCache, ADamagedFileIsAnErrorOfWhoReadsIt) {
  Communicator comm = Communicator::world();
  const SharedFiles files(comm, Storage::kContiguous);
  const Dataset data = Dataset::open(files.path);
  comm.barrier();
  if (comm.is_root()) std::filesystem::resize_file(files.path + "/a.h5", 4096);
  comm.barrier();
  NodeMemory memory(RowCache::n_bytes(data, "x"));
  RowCache cache(data, "x", memory.data());
  for (int repeat = 0; repeat < 2; ++repeat) {  // the block stays empty: the next one is told too
    try {
      cache.find(kSamples - 1);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("cannot be read"), std::string::npos) << error.what();
    }
  }
  comm.barrier();
}

}  // namespace
}  // namespace lockstep
