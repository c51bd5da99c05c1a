// A small program with the main() that lockstep has, ending in the way its argument names.
// tests/comm/program_end_test.cpp starts it on two ranks and looks at how it ends.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "comm/agreement.h"
#include "comm/communicator.h"
#include "comm/reduction/gradient_reducer.h"

using namespace lockstep;

namespace {

void wait_for_ever_in_a_collective(Communicator& world) {
  if (!world.is_root()) sleep(60);
  world.barrier();
}

int run(const std::string& how) {
  Communicator world = Communicator::world();
  const bool failing = world.rank() == 1;
  if (how == "throw" && failing) throw Error("layer conv1", "went wrong on one rank");
  if (how == "kill" && failing) raise(SIGKILL);
  if (how == "status" && failing) abort_all("status wanted", 7);
  if (how == "agreed")
    all_or_none(world, [&] {
      if (failing) throw Error("shard.h5", "is not readable", "copy it again");
    });
  if (how == "reducer") {  // rank 1 throws while its comm thread waits for a bucket of rank 0
    std::vector<float> gradients(1 << 20, 1.0f);
    GradientReducer reducer(world, Reduction::kTree, {{0, 1 << 19}, {1 << 19, 1 << 20}});
    reducer.bucket_ready(0, gradients.data());
    if (failing) reducer.bucket_ready(1, gradients.data());
    usleep(300000);  // let the comm thread get into the bucket that rank 0 never hands in
    if (failing) throw Error("layer conv1", "went wrong beside the reduction");
    reducer.wait();
    wait_for_ever_in_a_collective(world);
  }
  if (how == "session") return 0;
  if (how != "well") wait_for_ever_in_a_collective(world);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  try {
    MpiSession session(&argc, &argv);
    if (how == "unwind") {  // an exception leaves the session itself
      Communicator world = Communicator::world();
      if (world.rank() == 1) throw Error("unwinding", "passes the session on one rank");
      wait_for_ever_in_a_collective(world);
    }
    try {
      return run(how);
    } catch (const AgreedError& error) {
      if (launcher_rank() == 0) std::fprintf(stderr, "lockstep: %s\n", error.what());
      return kExitError;
    } catch (const std::exception& error) {
      abort_all(error.what(), kExitError);
    }
  } catch (const std::exception& error) {
    abort_all(error.what(), kExitError);
  }
}
