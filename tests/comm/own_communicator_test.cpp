// Communicator::of: a communicator that another program made, of some of its ranks.
#include <gtest/gtest.h>
#include <mpi.h>

#include "comm/agreement.h"
#include "comm/mpi_check.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

/// The program's: the even ranks or the odd ones, in reverse order.
class Half {
 public:
  Half() {
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    MPI_Comm_split(MPI_COMM_WORLD, world_rank % 2, -world_rank, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_ARE_FATAL);
  }
  ~Half() { MPI_Comm_free(&comm); }
  int world_rank = 0, world_size = 1;
  MPI_Comm comm = MPI_COMM_NULL;
};

TEST(OwnCommunicator, HasTheRanksOfTheProgramsOwn) {
  const Half half;
  int rank = -1, size = 0;
  MPI_Comm_rank(half.comm, &rank);
  MPI_Comm_size(half.comm, &size);
  Communicator comm = Communicator::of(&half.comm);
  EXPECT_EQ(comm.rank(), rank);
  EXPECT_EQ(comm.size(), size);
  EXPECT_EQ(comm.local_rank(), rank);  // all on this host
  EXPECT_EQ(comm.local_size(), size);
  const std::vector<std::string> all = comm.all_gather_strings(std::to_string(half.world_rank));
  ASSERT_EQ(static_cast<int>(all.size()), size);
  for (int r = 0; r < size; ++r) {
    const int last = half.world_size - 1, top = last - (last - half.world_rank) % 2;
    EXPECT_EQ(all[static_cast<size_t>(r)], std::to_string(top - 2 * r));
  }
  std::vector<float> values(1000, static_cast<float>(half.world_rank % 2 + 1));
  comm.all_reduce(values, Reduction::kTree);
  EXPECT_EQ(values, std::vector<float>(1000, static_cast<float>((half.world_rank % 2 + 1) * size)));
}

TEST(OwnCommunicator, ThrowsWhereTheProgramsWouldEndIt) {
  const Half half;
  Communicator comm = Communicator::of(&half.comm);
  int value = 0;
  EXPECT_THROW(LOCKSTEP_MPI(MPI_Bcast(&value, 1, MPI_INT, 1000, mpi_comm(comm))), Error);
  Communicator alone = Communicator::self();
  EXPECT_THROW(LOCKSTEP_MPI(MPI_Bcast(&value, 1, MPI_INT, 1000, mpi_comm(alone))), Error);
  MPI_Errhandler own = MPI_ERRHANDLER_NULL;
  MPI_Comm_get_errhandler(half.comm, &own);
  EXPECT_EQ(own, MPI_ERRORS_ARE_FATAL);
}

TEST(OwnCommunicator, SharesNoMessageWithTheProgramsOwn) {
  const Half half;
  Communicator comm = Communicator::of(&half.comm);
  int result = MPI_UNEQUAL;
  MPI_Comm_compare(half.comm, mpi_comm(comm), &result);
  EXPECT_EQ(result, MPI_CONGRUENT);
}

TEST(OwnCommunicator, ErrorsAreAgreedOnAmongItsRanks) {
  const Half half;
  Communicator comm = Communicator::of(&half.comm);
  // The other half hears nothing of it.
  const bool fails = half.world_rank == 0;
  const auto work = [&] {
    if (fails) throw Error("here", "went wrong", "do it again");
  };
  if (half.world_rank % 2 == 0)
    EXPECT_THROW(all_or_none(comm, work), AgreedError);
  else
    EXPECT_NO_THROW(all_or_none(comm, work));
}

TEST(OwnCommunicator, RanksOutsideAreRefused) {
  const MPI_Comm none = MPI_COMM_NULL;
  try {
    Communicator::of(&none);
    FAIL() << "a communicator without ranks";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("MPI_COMM_NULL"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lockstep
