// The values of op_test.h: conversion to element types and layouts, random inputs, comparison.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "kernels/reshape.h"
#include "tests/support/guarded_block.h"
#include "tests/support/op_test.h"

namespace lockstep {

namespace {

int64_t total_comparisons = 0;

template <typename T>
void store(const Values& values, std::byte* out) {
  for (size_t i = 0; i < values.size(); ++i) {
    const T value = static_cast<T>(values[i]);
    std::memcpy(out + i * sizeof(T), &value, sizeof(T));
  }
}

template <typename T>
Values load(const std::byte* data, int64_t n) {
  Values values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    values[i] = static_cast<double>(value);
  }
  return values;
}

void store_bfloat16(const Values& values, std::byte* out) {
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = static_cast<float>(values[i]);
    uint32_t word;
    std::memcpy(&word, &value, sizeof(word));
    word += 0x7FFFu + ((word >> 16) & 1u);  // round to nearest even
    const uint16_t half = static_cast<uint16_t>(word >> 16);
    std::memcpy(out + i * sizeof(half), &half, sizeof(half));
  }
}

Values load_bfloat16(const std::byte* data, int64_t n) {
  Values values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half;
    std::memcpy(&half, data + i * sizeof(half), sizeof(half));
    const uint32_t word = uint32_t{half} << 16;
    float value;
    std::memcpy(&value, &word, sizeof(value));
    values[i] = value;
  }
  return values;
}

void store_float16(const Values& values, std::byte* out) {
  for (size_t i = 0; i < values.size(); ++i) {
    const _Float16 value = static_cast<_Float16>(static_cast<float>(values[i]));
    std::memcpy(out + i * sizeof(value), &value, sizeof(value));
  }
}

Values load_float16(const std::byte* data, int64_t n) {
  Values values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    _Float16 value;
    std::memcpy(&value, data + i * sizeof(value), sizeof(value));
    values[i] = static_cast<float>(value);
  }
  return values;
}

void store_dense(const Values& values, DType dtype, std::byte* out) {
  switch (dtype) {
    case DType::kFloat32: return store<float>(values, out);
    case DType::kFloat64: return store<double>(values, out);
    case DType::kUInt8: return store<uint8_t>(values, out);
    case DType::kInt32: return store<int32_t>(values, out);
    case DType::kInt64: return store<int64_t>(values, out);
    case DType::kBFloat16: return store_bfloat16(values, out);
    case DType::kFloat16: return store_float16(values, out);
  }
}

Values load_dense(const std::byte* data, DType dtype, int64_t n) {
  switch (dtype) {
    case DType::kFloat32: return load<float>(data, n);
    case DType::kFloat64: return load<double>(data, n);
    case DType::kUInt8: return load<uint8_t>(data, n);
    case DType::kInt32: return load<int32_t>(data, n);
    case DType::kInt64: return load<int64_t>(data, n);
    case DType::kBFloat16: return load_bfloat16(data, n);
    case DType::kFloat16: return load_float16(data, n);
  }
  return {};
}

/// Runs make_reorder once from `from` to `to`.
void reorder(const TensorDesc& from, const std::byte* source, const TensorDesc& to, std::byte* target) {
  const std::unique_ptr<Op> op = make_reorder(test_config(), from, to);
  const std::unique_ptr<Stream> stream = make_stream(test_device());
  GuardedBlock workspace(op->info().workspace_bytes), scratchpad(op->info().scratchpad_bytes);
  const Tensor src{const_cast<std::byte*>(source), from}, dst{target, to};
  OpArgs args;
  args.src = {&src, 1};
  args.dst = {&dst, 1};
  args.workspace = workspace.data();
  args.scratchpad = scratchpad.data();
  op->prepare(*stream, {});
  op->forward(*stream, args);
  stream->synchronize();
}

double rms(const Values& values) {
  double sum = 0;
  for (double v : values) sum += v * v;
  return values.empty() ? 0 : std::sqrt(sum / static_cast<double>(values.size()));
}

}  // namespace

namespace {
std::map<std::byte*, Memory>& shared_blocks() {
  static auto* blocks = new std::map<std::byte*, Memory>;
  return *blocks;
}
}  // namespace

