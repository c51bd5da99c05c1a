// See op_test.h. Every tensor lives in its own block between guard bytes; under the address
// sanitizer the guards are poisoned, so that stray reads are found as well.
#include "tests/support/op_test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <random>
#include <utility>

#include "kernels/reshape.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace lockstep {

namespace {

constexpr int64_t kGuardBytes = 256;
constexpr std::align_val_t kAlignment{64};
constexpr int kGuard = 0xA5;
constexpr int kFill = 0xFF;  // a NaN in every float format, -1 in every integer

int64_t total_comparisons = 0;

/// Memory of one tensor between two guards.
class Block {
 public:
  explicit Block(int64_t n_bytes) : n_bytes_(n_bytes) {
    base_ =
        static_cast<std::byte*>(::operator new(static_cast<size_t>(n_bytes + 2 * kGuardBytes), kAlignment));
    std::memset(base_, kGuard, kGuardBytes);
    std::memset(data() + n_bytes_, kGuard, kGuardBytes);
    fill();
    ASAN_POISON_MEMORY_REGION(base_, kGuardBytes);
    ASAN_POISON_MEMORY_REGION(data() + n_bytes_, kGuardBytes);
  }
  ~Block() {
    if (!base_) return;
    unpoison();
    ::operator delete(base_, kAlignment);
  }
  Block(Block&& other) noexcept : base_(std::exchange(other.base_, nullptr)), n_bytes_(other.n_bytes_) {}
  Block& operator=(Block&&) = delete;

  std::byte* data() const { return base_ + kGuardBytes; }
  int64_t n_bytes() const { return n_bytes_; }
  void fill() { std::memset(data(), kFill, static_cast<size_t>(n_bytes_)); }
  void set(const std::vector<std::byte>& bytes) {
    ASSERT_EQ(static_cast<int64_t>(bytes.size()), n_bytes_);
    if (n_bytes_ > 0) std::memcpy(data(), bytes.data(), bytes.size());
  }
  std::vector<std::byte> bytes() const { return {data(), data() + n_bytes_}; }

  bool guards_intact() {
    unpoison();
    const auto intact = [](std::byte b) { return b == std::byte{kGuard}; };
    const bool result = std::all_of(base_, data(), intact) &&
                        std::all_of(data() + n_bytes_, data() + n_bytes_ + kGuardBytes, intact);
    ASAN_POISON_MEMORY_REGION(base_, kGuardBytes);
    ASAN_POISON_MEMORY_REGION(data() + n_bytes_, kGuardBytes);
    return result;
  }

