// Reading a job file once for all ranks.
#pragma once

#include "comm/communicator.h"
#include "jobs/command.h"
#include "src/run/job.h"

namespace lockstep {

/// The job file with --set assignments applied. Throws Error.
Config read_job_file(const std::string& path, const Words& assignments);

/// Collective. Rank 0 reads and checks the file; all ranks get the same job, or all throw the
/// same AgreedError. Other ranks never touch the file.
Job read_job_on_all_ranks(Communicator& comm, const std::string& path, const Words& assignments);

}  // namespace lockstep
