// Harness that runs any Op and judges it: on the CPU, and in test programs compiled with
// LOCKSTEP_TEST_CUDA on a GPU or on the stand-in for one (tests/cuda_on_host). The test speaks in dense
// row-major values; the harness moves them into the layouts the op wants and back. Around every call
// it checks what op.h promises: nothing outside the outputs is written (guard bytes), inputs
// stay as they were, outputs are written and not added to, backward reads src and dst only
// where info() says so, and a second forward and backward give equal bits.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

/// Elements of one tensor in dense row-major order. double holds float32, float64 and
/// integers below 2^53 exactly.
using Values = std::vector<double>;

/// A dense tensor of a test. Values are converted to `dtype` when the op gets them.
struct DenseTensor {
  Shape shape;
  Values values;
  DType dtype = DType::kFloat32;
};

/// What a test gives an op. Shapes and dtypes of dst and diff_src come from op.info().
struct OpInputs {
  std::vector<DenseTensor> src;
  std::vector<DenseTensor> params;
  /// One per dst, values only; empty: the op takes none (losses) or backward is not run. One that is empty
  /// itself is an empty tensor: zero.
  std::vector<Values> diff_dst;
  BatchContext batch;  // n_valid 0: all rows of src[0] are valid
  bool run_backward = true;
  bool wants_diff_src = true;  // false: diff_src tensors are empty
};

/// What the op wrote, dense row-major. diff_src has one entry per src; entries of integer
/// sources and unwanted gradients are empty. Padding of blocked layouts is not part of it.
struct OpOutputs {
  std::vector<Values> dst, diff_src, diff_params;
};

/// The device of this test program: the CPU, or cuda:0.
inline Device test_device() {
#ifdef LOCKSTEP_TEST_CUDA
  return {Device::Kind::kCuda, 0};
#else
  return {};
#endif
}

/// The types of activations with fewer bits than float32 that ops of this device take. All hold the
/// numbers of rounded_to_bfloat16 (to 2^-24 in float16).
#ifdef LOCKSTEP_TEST_CUDA
inline constexpr DType kNarrowTypes[] = {DType::kBFloat16, DType::kFloat16};
#else
inline constexpr DType kNarrowTypes[] = {DType::kBFloat16};
#endif

/// The config of ops under test: float32, training.
inline OpConfig test_config() { return {.device = test_device()}; }

/// Memory that the test and the device under test both reach.
template <typename T>
struct SharedAllocator {
  using value_type = T;
  SharedAllocator() = default;
  template <typename U>
  SharedAllocator(const SharedAllocator<U>&) {}
  T* allocate(size_t n);
  void deallocate(T* data, size_t);
  bool operator==(const SharedAllocator&) const = default;
};
std::byte* allocate_shared_bytes(size_t n_bytes);
void release_shared_bytes(std::byte* data);
template <typename T>
T* SharedAllocator<T>::allocate(size_t n) {
  return reinterpret_cast<T*>(allocate_shared_bytes(n * sizeof(T)));
}
template <typename T>
void SharedAllocator<T>::deallocate(T* data, size_t) {
  release_shared_bytes(reinterpret_cast<std::byte*>(data));
}
/// A vector for functions that take pointers into the device's memory.
template <typename T>
using SharedVector = std::vector<T, SharedAllocator<T>>;

/// prepare, then forward and backward twice on fresh NaN-filled memory; adds GoogleTest
/// failures where a promise of op.h is broken. Returns the values of the first round.
OpOutputs run_op(Op& op, const OpInputs& inputs);

/// Dense values -> bytes of `desc` (its layout included) and back; `to_dense` is what run_op
/// uses and is public for tests that bind tensors themselves.
std::vector<std::byte> to_layout(const Values& values, const TensorDesc& desc);
Values to_dense(const void* data, const TensorDesc& desc);

/// Uniform in [low, high), rounded to float32; equal for equal (n, seed) on every machine.
Values random_values(int64_t n, uint64_t seed, double low = -1.0, double high = 1.0);
/// Uniform integers in [low, high]: for sums that must be exact in float32.
Values integer_values(int64_t n, uint64_t seed, int64_t low, int64_t high);
/// The nearest bfloat16 numbers, so that an op which rounds its inputs changes nothing.
Values rounded_to_bfloat16(const Values& values);
/// A tensor of random_values of that shape.
DenseTensor random_tensor(const Shape& shape, uint64_t seed, double low = -1.0, double high = 1.0);

/// Expects equal sizes, at least one element, no NaN, and for every i
///   |actual_i - expected_i| <= relative * max(|expected_i|, rms(expected), scale).
/// relative 0: exactly equal. scale: the size of the terms, where they cancel in the sum. Counts the
/// comparisons; returns how many it made.
int64_t expect_close(const Values& actual, const Values& expected, double relative, const std::string& what,
                     double scale = 0);

/// Central differences of a float64 function: d f / d x_i by (f(x + h e_i) - f(x - h e_i)) / 2h.
Values numeric_gradient(const std::function<double(const Values&)>& f, Values x, double h = 1e-5);

/// Checks an op against itself: with L(src, params) = sum of inputs.diff_dst · dst (a projection
/// of dst, random if inputs.diff_dst is empty), compares diff_src and diff_params with
/// central differences of L. The op computes in float32, so h is large and the tolerance loose;
/// choose inputs away from kinks (relu at 0, ties of a maximum). At most `max_elements` elements
/// per tensor, evenly spread.
struct GradientCheck {
  double h = 1e-2;
  double relative = 1e-2;  // float32 rounding of L over 2h, plus the curvature h^2 f'''/6
  int64_t max_elements = 200;
};
void check_gradients(Op& op, OpInputs inputs, const GradientCheck& options = {});

/// Fixtures whose tests fail if they compared nothing.
class OpTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  int64_t n_comparisons() const;

 private:
  int64_t n_before_ = 0;
};
template <typename Param>
class OpTestWith : public OpTest, public testing::WithParamInterface<Param> {};

/// For checks made without expect_close: counts them for the fixture.
void count_comparisons(int64_t n);

}  // namespace lockstep
