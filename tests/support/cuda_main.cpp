// main() of test programs whose ops run on cuda:0. Without such a device they end with the status that
// ctest counts as skipped.
#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/device.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  testing::InitGoogleTest(&argc, argv);
  if (lockstep::cuda_device_count() == 0) {
    std::puts("skipped: this machine has no usable CUDA device");
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}
