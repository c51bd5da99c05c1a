// checkpoint_writer FOLDER STATE: saves a made-up state whose content depends only on its
// name, so that runs on different rank counts can be compared byte by byte.
// checkpoint_writer FOLDER STATE RANK T: saves it beside training as steps 1, 2, 3 …, keeping the last
// two, until that rank kills itself (SIGKILL) T microseconds after the first file was there.
//
// STATE: odd (many shapes and types), many (200 tensors) or large (10 million elements).
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "comm/communicator.h"
#include "io/checkpoint/checkpoint_saver.h"
#include "kernels/error.h"
#include "tests/io/checkpoint_state.h"

namespace lockstep {
namespace {

[[noreturn]] void save_until_killed(Communicator& comm, const std::string& folder, TestState& state,
                                    int killed_rank, std::chrono::microseconds delay) {
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  CheckpointSaver saver(comm, folder, state.tensors(), Device{});
  for (int64_t step = 1;; ++step) {
    state.info.step = step;
    saver.start(*stream, state.info, [&] {
      prune_checkpoints(folder, 2, [](int64_t) { return false; });
      link_checkpoint(folder, kLastLink, step);
    });
    saver.wait();
    if (step > 1 || comm.rank() != killed_rank) continue;
    std::thread([delay] {
      std::this_thread::sleep_for(delay);
      std::raise(SIGKILL);
    }).detach();
  }
}

int run(int argc, char** argv) {
  Communicator comm = Communicator::world();
  if (argc != 3 && argc != 5) {
    std::fprintf(stderr, "usage: checkpoint_writer FOLDER odd|many|large [RANK MICROSECONDS]\n");
    return 2;
  }
  TestState state = make_state(argv[2]);
  try {
    if (argc == 5)
      save_until_killed(comm, argv[1], state, std::atoi(argv[3]),
                        std::chrono::microseconds(std::atoll(argv[4])));
    const std::string path = save_checkpoint(comm, argv[1], state.info, state.tensors());
    if (comm.is_root()) std::printf("%s\n", path.c_str());
  } catch (const Error& error) {
    if (comm.is_root()) std::fprintf(stderr, "checkpoint_writer: %s\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  lockstep::MpiSession session(&argc, &argv);
  return lockstep::run(argc, argv);
}
