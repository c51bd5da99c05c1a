// See op_test.h: binding and running an op, central differences.
#include "tests/support/op_test.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "tests/support/guarded_block.h"

namespace lockstep {

namespace {

using Bytes = std::vector<std::vector<std::byte>>;  // of several tensors

bool is_integer(DType dtype) {
  return dtype == DType::kUInt8 || dtype == DType::kInt32 || dtype == DType::kInt64;
}

/// Tensors of one role (src, dst, …) with their memory. A tensor may share another's block.
struct Group {
  std::vector<GuardedBlock> blocks;
  std::vector<Tensor> tensors;

  void add(const TensorDesc& desc) {
    blocks.emplace_back(desc.n_bytes());
    tensors.push_back({blocks.back().data(), desc});
  }
  void add_empty(const TensorDesc& desc) { tensors.push_back({nullptr, desc}); }
  /// Bytes of each block in turn.
  void set(const Bytes& bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) blocks[i].set(bytes[i]);
  }
  void fill() {
    for (GuardedBlock& block : blocks) block.fill();
  }
  Bytes bytes() const {
    Bytes all;
    for (const GuardedBlock& block : blocks) all.push_back(block.bytes());
    return all;
  }
  std::vector<Values> dense() const {
    std::vector<Values> all;
    for (const Tensor& tensor : tensors)
      all.push_back(tensor.empty() ? Values{} : to_dense(tensor.data, tensor.desc));
    return all;
  }
  void expect_guards(const char* what) {
    for (GuardedBlock& block : blocks) EXPECT_TRUE(block.guards_intact()) << "wrote outside of " << what;
  }
};

/// The tensors of one op and the bytes that its inputs must keep.
class Run {
 public:
  Run(Op& op, const OpInputs& inputs)
      : op_(op),
        inputs_(inputs),
        workspace_(op.info().workspace_bytes),
        scratchpad_(op.info().scratchpad_bytes),
        stream_(make_stream(test_device())) {
    bind_src();
    bind_dst();
    bind_params();
    bind_batch();
    args_ = {src_.tensors,      dst_.tensors,       params_.tensors,
             diff_src_.tensors, diff_dst_.tensors,  diff_params_.tensors,
             workspace_.data(), scratchpad_.data(), batch_.data()};
  }

  /// prepare and forward on NaN-filled memory; returns the bytes of dst.
  Bytes forward() {
    src_.set(src_bytes_);
    dst_.fill();
    workspace_.fill();
    scratchpad_.fill();
    op_.prepare(*stream_, params_.tensors);
    op_.forward(*stream_, args_);
    stream_->synchronize();
    EXPECT_EQ(src_.bytes(), src_bytes_) << "forward changed src";
    EXPECT_EQ(params_.bytes(), params_bytes_) << "forward changed params";
    expect_guards();
    return dst_.bytes();
  }

  /// backward, with src and dst hidden where info() says that it does not read them; returns
  /// the bytes of diff_src and diff_params.
  std::pair<Bytes, Bytes> backward() {
    const OpInfo& info = op_.info();
    if (!info.backward_needs_src && !info.aliases_src) src_.fill();
    if (!info.backward_needs_dst) dst_.fill();
    diff_src_.fill();
    diff_params_.fill();
    scratchpad_.fill();
    diff_dst_.set(diff_dst_bytes_);
    const Bytes src_before = src_.bytes(), dst_before = dst_.bytes();
    op_.backward(*stream_, args_);
    stream_->synchronize();
    EXPECT_EQ(src_.bytes(), src_before) << "backward changed src";
    EXPECT_EQ(dst_.bytes(), dst_before) << "backward changed dst";
    EXPECT_EQ(params_.bytes(), params_bytes_) << "backward changed params";
    EXPECT_EQ(diff_dst_.bytes(), diff_dst_bytes_) << "backward changed diff_dst";
    expect_guards();
    return {diff_src_.bytes(), diff_params_.bytes()};
  }

  std::vector<Values> dst() const { return dst_.dense(); }
  std::vector<Values> diff_src() const { return diff_src_.dense(); }
  std::vector<Values> diff_params() const { return diff_params_.dense(); }

