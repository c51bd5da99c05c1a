// The one checker of MPI calls: LOCKSTEP_MPI(MPI_Barrier(comm)) throws Error with the call,
// MPI's own text, file, line, rank and host. It works because MpiSession sets
// MPI_ERRORS_RETURN on MPI_COMM_WORLD, Communicator::of() on its duplicate of a program's communicator, and
// every communicator derived from one inherits that. Only comm/ and io/ may include this header (it brings
// mpi.h).
#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>

#include "comm/communicator.h"

namespace lockstep {

/// Throws Error unless `code` is MPI_SUCCESS. Callable from any thread.
void mpi_check(int code, const char* call, const char* file, int line);

#define LOCKSTEP_MPI(call) ::lockstep::mpi_check((call), #call, __FILE_NAME__, __LINE__)

/// "rank 3 on HOST" of this process, from MPI or, before MPI starts, from the launcher.
std::string rank_and_host();

/// The MPI communicator behind `comm`; valid as long as `comm` lives.
inline MPI_Comm mpi_comm(const Communicator& comm) { return *static_cast<MPI_Comm*>(comm.native_handle()); }

template <typename T>
MPI_Datatype mpi_type();
template <>
inline MPI_Datatype mpi_type<float>() {
  return MPI_FLOAT;
}
template <>
inline MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
inline MPI_Datatype mpi_type<int64_t>() {
  return MPI_INT64_T;
}

template <>
inline MPI_Datatype mpi_type<uint16_t>() {
  return MPI_UINT16_T;
}

}  // namespace lockstep
