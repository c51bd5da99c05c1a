// libFuzzer's entry: runs the reader that the environment variable LOCKSTEP_FUZZ_READER names. One program
// holds all readers, since linking costs more than compiling them.
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/reader.h"

namespace {
const lockstep::fuzz::Reader* chosen = nullptr;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* name = std::getenv("LOCKSTEP_FUZZ_READER");
  chosen = lockstep::fuzz::find_reader(name ? name : "");
  if (chosen) return 0;
  std::fprintf(stderr, "Set LOCKSTEP_FUZZ_READER to one of:");
  for (const auto& reader : lockstep::fuzz::readers()) std::fprintf(stderr, " %s", reader.name.c_str());
  std::fprintf(stderr, "\n");
  std::exit(2);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t n_bytes) {
  lockstep::fuzz::run(*chosen, {reinterpret_cast<const char*>(data), n_bytes});
  return 0;
}