 private:
  void bind_src() {
    const OpInfo& info = op_.info();
    for (size_t i = 0; i < info.src.size(); ++i) {
      EXPECT_EQ(info.src[i].shape, inputs_.src[i].shape) << "src " << i;
      EXPECT_EQ(info.src[i].dtype, inputs_.src[i].dtype) << "src " << i;
      src_.add(info.src[i]);
      src_bytes_.push_back(to_layout(inputs_.src[i].values, info.src[i]));
      const bool shared = info.aliases_src && i == 0;  // bound by bind_dst
      if (!inputs_.wants_diff_src || is_integer(info.src[i].dtype) || shared)
        diff_src_.add_empty(info.src[i]);
      else
        diff_src_.add(info.src[i]);
    }
  }

  void bind_dst() {
    const OpInfo& info = op_.info();
    for (size_t i = 0; i < info.dst.size(); ++i) {
      if (info.aliases_src && i == 0)
        dst_.tensors.push_back({src_.tensors[0].data, info.dst[0]});
      else
        dst_.add(info.dst[i]);
      if (inputs_.diff_dst.empty() || inputs_.diff_dst[i].empty()) {
        diff_dst_.add_empty(info.dst[i]);
      } else {
        diff_dst_.add(info.dst[i]);
        diff_dst_bytes_.push_back(to_layout(inputs_.diff_dst[i], info.dst[i]));
      }
    }
    if (info.aliases_src && inputs_.wants_diff_src) diff_src_.tensors[0].data = diff_dst_.tensors[0].data;
  }

  void bind_params() {
    for (const DenseTensor& param : inputs_.params) {
      const TensorDesc desc{param.shape, param.dtype, nullptr};
      params_.add(desc);
      diff_params_.add(desc);
      params_bytes_.push_back(to_layout(param.values, desc));
    }
    params_.set(params_bytes_);
  }

  void bind_batch() {
    BatchContext& batch = batch_.emplace_back(inputs_.batch);
    if (inputs_.src.empty() || inputs_.src[0].shape.rank() == 0) return;
    const int64_t n = inputs_.src[0].shape[0];
    if (batch.n_valid == 0) batch.n_valid = n;
    for (int64_t i = 0; i < n; ++i)
      sample_ids_.push_back(batch.sample_ids ? batch.sample_ids[i] : 1000 + 7 * i);
    batch.sample_ids = sample_ids_.data();
  }

  void expect_guards() {
    src_.expect_guards("src");
    dst_.expect_guards("dst");
    params_.expect_guards("params");
    diff_src_.expect_guards("diff_src");
    diff_dst_.expect_guards("diff_dst");
    diff_params_.expect_guards("diff_params");
    EXPECT_TRUE(workspace_.guards_intact()) << "wrote outside of the workspace";
    EXPECT_TRUE(scratchpad_.guards_intact()) << "wrote outside of the scratchpad";
  }

  Op& op_;
  const OpInputs& inputs_;
  Group src_, dst_, params_, diff_src_, diff_dst_, diff_params_;
  Bytes src_bytes_, diff_dst_bytes_, params_bytes_;
  GuardedBlock workspace_, scratchpad_;
  SharedVector<BatchContext> batch_;  // one
  SharedVector<int64_t> sample_ids_;
  std::unique_ptr<Stream> stream_;
  OpArgs args_;
};

}  // namespace

OpOutputs run_op(Op& op, const OpInputs& inputs) {
  const OpInfo& info = op.info();
  if (info.src.size() != inputs.src.size()) {
    ADD_FAILURE() << "the op takes " << info.src.size() << " sources, the test gives " << inputs.src.size();
    return {};
  }
  if (!inputs.diff_dst.empty() && inputs.diff_dst.size() != info.dst.size()) {
    ADD_FAILURE() << "the op has " << info.dst.size() << " outputs, the test gives " << inputs.diff_dst.size()
                  << " diff_dst";
    return {};
  }
  Run run(op, inputs);
  const Bytes dst = run.forward();
  OpOutputs outputs;
  outputs.dst = run.dst();
  std::pair<Bytes, Bytes> gradients;
  if (inputs.run_backward) {
    gradients = run.backward();
    outputs.diff_src = run.diff_src();
    outputs.diff_params = run.diff_params();
  }
  EXPECT_EQ(run.forward(), dst) << "a repeated forward gave other bits";
  if (inputs.run_backward) {
    EXPECT_EQ(run.backward(), gradients) << "a repeated backward gave other bits";
  }
  return outputs;
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

}  // namespace lockstep