 private:
  void unpoison() { ASAN_UNPOISON_MEMORY_REGION(base_, n_bytes_ + 2 * kGuardBytes); }
  std::byte* base_ = nullptr;
  int64_t n_bytes_ = 0;
};

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

void store_dense(const Values& values, DType dtype, std::byte* out) {
  switch (dtype) {
    case DType::kFloat32: return store<float>(values, out);
    case DType::kFloat64: return store<double>(values, out);
    case DType::kUInt8: return store<uint8_t>(values, out);
    case DType::kInt32: return store<int32_t>(values, out);
    case DType::kInt64: return store<int64_t>(values, out);
    case DType::kBFloat16: return store_bfloat16(values, out);
    case DType::kFloat16: break;
  }
  ADD_FAILURE() << "the test harness has no " << name_of(dtype);
}

Values load_dense(const std::byte* data, DType dtype, int64_t n) {
  switch (dtype) {
    case DType::kFloat32: return load<float>(data, n);
    case DType::kFloat64: return load<double>(data, n);
    case DType::kUInt8: return load<uint8_t>(data, n);
    case DType::kInt32: return load<int32_t>(data, n);
    case DType::kInt64: return load<int64_t>(data, n);
    case DType::kBFloat16: return load_bfloat16(data, n);
    case DType::kFloat16: break;
  }
  ADD_FAILURE() << "the test harness has no " << name_of(dtype);
  return {};
}

bool is_integer(DType dtype) {
  return dtype == DType::kUInt8 || dtype == DType::kInt32 || dtype == DType::kInt64;
}

/// Runs make_reorder once from `from` to `to`.
void reorder(const TensorDesc& from, const std::byte* source, const TensorDesc& to, std::byte* target) {
  const std::unique_ptr<Op> op = make_reorder(cpu_config(), from, to);
  const std::unique_ptr<Stream> stream = make_stream(Device{});
  Block workspace(op->info().workspace_bytes), scratchpad(op->info().scratchpad_bytes);
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

/// Tensors of one role (src, dst, …) with their memory. A tensor may share another's block.
struct Group {
  std::vector<Block> blocks;
  std::vector<Tensor> tensors;

  void add(const TensorDesc& desc) {
    blocks.emplace_back(desc.n_bytes());
    tensors.push_back({blocks.back().data(), desc});
  }
  void add_empty(const TensorDesc& desc) { tensors.push_back({nullptr, desc}); }
  void fill() {
    for (Block& block : blocks) block.fill();
  }
  std::vector<std::vector<std::byte>> bytes() const {
    std::vector<std::vector<std::byte>> all;
    for (const Block& block : blocks) all.push_back(block.bytes());
    return all;
  }
  std::vector<Values> dense() const {
    std::vector<Values> all;
    for (const Tensor& tensor : tensors)
      all.push_back(tensor.empty() ? Values{} : to_dense(tensor.data, tensor.desc));
    return all;
  }
  void expect_guards(const char* what) {
    for (Block& block : blocks) EXPECT_TRUE(block.guards_intact()) << "wrote outside of " << what;
  }
};

double rms(const Values& values) {
  double sum = 0;
  for (double v : values) sum += v * v;
  return values.empty() ? 0 : std::sqrt(sum / static_cast<double>(values.size()));
}

}  // namespace

OpConfig cpu_config() { return {}; }

std::vector<std::byte> to_layout(const Values& values, const TensorDesc& desc) {
  EXPECT_EQ(static_cast<int64_t>(values.size()), desc.n_elements()) << "values for " << desc.shape.str();
  Block dense(desc.dense().n_bytes());
  store_dense(values, desc.dtype, dense.data());
  if (!desc.layout) return dense.bytes();
  Block blocked(desc.n_bytes());
  reorder(desc.dense(), dense.data(), desc, blocked.data());
  EXPECT_TRUE(blocked.guards_intact()) << "reorder to " << desc.layout->name();
  return blocked.bytes();
}

Values to_dense(const void* data, const TensorDesc& desc) {
  const std::byte* bytes = static_cast<const std::byte*>(data);
  if (!desc.layout) return load_dense(bytes, desc.dtype, desc.n_elements());
  Block dense(desc.dense().n_bytes());
  reorder(desc, bytes, desc.dense(), dense.data());
  EXPECT_TRUE(dense.guards_intact()) << "reorder from " << desc.layout->name();
  return load_dense(dense.data(), desc.dtype, desc.n_elements());
}

OpOutputs run_op(Op& op, const OpInputs& inputs) {
  const OpInfo& info = op.info();
  OpOutputs outputs;
  if (info.src.size() != inputs.src.size()) {
    ADD_FAILURE() << "the op takes " << info.src.size() << " sources, the test gives " << inputs.src.size();
    return outputs;
  }
  if (!inputs.diff_dst.empty() && inputs.diff_dst.size() != info.dst.size()) {
    ADD_FAILURE() << "the op has " << info.dst.size() << " outputs, the test gives " << inputs.diff_dst.size()
                  << " diff_dst";
    return outputs;
  }

  Group src, dst, params, diff_src, diff_dst, diff_params;
  std::vector<std::vector<std::byte>> src_bytes, diff_dst_bytes;
  for (size_t i = 0; i < info.src.size(); ++i) {
    EXPECT_EQ(info.src[i].shape, inputs.src[i].shape) << "src " << i;
    EXPECT_EQ(info.src[i].dtype, inputs.src[i].dtype) << "src " << i;
    src.add(info.src[i]);
    src_bytes.push_back(to_layout(inputs.src[i].values, info.src[i]));
    const bool shares = info.aliases_src && i == 0;
    if (!inputs.wants_diff_src || is_integer(info.src[i].dtype) || shares) {
      diff_src.add_empty(info.src[i]);
    } else {
      diff_src.add(info.src[i]);
    }
  }
  for (size_t i = 0; i < info.dst.size(); ++i) {
    if (info.aliases_src && i == 0) {
      dst.tensors.push_back({src.tensors[0].data, info.dst[0]});
    } else {
      dst.add(info.dst[i]);
    }
    if (inputs.diff_dst.empty()) {
      diff_dst.add_empty(info.dst[i]);
    } else {
      diff_dst.add(info.dst[i]);
      diff_dst_bytes.push_back(to_layout(inputs.diff_dst[i], info.dst[i]));
    }
  }
  if (info.aliases_src && inputs.wants_diff_src && !diff_dst.tensors[0].empty())
    diff_src.tensors[0].data = diff_dst.tensors[0].data;
  std::vector<std::vector<std::byte>> params_bytes;
  for (const DenseTensor& param : inputs.params) {
    const TensorDesc desc{param.shape, param.dtype, nullptr};
    params.add(desc);
    diff_params.add(desc);
    params_bytes.push_back(to_layout(param.values, desc));
    params.blocks.back().set(params_bytes.back());
  }
  Block workspace(info.workspace_bytes), scratchpad(info.scratchpad_bytes);

  BatchContext batch = inputs.batch;
  std::vector<int64_t> sample_ids;
  if (!info.src.empty() && info.src[0].shape.rank() > 0) {
    const int64_t n = info.src[0].shape[0];
    if (batch.n_valid == 0) batch.n_valid = n;
    for (int64_t i = 0; i < n; ++i) sample_ids.push_back(1000 + 7 * i);
    if (!batch.sample_ids) batch.sample_ids = sample_ids.data();
  }
  OpArgs args;
  args.src = src.tensors;
  args.dst = dst.tensors;
  args.params = params.tensors;
  args.diff_src = diff_src.tensors;
  args.diff_dst = diff_dst.tensors;
  args.diff_params = diff_params.tensors;
  args.workspace = workspace.data();
  args.scratchpad = scratchpad.data();
  args.batch = &batch;

  const std::unique_ptr<Stream> stream = make_stream(Device{});
  std::vector<std::vector<std::byte>> first_dst, first_diff_src, first_diff_params;
  for (int round = 0; round < 2; ++round) {
    const std::string where = round == 0 ? "first round" : "second round";
    for (size_t i = 0; i < src_bytes.size(); ++i) src.blocks[i].set(src_bytes[i]);
    dst.fill();
    workspace.fill();
    scratchpad.fill();
    op.prepare(*stream, params.tensors);
    op.forward(*stream, args);
    stream->synchronize();
    EXPECT_EQ(src.bytes(), src_bytes) << "forward changed src, " << where;
    EXPECT_EQ(params.bytes(), params_bytes) << "forward changed params, " << where;
    if (round == 0) {
      outputs.dst = dst.dense();
      first_dst = dst.bytes();
    } else {
      EXPECT_EQ(dst.bytes(), first_dst) << "a repeated forward gave other bits";
    }
    if (inputs.run_backward) {
      if (!info.backward_needs_src && !info.aliases_src) src.fill();
      if (!info.backward_needs_dst) dst.fill();
      diff_src.fill();
      diff_params.fill();
      scratchpad.fill();
      for (size_t i = 0; i < diff_dst_bytes.size(); ++i) diff_dst.blocks[i].set(diff_dst_bytes[i]);
      const auto src_before = src.bytes(), dst_before = dst.bytes();
      op.backward(*stream, args);
      stream->synchronize();
      EXPECT_EQ(src.bytes(), src_before) << "backward changed src, " << where;
      EXPECT_EQ(dst.bytes(), dst_before) << "backward changed dst, " << where;
      EXPECT_EQ(params.bytes(), params_bytes) << "backward changed params, " << where;
      EXPECT_EQ(diff_dst.bytes(), diff_dst_bytes) << "backward changed diff_dst, " << where;
      if (round == 0) {
        outputs.diff_src = diff_src.dense();
        outputs.diff_params = diff_params.dense();
        first_diff_src = diff_src.bytes();
        first_diff_params = diff_params.bytes();
      } else {
        EXPECT_EQ(diff_src.bytes(), first_diff_src) << "a repeated backward gave other diff_src bits";
        EXPECT_EQ(diff_params.bytes(), first_diff_params)
            << "a repeated backward gave other diff_params bits";
      }
    }
    src.expect_guards("src");
    dst.expect_guards("dst");
    params.expect_guards("params");
    diff_src.expect_guards("diff_src");
    diff_dst.expect_guards("diff_dst");
    diff_params.expect_guards("diff_params");
    EXPECT_TRUE(workspace.guards_intact()) << "wrote outside of the workspace";
    EXPECT_TRUE(scratchpad.guards_intact()) << "wrote outside of the scratchpad";
  }
  return outputs;
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

DenseTensor random_tensor(const Shape& shape, uint64_t seed, double low, double high) {
  return {shape, random_values(shape.n_elements(), seed, low, high)};
}

int64_t expect_close(const Values& actual, const Values& expected, double relative, const std::string& what) {
  EXPECT_FALSE(expected.empty()) << what << ": nothing to compare";
  EXPECT_EQ(actual.size(), expected.size()) << what;
  if (actual.size() != expected.size()) return 0;
  const double scale = rms(expected);
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

void check_gradients(Op& op, OpInputs inputs, const GradientCheck& options) {
  inputs.run_backward = true;
  if (inputs.diff_dst.empty())
    for (size_t i = 0; i < op.info().dst.size(); ++i)
      inputs.diff_dst.push_back(random_values(op.info().dst[i].n_elements(), 77 + i));
  const OpOutputs analytic = run_op(op, inputs);

  const auto projection = [&](const OpInputs& changed) {
    OpInputs forward_only = changed;
    forward_only.run_backward = false;
    const OpOutputs result = run_op(op, forward_only);
    double sum = 0;
    for (size_t t = 0; t < result.dst.size(); ++t)
      for (size_t i = 0; i < result.dst[t].size(); ++i) sum += result.dst[t][i] * inputs.diff_dst[t][i];
    return sum;
  };
  const auto check = [&](DenseTensor& tensor, const Values& gradient, const std::string& what) {
    if (gradient.empty()) return;
    const int64_t n = static_cast<int64_t>(tensor.values.size());
    const int64_t stride = std::max<int64_t>(1, (n + options.max_elements - 1) / options.max_elements);
    Values actual, expected;
    for (int64_t i = 0; i < n; i += stride) {
      double& x = tensor.values[static_cast<size_t>(i)];
      const double center = x;
      // float32 neighbours, and the distance that they really have
      const double up = static_cast<float>(center + options.h), down = static_cast<float>(center - options.h);
      x = up;
      const double above = projection(inputs);
      x = down;
      const double below = projection(inputs);
      x = center;
      expected.push_back((above - below) / (up - down));
      actual.push_back(gradient[static_cast<size_t>(i)]);
    }
    expect_close(actual, expected, options.relative, what + " against central differences");
  };
  for (size_t i = 0; i < inputs.src.size(); ++i)
    check(inputs.src[i], analytic.diff_src[i], "diff_src " + std::to_string(i));
  for (size_t i = 0; i < inputs.params.size(); ++i)
    check(inputs.params[i], analytic.diff_params[i], "diff_params " + std::to_string(i));
}

void count_comparisons(int64_t n) { total_comparisons += n; }

void OpTest::SetUp() { n_before_ = total_comparisons; }
void OpTest::TearDown() {
  if (IsSkipped()) return;
  EXPECT_GT(n_comparisons(), 0) << "the test compared nothing";
}
int64_t OpTest::n_comparisons() const { return total_comparisons - n_before_; }

}  // namespace lockstep
