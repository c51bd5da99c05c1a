// What the scripts of all batch systems share: their first comment lines, the environment, and the command
// that the ranks run.
#pragma once

#include <string>

#include "jobs/slurm/batch_request.h"

namespace lockstep {

/// The lines before the batch system's own.
std::string script_opening(const BatchRequest& request, const std::string& how_it_goes_on);
/// A line of options with its comment, aligned: "#SBATCH --nodes=2    # …".
std::string option_line(const std::string& option, const std::string& comment = "");
/// Modules, program and run folder as shell variables. `task`: the variable with the number of the array's
/// task.
std::string script_environment(const BatchRequest& request, const std::string& task);
/// "train JOB --out …", behind the program.
std::string command_of_ranks(const BatchRequest& request, const std::string& task);

}  // namespace lockstep
