// Communicator::of in a program that starts MPI itself, and not as training needs it: one sentence with its
// remedy at each stage of MPI's life.
#include <gtest/gtest.h>
#include <mpi.h>

#include "comm/communicator.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

std::string refusal() {
  const MPI_Comm world = MPI_COMM_WORLD;
  try {
    Communicator::of(&world);
  } catch (const Error& error) {
    EXPECT_NE(error.remedy().find("MPI_THREAD_MULTIPLE"), std::string::npos) << error.what();
    return error.what();
  }
  return "no refusal";
}

TEST(OwnMpi, IsRefusedBeforeAfterAndWithoutThreads) {
  EXPECT_NE(refusal().find("MPI has not been started"), std::string::npos) << refusal();
  int provided = MPI_THREAD_SINGLE;
  ASSERT_EQ(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), MPI_SUCCESS);
  ASSERT_LT(provided, MPI_THREAD_MULTIPLE);
  EXPECT_NE(refusal().find("less than MPI_THREAD_MULTIPLE"), std::string::npos) << refusal();
  MPI_Finalize();
  EXPECT_NE(refusal().find("MPI has ended already"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace lockstep
