// Start and end of MPI, and what the launcher's environment says about this process.
//
// A rank that fails alone must not wait in MPI_Finalize for the others: the destructor
// skips it while an exception unwinds, and main() then calls abort_all(), which ends all.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>

#include "comm/agreement.h"
#include "comm/communicator.h"
#include "comm/mpi_check.h"
#include "kernels/error.h"

extern char** environ;

namespace lockstep {
namespace {

int first_number(std::initializer_list<const char*> names, int otherwise) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == '\0') continue;
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (*end == '\0' && value >= 0) return int(value);
  }
  return otherwise;
}

/// srun sets SLURM_STEP_NUM_TASKS for the processes it starts. A batch script itself has
/// SLURM_NTASKS and SLURM_PROCID=0 too, but is one process and no rank of many.
bool started_by_srun() {
  return std::getenv("SLURM_STEP_NUM_TASKS") != nullptr || std::getenv("SLURM_STEP_ID") != nullptr;
}

bool has_process_manager() {  // PMIX_*, PMI_*, PMI2_*, or Open MPI's own mpirun
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr) return true;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (std::strncmp(*entry, "PMI", 3) == 0) return true;
  return false;
}

Error launcher_mismatch(int announced) {
  return Error("MPI start",
               fmt::format("the launcher started {} processes but MPI connects only 1, so each would train "
                           "alone",
                           announced),
               "with Slurm use `srun --mpi=pmix` (`srun --mpi=list` shows what this cluster offers) or "
               "`mpirun`; with mpirun use the one of the Open MPI that lockstep is linked to");
}

}  // namespace

int launcher_rank() {
  const int rank = first_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}, -1);
  if (rank >= 0) return rank;
  return started_by_srun() ? first_number({"SLURM_PROCID"}, 0) : 0;
}

int launcher_size() {
  const int size = first_number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}, 0);
  if (size > 0) return size;
  return started_by_srun() ? first_number({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, 1) : 1;
}

std::string host_name() {
  char host[256] = "";
  if (gethostname(host, sizeof(host) - 1) != 0) return "unknown host";
  return host;
}

int launcher_local_rank() {
  const int rank = first_number({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"}, -1);
  if (rank >= 0) return rank;
  return started_by_srun() ? first_number({"SLURM_LOCALID"}, 0) : 0;
}

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown MPI";
  std::string version(text, size_t(length));
  // "Open MPI v4.1.4, package: Debian OpenMPI, ident: …": the part before the first comma says it all.
  return version.substr(0, version.find_first_of(",\n"));
}

MpiSession::MpiSession(int* argc, char*** argv) {
  const int announced = launcher_size();
  // Without a process manager Open MPI would end the program with a page of its own text.
  if (announced > 1 && !has_process_manager()) throw launcher_mismatch(announced);

  int provided = MPI_THREAD_SINGLE;
  const int code = MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided);
  mpi_check(code, "MPI_Init_thread", __FILE_NAME__, __LINE__);
  move_handlers_to_signal_stacks();
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);

  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const bool lacks_threads = provided < MPI_THREAD_MULTIPLE;
  if (!lacks_threads && !(announced > 1 && size == 1)) return;
  MPI_Finalize();  // no destructor runs for a constructor that throws
  if (lacks_threads)
    throw Error("MPI start", "this MPI library does not offer MPI_THREAD_MULTIPLE",
                "build or load an MPI with thread support (Open MPI: configure without "
                "--disable-mpi-thread-multiple)");
  throw launcher_mismatch(announced);
}

MpiSession::~MpiSession() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!finalized && std::uncaught_exceptions() == 0) MPI_Finalize();
}

}  // namespace lockstep
