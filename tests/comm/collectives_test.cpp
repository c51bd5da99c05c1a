// Every collective of Communicator on integers, whose sums are exact in any order, against
// plain MPI calls; and the errors that MPI itself reports.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "comm/communicator.h"
#include "comm/mpi_check.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

template <typename T>
std::vector<T> integers(int rank, size_t n) {
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = T((i * 7 + size_t(rank) * 13) % 101) - T(50);
  return values;
}

template <typename T>
std::vector<T> mpi_sum(std::vector<T> values, MPI_Comm comm) {
  MPI_Allreduce(MPI_IN_PLACE, values.data(), int(values.size()), mpi_type<T>(), MPI_SUM, comm);
  return values;
}

TEST(Collectives, RankAndSizeAreMpis) {
  Communicator world = Communicator::world();
  int rank = -1, size = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(world.rank(), rank);
  EXPECT_EQ(world.size(), size);
  EXPECT_EQ(world.is_root(), rank == 0);
  EXPECT_EQ(world.local_size(), size);  // the tests run on one host
  EXPECT_EQ(world.local_rank(), rank);
  EXPECT_EQ(launcher_rank(), rank);
  EXPECT_EQ(launcher_size(), size);
}

TEST(Collectives, SumsEqualMpis) {
  Communicator world = Communicator::world();
  int n_compared = 0;
  for (const size_t n : {0, 1, 2, 3, 7, 8, 63, 64, 1000, 4097, 100003}) {
    const auto floats = integers<float>(world.rank(), n);
    const auto doubles = integers<double>(world.rank(), n);
    const auto whole = integers<int64_t>(world.rank(), n);
    std::vector<float> native_f = floats;
    std::vector<double> native_d = doubles;
    std::vector<int64_t> native_i = whole;
    world.native_all_reduce(native_f);
    world.native_all_reduce(native_d);
    world.native_all_reduce(native_i);
    for (const Reduction reduction : {Reduction::kTree, Reduction::kNative, Reduction::kHierarchical}) {
      std::vector<float> sums_f = floats;
      std::vector<double> sums_d = doubles;
      world.all_reduce(sums_f, reduction);
      world.all_reduce(sums_d, reduction);
      EXPECT_EQ(sums_f, mpi_sum(floats, MPI_COMM_WORLD));
      EXPECT_EQ(sums_d, mpi_sum(doubles, MPI_COMM_WORLD));
      n_compared += 2;
    }
    EXPECT_EQ(native_f, mpi_sum(floats, MPI_COMM_WORLD));
    EXPECT_EQ(native_d, mpi_sum(doubles, MPI_COMM_WORLD));
    EXPECT_EQ(native_i, mpi_sum(whole, MPI_COMM_WORLD));
    n_compared += 3;
  }
  EXPECT_EQ(n_compared, 99);
}

TEST(Collectives, ScalarReductions) {
  Communicator world = Communicator::world();
  const int64_t large = int64_t{1} << 60;
  EXPECT_EQ(world.all_reduce_max(-large + world.rank()), -large + world.size() - 1);
  EXPECT_EQ(world.all_reduce_sum(world.rank() + 1), int64_t(world.size()) * (world.size() + 1) / 2);
}

TEST(Collectives, BroadcastFromEveryRoot) {
  Communicator world = Communicator::world();
  for (int root = 0; root < world.size(); ++root) {
    std::vector<int64_t> data(1000, world.rank() == root ? 77 + root : -1);
    world.broadcast(data.data(), int64_t(data.size() * sizeof(data[0])), root);
    EXPECT_EQ(data, std::vector<int64_t>(1000, 77 + root));
    const std::string text = world.rank() == root ? "from " + std::to_string(root) : "to be replaced";
    EXPECT_EQ(world.broadcast_string(text, root), "from " + std::to_string(root));
    EXPECT_EQ(world.broadcast_string(world.rank() == root ? "" : "x", root), "");
  }
  world.broadcast(nullptr, 0);
}

TEST(Collectives, StringsArriveInRankOrder) {
  Communicator world = Communicator::world();
  // Rank r sends r copies of a letter: lengths differ and one is empty; NUL bytes survive.
  const auto own = [](int rank) {
    return std::string(size_t(rank), char('a' + rank)) + std::string(rank % 2, '\0');
  };
  const std::vector<std::string> all = world.all_gather_strings(own(world.rank()));
  ASSERT_EQ(int(all.size()), world.size());
  for (int r = 0; r < world.size(); ++r) EXPECT_EQ(all[size_t(r)], own(r));
}

TEST(Collectives, DuplicateMatchesItsOwnMessagesOnly) {
  Communicator world = Communicator::world();
  Communicator other = world.duplicate();
  EXPECT_EQ(other.rank(), world.rank());
  EXPECT_EQ(other.size(), world.size());
  EXPECT_EQ(other.local_size(), world.local_size());
  int same = MPI_IDENT;
  MPI_Comm_compare(mpi_comm(world), mpi_comm(other), &same);
  EXPECT_EQ(same, MPI_CONGRUENT);
  Communicator moved = std::move(other);
  EXPECT_EQ(moved.all_reduce_sum(1), world.size());
}

TEST(Collectives, NobodyLeavesABarrierBeforeTheLastArrives) {
  Communicator world = Communicator::world();
  const auto now_ns = [] {
    return std::chrono::steady_clock::now().time_since_epoch().count();
  };  // one host, one clock
  for (int round = 0; round < 10; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(7 * ((world.rank() + round) % 4)));
    const int64_t arrived_ns = now_ns();
    if (round % 2 == 0) {
      world.barrier();
    } else {
      world.sleeping_barrier();
    }
    const int64_t left_ns = now_ns();
    EXPECT_GE(left_ns, world.all_reduce_max(arrived_ns));
  }
}

TEST(Collectives, MpiErrorsAreThrownWithCallTextAndRank) {
  Communicator world = Communicator::world();
  double data = 0;
  try {
    world.broadcast(&data, sizeof(data), world.size() + 5);
    FAIL() << "an invalid root was accepted";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("MPI_Bcast"), std::string::npos) << text;
    EXPECT_NE(text.find("MPI_ERR_ROOT"), std::string::npos) << text;
    EXPECT_NE(text.find("communicator.cpp:"), std::string::npos) << text;
    EXPECT_EQ(text.find("rank " + std::to_string(world.rank()) + " on "), 0u) << text;
  }
}

TEST(Collectives, LibraryVersionNamesTheLibrary) {
  const std::string version = mpi_library_version();
  EXPECT_NE(version.find("MPI"), std::string::npos) << version;
  EXPECT_EQ(version.find('\n'), std::string::npos);
  EXPECT_LT(version.size(), 100u);
}

}  // namespace
}  // namespace lockstep
