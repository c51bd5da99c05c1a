#include "jobs/job_file.h"

#include <optional>

#include "comm/agreement.h"

namespace lockstep {

Config read_job_file(const std::string& path, const Words& assignments) {
  Config config = Config::from_file(path);
  for (const std::string& assignment : assignments) config.set(assignment);
  return config;
}

Job read_job_on_all_ranks(Communicator& comm, const std::string& path, const Words& assignments) {
  std::optional<Config> read;  // on root: it knows the lines of the file and what --set changed
  std::string text;
  check_on_root(comm, [&] {
    read = read_job_file(path, assignments);
    read_job(*read);
    text = read->dump();
  });
  text = comm.broadcast_string(text);
  const Config from_root = Config::from_text(text, path);
  Job job = read_job(read ? *read : from_root);
  job.text = from_root.dump();
  return job;
}

}  // namespace lockstep
