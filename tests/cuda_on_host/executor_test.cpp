// The executor on small kernels: right ones give the same bits in every order of threads and blocks; wrong
// ones are noticed. reduce.h and element.h of kernels/cuda are compiled here as they are.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cuda/element.h"
#include "kernels/cuda/reduce.h"

namespace {

using cuda_on_host::Order;
using cuda_on_host::run_grid;
using lockstep::cuda::block_reduce;
using lockstep::cuda::block_sum;
using lockstep::cuda::Maximum;

constexpr Order kOrders[] = {Order::kForward, Order::kReversed, Order::kShuffled};
constexpr unsigned kAll = 0xFFFFFFFFu;

__global__ void softmax(const float* src, float* dst, int n_columns) {
  const float* row = src + static_cast<int64_t>(blockIdx.x) * n_columns;
  float* out = dst + static_cast<int64_t>(blockIdx.x) * n_columns;
  const int begin = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
  float largest = Maximum::none<float>();
  for (int i = begin; i < n_columns; i += step) largest = fmaxf(largest, row[i]);
  largest = block_reduce(largest, Maximum{});
  float sum = 0;
  for (int i = begin; i < n_columns; i += step) sum += expf(row[i] - largest);
  sum = block_sum(sum);
  for (int i = begin; i < n_columns; i += step) out[i] = expf(row[i] - largest) / sum;
}

/// Every thread takes its neighbour's number, with or without the barrier that this needs.
template <bool kWithBarrier>
__global__ void rotate(float* dst) {
  __shared__ float numbers[64];
  const int thread = static_cast<int>(threadIdx.x);
  numbers[thread] = static_cast<float>(thread);
  if (kWithBarrier) __syncthreads();
  dst[64 * blockIdx.x + threadIdx.x] = numbers[(thread + 1) % 64];
}

class Executor : public testing::TestWithParam<Order> {
 protected:
  void SetUp() override { cuda_on_host::set_order(GetParam()); }
  void TearDown() override { cuda_on_host::set_order(Order::kForward); }
};
INSTANTIATE_TEST_SUITE_P(Orders, Executor, testing::ValuesIn(kOrders));

TEST_P(Executor, SoftmaxOfRows) {
  constexpr int kRows = 100, kColumns = 777;
  std::vector<float> src(kRows * kColumns), dst(src.size()), forward(src.size());
  for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<float>(i * 37 % 1009) * 0.01f;
  run_grid(kRows, 128, [&] { softmax(src.data(), dst.data(), kColumns); });
  int64_t n_compared = 0;
  for (int row = 0; row < kRows; ++row) {
    const auto begin = src.begin() + row * kColumns;
    double sum = 0;
    for (int i = 0; i < kColumns; ++i) sum += std::exp(static_cast<double>(begin[i]));
    for (int i = 0; i < kColumns; ++i, ++n_compared)
      ASSERT_NEAR(dst[static_cast<size_t>(row * kColumns + i)], std::exp(begin[i]) / sum, 1e-8);
  }
  EXPECT_EQ(n_compared, 77700);
  cuda_on_host::set_order(Order::kForward);
  run_grid(kRows, 128, [&] { softmax(src.data(), forward.data(), kColumns); });
  EXPECT_EQ(dst, forward);
}

TEST_P(Executor, BlockSumOfEverySize) {
  for (unsigned threads = 32; threads <= 1024; threads += 32) {
    std::vector<int> sums(threads, -1);
    std::vector<double> halves(threads, -1);
    run_grid(1, threads, [&] {
      sums[threadIdx.x] = block_sum(static_cast<int>(threadIdx.x));
      halves[threadIdx.x] = block_sum(0.5);
    });
    EXPECT_EQ(sums, std::vector<int>(threads, static_cast<int>(threads * (threads - 1) / 2))) << threads;
    EXPECT_EQ(halves, std::vector<double>(threads, 0.5 * threads)) << threads;
  }
}

TEST_P(Executor, BarrierMakesSharedMemoryVisible) {
  std::vector<float> dst(3 * 64), expected(3 * 64);
  for (size_t i = 0; i < dst.size(); ++i) expected[i] = static_cast<float>((i + 1) % 64);
  run_grid(3, 64, [&] { rotate<true>(dst.data()); });
  EXPECT_EQ(dst, expected);
}

TEST_P(Executor, ShufflesAndVotes) {
  // Two warps of which the second is half full: its mask names 16 lanes.
  std::vector<int64_t> got(48);
  std::vector<unsigned> ballots(48);
  int n_wrong = 0;
  run_grid(1, 48, [&] {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const unsigned mask = threadIdx.x < 32 ? kAll : 0xFFFFu;
    const int width = threadIdx.x < 32 ? 32 : 16;
    const int64_t value = (int64_t{1} << 40) + threadIdx.x;
    const auto expect = [&](int64_t found, int from) {
      if (found != value - lane + from) ++n_wrong;
    };
    expect(__shfl_sync(mask, value, 5), 5);
    expect(__shfl_sync(mask, value, 3, 8), lane / 8 * 8 + 3);
    expect(__shfl_xor_sync(mask, value, 1), lane ^ 1);
    expect(__shfl_xor_sync(mask, value, 8, width), lane ^ 8);
    expect(__shfl_up_sync(mask, value, 3), lane < 3 ? lane : lane - 3);
    expect(__shfl_down_sync(mask, value, 3, width), lane + 3 < width ? lane + 3 : lane);
    expect(__shfl_down_sync(mask, value, 1, 4), lane % 4 < 3 ? lane + 1 : lane);
    if (__shfl_sync(mask, 1.5f, 0) != 1.5f || __shfl_sync(mask, 2.5, 0) != 2.5) ++n_wrong;
    __syncwarp(mask);
    ballots[threadIdx.x] = __ballot_sync(mask, lane % 3 == 0);
    if (__any_sync(mask, lane == 7) != 1 || __any_sync(mask, 0) != 0) ++n_wrong;
    if (__all_sync(mask, 1) != 1 || __all_sync(mask, lane != 7) != 0) ++n_wrong;
    got[threadIdx.x] = value;
  });
  EXPECT_EQ(n_wrong, 0);
  EXPECT_EQ(got[47], (int64_t{1} << 40) + 47);
  EXPECT_EQ(ballots[0], 0x49249249u);
  EXPECT_EQ(ballots[47], 0x9249u);
}

TEST_P(Executor, BlocksAndThreadsInThreeDimensions) {
  const dim3 grid(3, 5, 2), block(4, 6, 3);
  std::vector<int> visits(30 * 72, 0);
  run_grid(grid, block, [&] {
    const unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    // Thread t is lane t % 32: x is the fastest.
    if (__shfl_sync(t < 64 ? kAll : 0xFFu, t, 1) == t / 32 * 32 + 1) ++visits[b * 72 + t];
    __syncthreads();
  });
  EXPECT_EQ(visits, std::vector<int>(30 * 72, 1));
}

TEST_P(Executor, EveryBlockRunsOnce) {
  for (unsigned blocks : {1u, 2u, 3u, 7u, 64u, 1000u, 1009u}) {
    std::vector<int> visits(blocks, 0);
    run_grid(blocks, 32, [&] { visits[blockIdx.x] += threadIdx.x == 0; });
    EXPECT_EQ(visits, std::vector<int>(blocks, 1)) << blocks;
  }
}

TEST_P(Executor, ThreadsMayReturnEarly) {
  std::vector<float> sums(4);
  run_grid(4, 96, [&] {
    if (threadIdx.x >= 32) return;  // whole warps
    const float sum = lockstep::cuda::warp_reduce(1.0f, lockstep::cuda::Sum{});
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
  });
  EXPECT_EQ(sums, std::vector<float>(4, 32.0f));
}

TEST(MissingBarrier, ShowsInTheBits) {
  std::vector<std::vector<float>> results;
  for (Order order : kOrders) {
    cuda_on_host::set_order(order);
    std::vector<float>& dst = results.emplace_back(64);
    run_grid(1, 64, [&] { rotate<false>(dst.data()); });
#ifndef __SANITIZE_ADDRESS__
    EXPECT_TRUE(std::any_of(dst.begin(), dst.end(), [](float x) { return std::isnan(x); }));
#endif
  }
  cuda_on_host::set_order(Order::kForward);
  const auto differ = [](float a, float b) { return !(a == b); };  // NaN differs from all
  for (size_t i = 1; i < results.size(); ++i) {
    int64_t n_different = 0;
    for (size_t k = 0; k < 64; ++k) n_different += differ(results[0][k], results[i][k]);
    EXPECT_GT(n_different, 0);
  }
}

__global__ void half_at_barrier() {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void two_barriers(int which) {
  if (static_cast<int>(threadIdx.x) == which)
    __syncthreads();
  else
    __syncthreads();
}

TEST(WrongKernel, EndsTheTest) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(run_grid(1, 64, half_at_barrier),
               "divergent barrier: thread \\(0, 0, 0\\) of block \\(0, 0, 0\\) waits for ever at "
               "__syncthreads\\(\\) in .*executor_test.cpp:[0-9]+ .*32 have ended, 32 wait");
  EXPECT_DEATH(run_grid(1, 64, [] { two_barriers(3); }), "divergent barrier: .* but .* at another one in");
  EXPECT_DEATH(run_grid(1, 32,
                        [] {
                          if (threadIdx.x == 0) return;
                          __syncwarp();
                        }),
               "divergent warp: .* waits for ever at a warp operation .*of 32 threads 1 have ended");
  EXPECT_DEATH(run_grid(1, 64,
                        [] {
                          if (threadIdx.x < 8)
                            __syncwarp();
                          else
                            __syncthreads();
                        }),
               "divergent warp: .*56 wait at __syncthreads\\(\\) and 8 at warp operations");
  EXPECT_DEATH(run_grid(1, 32, [] { __shfl_sync(0xFFFFu, 1, 0); }), "which the mask 0x0000ffff .* not name");
  EXPECT_DEATH(run_grid(1, 16, [] { __shfl_sync(0xFFFFu, 1, 16); }), "reads lane 16 in");
  EXPECT_DEATH(run_grid(1, 32,
                        [] {
                          if (threadIdx.x < 16)
                            __shfl_sync(kAll, 1, 0);
                          else
                            __ballot_sync(kAll, 1);
                        }),
               "divergent warp: .* is at the warp operation in");
}

#ifdef __SANITIZE_ADDRESS__
__global__ void beyond_shared(volatile int* n) {
  __shared__ float few[33];
  few[threadIdx.x] = 1;
  __syncthreads();
  *n = static_cast<int>(few[32 + *n]);
}

TEST(WrongKernel, IsSeenByAddressSanitizer) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  float* data = nullptr;
  volatile int one = 1;
  ASSERT_EQ(cudaMalloc(&data, 100 * sizeof(float)), cudaSuccess);
  const auto run_on_device = [](unsigned threads, const auto& thread_body) {
    cuda_on_host::submit(nullptr, [=] { run_grid(1, threads, thread_body); });
  };
  EXPECT_DEATH(run_on_device(101, [=] { data[threadIdx.x] = 1; }), "heap-buffer-overflow");
  EXPECT_DEATH(run_grid(1, 32,
                        [&] {
                          __syncthreads();  // on a fiber that was left and entered again
                          if (threadIdx.x == 31) data[100] = 1;
                        }),
               "heap-buffer-overflow");
  EXPECT_DEATH(run_grid(1, 32, [&] { beyond_shared(&one); }),
               "global-buffer-overflow|index 33 out of bounds");
  EXPECT_DEATH(run_grid(1, 32,
                        [&] {
                          volatile float own[4] = {};
                          __syncthreads();
                          one = static_cast<int>(own[4 + static_cast<int>(threadIdx.x) * one]);
                        }),
               "stack-buffer-overflow|index 4 out of bounds");
  EXPECT_EQ(cudaFree(data), cudaSuccess);
}
#endif

}  // namespace
