// Turns MPI error codes into Error. The rank is this process's world rank, so that one
// line of output tells which process and which machine to look at.
#include "comm/mpi_check.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace lockstep {

std::string rank_and_host() {
  int initialized = 0, finalized = 0, rank = launcher_rank();
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized && !finalized) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return fmt::format("rank {} on {}", rank, host_name());
}

void mpi_check(int code, const char* call, const char* file, int line) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
  throw Error(rank_and_host(),
              fmt::format("{} failed with {} ({}:{})", call, std::string(text, size_t(length)), file, line),
              "if another rank has ended, its message tells why; else see that all hosts run the same MPI "
              "library and "
              "reach each other; training goes on from its last checkpoint with --resume auto");
}

}  // namespace lockstep
