// Devices, their memory and the thread setting; what a build without CUDA says about GPUs.
#include "kernels/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <utility>

#include "kernels/error.h"

namespace lockstep {
namespace {

TEST(Memory, IsAlignedZeroedAndOwned) {
  for (int64_t n_bytes :
       {int64_t{1}, int64_t{4095}, int64_t{4096}, int64_t{1} << 16, (int64_t{2} << 20) + 12}) {
    Memory memory(Device{}, n_bytes);
    ASSERT_NE(memory.data(), nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 4096, 0u);
    EXPECT_EQ(memory.n_bytes(), n_bytes);
    EXPECT_TRUE(
        std::all_of(memory.data(), memory.data() + n_bytes, [](std::byte b) { return b == std::byte{0}; }));
    memory.data()[n_bytes - 1] = std::byte{7};

    std::byte* const data = memory.data();
    Memory moved = std::move(memory);
    EXPECT_EQ(moved.data(), data);
    EXPECT_EQ(memory.data(), nullptr);  // NOLINT(bugprone-use-after-move): what the test is about
    moved = Memory(Device{}, 64);
    EXPECT_EQ(moved.n_bytes(), 64);
  }
  EXPECT_EQ(Memory(Device{}, 0).data(), nullptr);
  EXPECT_THROW(Memory(Device{}, -1), Error);
}

TEST(Memory, TellsWhenThereIsNoRoom) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer ends the program instead";
#endif
  try {
    const Memory memory(Device{}, int64_t{1} << 62);
    FAIL() << "got 4 EiB";
  } catch (const Error& error) {
    EXPECT_NE(error.remedy().find("batch.micro"), std::string::npos) << error.what();
  }
}

TEST(Device, HasNames) {
  EXPECT_EQ(Device{}.str(), "cpu");
  EXPECT_EQ((Device{Device::Kind::kCuda, 1}.str()), "cuda:1");
  EXPECT_FALSE(device_name({}).empty());
}

TEST(Device, WithoutCudaSaysHowToGetIt) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "this machine has a GPU";
  const Device cuda{Device::Kind::kCuda, 0};
  try {
    make_stream(cuda);
    FAIL() << "made a stream on a GPU that is not there";
  } catch (const Error& error) {
    EXPECT_FALSE(error.remedy().empty()) << error.what();
  }
  EXPECT_THROW(Memory(cuda, 64), Error);
  EXPECT_THROW(device_name(cuda), Error);
}

TEST(ComputeThreads, HoldInEveryThread) {
  EXPECT_THROW(set_compute_threads(0), Error);
  EXPECT_GE(compute_threads(), 1);
  set_compute_threads(3);
  EXPECT_EQ(compute_threads(), 3);
  int elsewhere = 0;
  std::thread([&] { elsewhere = compute_threads(); }).join();
  EXPECT_EQ(elsewhere, 3);
}

TEST(Stream, RunsOnItsDevice) {
  const auto stream = make_stream(Device{});
  EXPECT_EQ(stream->device(), Device{});
  stream->synchronize();
}

}  // namespace
}  // namespace lockstep
