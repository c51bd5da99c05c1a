#include "jobs/slurm/script_parts.h"

#include <fmt/format.h>

namespace lockstep {

std::string script_opening(const BatchRequest& r, const std::string& how_it_goes_on) {
  std::string text = "#!/usr/bin/env bash\n# " + r.written_by + "\n#\n";
  const std::string ranks = fmt::format("{} rank{} on {} node{}", r.ranks(), r.ranks() == 1 ? "" : "s",
                                        r.nodes, r.nodes == 1 ? "" : "s");
  text += r.n_trials > 0 ? fmt::format("# Runs {} tasks of {} on {} each", r.n_trials, r.job_file, ranks)
                         : fmt::format("# Trains {} on {}", r.job_file, ranks);
  text += ". A run that is stopped saves a checkpoint and ends with\n# status 85; " + how_it_goes_on + "\n";
  for (const std::string& note : r.notes) text += "# " + note + "\n";
  return text + "\n";
}

std::string option_line(const std::string& option, const std::string& comment) {
  return comment.empty() ? option + "\n" : fmt::format("{:<36}# {}\n", option, comment);
}

std::string script_environment(const BatchRequest& r, const std::string& task) {
  std::string text = "set -u\n";
  for (const std::string& module : r.modules) text += "module load " + shell_word(module) + "\n";
  const std::string program = fmt::format("\"${{LOCKSTEP:-{}}}\"", r.program);
  if (r.container.empty()) {
    text += fmt::format("lockstep=({})\n", program);
  } else {
    text += fmt::format("lockstep=(apptainer run{} {})\n", r.gpus_per_node > 0 ? " --nv" : "",
                        shell_word(r.container));
  }
  text += "run=" + shell_word(r.run_folder);
  if (r.n_trials > 0) text += fmt::format("/{}-${}", r.trials.starts_with("kfold") ? "fold" : "cell", task);
  return text + "\n";
}

std::string command_of_ranks(const BatchRequest& r, const std::string& task) {
  std::string text;
  if (r.n_trials > 0) {
    const size_t space = std::min(r.trials.find(' '), r.trials.size());
    text = fmt::format("{} {}{} --out {} --only ${}", r.trials.substr(0, space), shell_word(r.job_file),
                       r.trials.substr(space), shell_word(r.run_folder), task);
  } else {
    text = fmt::format("train {} --out \"$run\" --resume auto", shell_word(r.job_file));
  }
  for (const std::string& assignment : r.settings) text += " --set " + shell_word(assignment);
  return text;
}

}  // namespace lockstep