std::byte* allocate_shared_bytes(size_t n_bytes) {
  Memory memory = Memory::on_host(test_device(), static_cast<int64_t>(std::max<size_t>(n_bytes, 1)));
  std::byte* data = memory.data();
  shared_blocks().emplace(data, std::move(memory));
  return data;
}
void release_shared_bytes(std::byte* data) { shared_blocks().erase(data); }

std::vector<std::byte> to_layout(const Values& values, const TensorDesc& desc) {
  EXPECT_EQ(static_cast<int64_t>(values.size()), desc.n_elements()) << "values for " << desc.shape.str();
  GuardedBlock dense(desc.dense().n_bytes());
  store_dense(values, desc.dtype, dense.data());
  if (!desc.layout) return dense.bytes();
  GuardedBlock blocked(desc.n_bytes());
  reorder(desc.dense(), dense.data(), desc, blocked.data());
  EXPECT_TRUE(blocked.guards_intact()) << "reorder to " << desc.layout->name();
  return blocked.bytes();
}

Values to_dense(const void* data, const TensorDesc& desc) {
  const std::byte* bytes = static_cast<const std::byte*>(data);
  if (!desc.layout) return load_dense(bytes, desc.dtype, desc.n_elements());
  GuardedBlock dense(desc.dense().n_bytes());
  reorder(desc, bytes, desc.dense(), dense.data());
  EXPECT_TRUE(dense.guards_intact()) << "reorder from " << desc.layout->name();
  return load_dense(dense.data(), desc.dtype, desc.n_elements());
}

Values random_values(int64_t n, uint64_t seed, double low, double high) {
  std::mt19937_64 engine(seed);
  Values values(static_cast<size_t>(n));
  // The engine is fixed by the standard, the distributions of <random> are not.
  for (double& v : values)
    v = static_cast<float>(low + (high - low) * static_cast<double>(engine() >> 11) * 0x1p-53);
  return values;
}

Values integer_values(int64_t n, uint64_t seed, int64_t low, int64_t high) {
  std::mt19937_64 engine(seed);
  Values values(static_cast<size_t>(n));
  for (double& v : values)
    v = static_cast<double>(low + static_cast<int64_t>(engine() % static_cast<uint64_t>(high - low + 1)));
  return values;
}

Values rounded_to_bfloat16(const Values& values) {
  std::vector<std::byte> bytes(values.size() * 2);
  store_bfloat16(values, bytes.data());
  return load_bfloat16(bytes.data(), static_cast<int64_t>(values.size()));
}

DenseTensor random_tensor(const Shape& shape, uint64_t seed, double low, double high) {
  return {shape, random_values(shape.n_elements(), seed, low, high)};
}

int64_t expect_close(const Values& actual, const Values& expected, double relative, const std::string& what,
                     double scale) {
  EXPECT_FALSE(expected.empty()) << what << ": nothing to compare";
  EXPECT_EQ(actual.size(), expected.size()) << what;
  if (actual.size() != expected.size()) return 0;
  scale = std::max(scale, rms(expected));
  int64_t n_wrong = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double tolerance = relative == 0 ? 0 : relative * std::max(std::abs(expected[i]), scale);
    if (std::abs(actual[i] - expected[i]) <= tolerance) continue;  // false for NaN
    if (actual[i] == expected[i]) continue;                        // equal infinities
    if (++n_wrong <= 5)
      ADD_FAILURE() << what << "[" << i << "] = " << testing::PrintToString(actual[i]) << ", expected "
                    << testing::PrintToString(expected[i]) << " within " << tolerance;
  }
  EXPECT_EQ(n_wrong, 0) << what << ": wrong elements of " << expected.size();
  count_comparisons(static_cast<int64_t>(expected.size()));
  return static_cast<int64_t>(expected.size());
}

Values numeric_gradient(const std::function<double(const Values&)>& f, Values x, double h) {
  Values gradient(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double center = x[i];
    x[i] = center + h;
    const double above = f(x);
    x[i] = center - h;
    const double below = f(x);
    x[i] = center;
    gradient[i] = (above - below) / (2 * h);
  }
  return gradient;
}

void count_comparisons(int64_t n) { total_comparisons += n; }

void OpTest::SetUp() { n_before_ = total_comparisons; }
void OpTest::TearDown() {
  if (IsSkipped()) return;
  EXPECT_GT(n_comparisons(), 0) << "the test compared nothing";
}
int64_t OpTest::n_comparisons() const { return total_comparisons - n_before_; }

}  // namespace lockstep
