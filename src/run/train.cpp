#include "src/run/train.h"

namespace lockstep {

RunResult train(const Job& job, Communicator& comm, const RunOptions& options) {
  Run run(job, comm, options);
  while (run.goes_on()) run.advance();
  return run.finish();
}

}  // namespace lockstep
