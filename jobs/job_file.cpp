#include "jobs/job_file.h"

#include "comm/agreement.h"

namespace lockstep {

Config read_job_file(const std::string& path, const Words& assignments) {
  Config config = Config::from_file(path);
  for (const std::string& assignment : assignments) config.set(assignment);
  return config;
}

Job read_job_on_all_ranks(Communicator& comm, const std::string& path, const Words& assignments) {
  std::string text;
  check_on_root(comm, [&] {
    const Config config = read_job_file(path, assignments);
    read_job(config);
    text = config.dump();
  });
  return read_job(Config::from_text(comm.broadcast_string(text), path));
}

}  // namespace lockstep
