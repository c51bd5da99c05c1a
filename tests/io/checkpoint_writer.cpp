// checkpoint_writer FOLDER STATE: saves a made-up state whose content depends only on its
// name, so that runs on different rank counts can be compared byte by byte.
//
// STATE: odd (many shapes and types), many (200 tensors), large (10 million elements), or
// MIB (a number: that many MiB in eight tensors; saves five times, prints the rates, and leaves no file).
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "comm/communicator.h"
#include "kernels/error.h"
#include "tests/io/checkpoint_state.h"

int main(int argc, char** argv) {
  lockstep::MpiSession session(&argc, &argv);
  lockstep::Communicator comm = lockstep::Communicator::world();
  if (argc != 3) {
    std::fprintf(stderr, "usage: checkpoint_writer FOLDER odd|many|large|MIB\n");
    return 2;
  }
  try {
    const int64_t n_mib = std::atoll(argv[2]);
    lockstep::TestState state = lockstep::make_state(argv[2], n_mib);
    for (int repeat = 0; repeat < (n_mib > 0 ? 5 : 1); ++repeat) {
      state.info.step = 1000 + repeat;  // replacing a file would time its deletion
      comm.barrier();
      const auto start = std::chrono::steady_clock::now();
      const std::string path = lockstep::save_checkpoint(comm, argv[1], state.info, state.tensors());
      comm.barrier();
      const double time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (!comm.is_root()) continue;
      std::printf("%s", path.c_str());
      if (n_mib > 0) std::printf("  %.3f s  %.0f MiB/s", time_s, static_cast<double>(n_mib) / time_s);
      std::printf("\n");
      if (n_mib > 0) std::remove(path.c_str());
    }
  } catch (const lockstep::Error& error) {
    if (comm.is_root()) std::fprintf(stderr, "checkpoint_writer: %s\n", error.what());
    return 1;
  }
  return 0;
}
