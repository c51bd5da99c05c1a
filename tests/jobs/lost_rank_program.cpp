// A program of its own around Run, of whose two ranks the second one dies: what the library then tells the first.
//
//   mpirun -n 2 lost_rank_program JOB RUN_FOLDER FILE
//
// The status that RunOptions::when_rank_lost was called with goes to FILE; the first rank then goes on by itself to
// its own end, with status 3.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "comm/communicator.h"
#include "src/run/run.h"

namespace lockstep {
namespace {

constexpr int64_t kLastStep = 8;  // of the second rank

int run(int argc, char** argv) {
  MpiSession session(&argc, &argv);
  Communicator world = Communicator::world();
  if (argc != 4) return 2;
  const Job job = read_job(Config::from_file(argv[1]));
  const std::string told = argv[3];
  RunOptions options;
  options.out = argv[2];
  options.prints = false;
  options.when_rank_lost = [told](int status) {
    std::ofstream(told) << status;
    _exit(3);
  };
  Run training(job, world, options);
  while (training.goes_on()) {
    if (!world.is_root() && training.steps_done() == kLastStep) raise(SIGKILL);
    training.advance();
  }
  training.finish();
  return 0;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) { return lockstep::run(argc, argv); }
