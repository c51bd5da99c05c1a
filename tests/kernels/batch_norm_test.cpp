// Batch normalisation against the naive float64 reference in every layout and element type,
// finite differences, PyTorch's numbers and itself.
#include "kernels/batch_norm.h"

#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "tests/reference/batch_norm.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

// float32 sums over some hundred elements, through an inverse root.
constexpr double kFloat32 = 1e-5;

struct Case {
  std::string name;
  TensorDesc src;
  int64_t padding_rows = 0;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

#ifndef LOCKSTEP_TEST_CUDA
TensorDesc in_blocks_of_4(const Shape& shape, DType dtype) {
  return cpu::from_onednn(cpu::MemoryDesc({shape.begin(), shape.end()}, cpu::onednn_type(dtype),
                                          dnnl::memory::format_tag::nChw4c),
                          shape, dtype);
}
#endif

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto add_as = [&](const std::string& name, const auto& src_of) {
    for (const int64_t padding_rows : {0, 1})
      for (const DType dtype : kTypes)
        cases.push_back({name + (padding_rows ? "_padded_" : "_") + std::string(name_of(dtype)),
                         src_of(dtype), padding_rows});
  };
  const auto add = [&](const std::string& name, const Shape& shape, Form form = Form::kDense) {
    add_as(name, [&](DType dtype) { return in_form(shape, form, dtype); });
  };
  add("one_channel", {5, 1});
  add("rows", {7, 5});
  add("rows_40", {9, 40});
  add("sequence", {3, 5, 11});
  // Planes below, at and above the vector width, some sharing a chunk, one of several chunks.
  for (const int64_t w : {1, 7, 8, 9, 31, 33}) add("plane" + std::to_string(w), {5, 3, 1, w});
  add("small_planes", {70, 2, 5, 7});
  add("large_plane", {2, 2, 67, 71});
  add("even_plane", {3, 2, 40, 60});
  add("volume", {3, 4, 2, 3, 5});
  for (const Form form : kForms) {
    if (form == Form::kDense) continue;
    const std::string name = "form" + std::to_string(static_cast<int>(form));
    for (const int64_t c : {1, 8, 13, 16, 40}) add(name + "_c" + std::to_string(c), {3, c, 5, 7}, form);
    add(name + "_chunks", {3, 8, 25, 29}, form);
    add(name + "_pixel", {300, 17, 1, 1}, form);
    add(name + "_wide", {3, 520, 1, 2}, form);
    add(name + "_sequence", {3, 9, 10}, form);
  }
#ifndef LOCKSTEP_TEST_CUDA
  for (const int64_t c : {1, 8, 13, 16, 40})
    add_as("blocks_of_4_c" + std::to_string(c), [&](DType dtype) {
      return in_blocks_of_4({3, c, 5, 7}, dtype);
    });
#endif
  return cases;
}

Values rounded(const Values& values, DType dtype) {
  const TensorDesc desc{Shape{static_cast<int64_t>(values.size())}, dtype, nullptr};
  return to_dense(to_layout(values, desc).data(), desc);
}

/// Inputs of an op and the same in the reference.
struct Both {
  OpInputs in;
  reference::BatchNorm ref;
  Values running_mean, running_var;
};

Both inputs_of(const BatchNormDesc& desc, int64_t n_valid, double mean = 0) {
  const Shape& shape = desc.src.shape;
  const DType dtype = desc.src.dtype;
  const int64_t n = shape.n_elements(), c = shape[1];
  Both b;
  Values src = random_values(n, 1, mean - 2, mean + 2);
  // What is in padding rows must not matter.
  for (int64_t i = n_valid * (n / shape[0]); i < n; ++i) src[i] = std::nan("");
  src = rounded(src, dtype);
  b.in.src = {{shape, src, dtype}};
  b.ref = {shape[0],
           c,
           n / shape[0] / c,
           n_valid,
           desc.epsilon,
           desc.activation != Activation::kNone,
           src,
           Values(c, 1.0),
           Values(c, 0.0),
           {}};
  if (desc.adds_residual) {
    b.ref.residual = rounded(random_values(n, 2), dtype);
    b.in.src.push_back({shape, b.ref.residual, dtype});
  }
  if (desc.affine) {
    b.ref.weight = random_values(c, 3, -1.5, 1.5);
    b.ref.bias = random_values(c, 4);
    if (desc.activation == Activation::kRelu6) {  // wide enough to meet the upper bound
      b.ref.high = 6;
      for (double& weight : b.ref.weight) weight *= 6;
      if (dtype == DType::kBFloat16)
        b.ref.stored = [](double y) { return rounded({y}, DType::kBFloat16)[0]; };
      if (dtype == DType::kFloat16) b.ref.stored = [](double y) { return rounded({y}, DType::kFloat16)[0]; };
    }
    b.in.params = {{Shape{c}, b.ref.weight}, {Shape{c}, b.ref.bias}};
  }
  b.running_mean = random_values(c, 5);
  b.running_var = random_values(c, 6, 0.1, 3.0);
  b.in.params.push_back({Shape{c}, b.running_mean});
  b.in.params.push_back({Shape{c}, b.running_var});
  b.in.diff_dst = {rounded(random_values(n, 7), dtype)};
  b.in.batch.n_valid = n_valid;
  return b;
}

class BatchNormTest : public OpTestWith<Case> {
 protected:
  BatchNormDesc desc() const { return {.src = GetParam().src}; }
  int64_t n_valid() const { return GetParam().src.shape[0] - GetParam().padding_rows; }
  double tolerance() const { return tolerance_of(GetParam().src.dtype, kFloat32); }

  void compare(const BatchNormDesc& d) const {
    const Both b = inputs_of(d, n_valid());
    const auto op = make_batch_norm(test_config(), d);
    EXPECT_TRUE(op->info().src[0].same_form(d.src)) << "asks for another layout";
    EXPECT_EQ(op->info().src.size(), d.adds_residual ? 2u : 1u);
    const OpOutputs out = run_op(*op, b.in);
    const reference::BatchNorm::Gradients g = b.ref.backward(b.in.diff_dst[0]);
    expect_close(out.dst[0], b.ref.forward(), tolerance(), "dst");
    expect_close(out.diff_src[0], g.src, tolerance(), "diff_src");
    if (d.adds_residual) expect_close(out.diff_src[1], g.residual, 0, "diff of the residual");
    if (d.affine) {
      expect_close(out.diff_params[0], g.weight, kFloat32, "diff_weight");
      expect_close(out.diff_params[1], g.bias, kFloat32, "diff_bias");
    }
    const size_t first = d.affine ? 2 : 0;
    expect_close(out.diff_params[first], g.running_mean, kFloat32, "running_mean");
    expect_close(out.diff_params[first + 1], g.running_var, kFloat32, "running_var");
  }
};

TEST_P(BatchNormTest, AgreesWithReference) {
  for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kRelu6})
    for (const bool adds_residual : {false, true}) {
      SCOPED_TRACE(std::string(name_of(activation)) + (adds_residual ? " residual" : ""));
      BatchNormDesc d = desc();
      d.activation = activation;
      d.adds_residual = adds_residual;
      compare(d);
    }
}

TEST_P(BatchNormTest, WithoutWeights) {
  BatchNormDesc d = desc();
  d.affine = false;
  d.epsilon = 0.25;
  compare(d);
}

TEST_P(BatchNormTest, EvaluationUsesTheRunningStatistics) {
  OpConfig config = test_config();
  config.training = false;
  BatchNormDesc d = desc();
  d.activation = Activation::kRelu;
  for (const bool adds_residual : {false, true}) {
    d.adds_residual = adds_residual;
    Both b = inputs_of(d, n_valid());
    b.in.run_backward = false;
    const auto op = make_batch_norm(config, d);
    EXPECT_EQ(op->info().workspace_bytes, 0);
    expect_close(run_op(*op, b.in).dst[0], b.ref.forward(&b.running_mean, &b.running_var), tolerance(),
                 "dst");
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, BatchNormTest, testing::ValuesIn(all_cases()),
                         [](const auto& param_info) { return param_info.param.name; });

class BatchNormOnce : public OpTest {};

TEST_F(BatchNormOnce, AgreesWithPyTorch) {
  const BatchNormDesc d{.src = {Shape{3, 2, 2}}, .activation = Activation::kRelu};
  OpInputs in;
  in.src = {{d.src.shape, {1, 2, -3, 0.5, 0.25, -1.5, 4, 2, -2, 0.75, 1.25, -0.5}}};
  in.params = {{{2}, {1.5, -0.5}}, {{2}, {0.25, 0.5}}, {{2}, {0, 0}}, {{2}, {1, 1}}};
  in.diff_dst = {{1, -2, 0.5, 3, -1, 0.25, 2, -0.5, 1.5, 1, -3, 0.75}};
  const OpOutputs out = run_op(*make_batch_norm(test_config(), d), in);
  expect_close(out.dst[0],
               {1.22909236, 2.29719329, 1.35751426, 0.54817498, 0.42801678, 0.0, 0.0, 0.20131525, 0.0,
                0.96206719, 0.3747451, 0.77941477},
               1e-6, "dst");
  expect_close(out.diff_src[0],
               {1.44607198, -1.54009831, 0.08618863, -0.65510076, -0.85372865, -0.16735907, -0.12457121,
                0.08430004, -0.27642509, 1.39153898, 0.69736886, -0.08818553},
               1e-6, "diff_src");
  expect_close(out.diff_params[0], {-1.72082889, -2.61590028}, 1e-6, "diff_weight");
  expect_close(out.diff_params[1], {-1.0, 0.75}, 1e-6, "diff_bias");
  // PyTorch's running statistics after one step with momentum 0.1, from 0 and 1.
  Values mean = out.diff_params[2], var = out.diff_params[3];
  for (double& m : mean) m = 0.1 * m / 3;
  for (double& v : var) v = 0.9 + 0.1 * v / 3;
  expect_close(mean, {0.00833333, 0.07083333}, 1e-6, "running_mean");
  expect_close(var, {1.13666666, 1.46104169}, 1e-6, "running_var");
}

TEST_F(BatchNormOnce, FiniteDifferencesOfSourcesAndWeights) {
  for (const Form form : kForms)
    for (const bool adds_residual : {false, true}) {
      const BatchNormDesc d{.src = in_form({3, 5, 3, 3}, form), .adds_residual = adds_residual};
      // Without an activation, which has a kink. The statistics' "gradients" are none: left out of
      // the check as parameters of an op without them.
      class Trained : public Op {
       public:
        explicit Trained(std::unique_ptr<BatchNorm> op) : op_(std::move(op)) { info_ = op_->info(); }
        void forward(Stream& stream, const OpArgs& args) override { op_->forward(stream, with_all(args)); }
        void backward(Stream& stream, const OpArgs& args) override { op_->backward(stream, with_all(args)); }

       private:
        OpArgs with_all(const OpArgs& args) {
          const Tensor unused{statistics_.data(), {Shape{5}}};
          for (size_t i = 0; i < 4; ++i) {
            params_[i] = i < 2 ? args.params[i] : unused;
            if (!args.diff_params.empty()) diff_params_[i] = i < 2 ? args.diff_params[i] : unused;
          }
          OpArgs all = args;
          all.params = params_;
          all.diff_params = diff_params_;
          return all;
        }
        std::unique_ptr<BatchNorm> op_;
        SharedVector<float> statistics_ = SharedVector<float>(5);
        Tensor params_[4], diff_params_[4];
      };
      Both b = inputs_of(d, 3);
      b.in.params.resize(2);
      Trained op(make_batch_norm(test_config(), d));
      check_gradients(op, b.in);
    }
}

TEST_F(BatchNormOnce, KeepsTheDigitsOfDataFarFromZero) {
  for (const Form form : kForms) {
    const BatchNormDesc d{.src = in_form({4, 20, 33, 35}, form)};
    // Uniform in 1e4 ± 2, a multiple of 2^-10: variance 4/3.
    const Both b = inputs_of(d, 4, 1e4);
    const OpOutputs out = run_op(*make_batch_norm(test_config(), d), b.in);
    expect_close(out.dst[0], b.ref.forward(), kFloat32, "dst");
    const auto g = b.ref.backward(b.in.diff_dst[0]);
    expect_close(out.diff_src[0], g.src, kFloat32, "diff_src");
    expect_close(out.diff_params[0], g.weight, kFloat32, "diff_weight");
    expect_close(out.diff_params[3], g.running_var, kFloat32, "running_var");
  }
}

TEST_F(BatchNormOnce, ConstantChannelsGiveTheBias) {
  const BatchNormDesc d{.src = {Shape{4, 2, 3, 3}}};
  Both b = inputs_of(d, 4);
  b.in.src[0].values.assign(72, 3.0);
  const OpOutputs out = run_op(*make_batch_norm(test_config(), d), b.in);
  Values expected;
  for (int i = 0; i < 72; ++i) expected.push_back(b.ref.bias[static_cast<size_t>(i / 9 % 2)]);
  expect_close(out.dst[0], expected, 0, "dst");
  expect_close(out.diff_params[3], {0, 0}, 0, "running_var");
}

/// An op with its tensors, for what run_op does not offer: no valid row, the phases.
struct Bound {
  std::unique_ptr<BatchNorm> op;
  std::vector<SharedVector<std::byte>> bytes;
  std::vector<Tensor> src, dst, params, diff_src, diff_dst, diff_params;
  SharedVector<double> workspace, scratchpad;
  SharedVector<BatchContext> batch;  // one
  OpArgs args;
  std::unique_ptr<Stream> stream = make_stream(test_device());

  Bound(const BatchNormDesc& desc, const Both& b) : op(make_batch_norm(test_config(), desc)) {
    bytes.reserve(32);  // tensors point into it
    const auto bind = [&](std::vector<Tensor>& tensors, const Values& values, const TensorDesc& d) {
      const std::vector<std::byte> given = to_layout(values, d);
      tensors.push_back({bytes.emplace_back(given.begin(), given.end()).data(), d});
    };
    for (const DenseTensor& s : b.in.src) bind(src, s.values, desc.src), bind(diff_src, s.values, desc.src);
    bind(dst, b.in.src[0].values, desc.src);
    bind(diff_dst, b.in.diff_dst[0], desc.src);
    for (const DenseTensor& p : b.in.params)
      bind(params, p.values, {p.shape}), bind(diff_params, p.values, {p.shape});
    workspace.resize(static_cast<size_t>(op->info().workspace_bytes / 8), std::nan(""));
    scratchpad.resize(static_cast<size_t>(op->info().scratchpad_bytes / 8 + 1), std::nan(""));
    batch.push_back(b.in.batch);
    args = {src, dst, params, diff_src, diff_dst, diff_params};
    args.workspace = reinterpret_cast<std::byte*>(workspace.data());
    args.scratchpad = reinterpret_cast<std::byte*>(scratchpad.data());
    args.batch = batch.data();
    op->prepare(*stream, params);
  }
};

TEST_F(BatchNormOnce, NoValidRowGivesZeros) {
  for (const Form form : kForms) {
    const BatchNormDesc d{
        .src = in_form({3, 5, 2, 3}, form), .activation = Activation::kRelu, .adds_residual = true};
    Both b = inputs_of(d, 3);
    Bound bound(d, b);
    bound.batch[0].n_valid = 0;
    bound.op->forward(*bound.stream, bound.args);
    bound.op->backward(*bound.stream, bound.args);
    bound.stream->synchronize();
    expect_close(to_dense(bound.dst[0].data, d.src), Values(90, 0.0), 0, "dst");
    for (const Tensor& t : bound.diff_src) expect_close(to_dense(t.data, d.src), Values(90, 0.0), 0, "diff");
    for (const Tensor& t : bound.diff_params)
      expect_close(to_dense(t.data, t.desc), Values(5, 0.0), 0, "diff_params");
  }
}

// Statistics over two micro-batches, one of them with padding rows, are those of their union.
TEST_F(BatchNormOnce, PhasesJoinMicroBatches) {
  for (const Form form : kForms)
    for (const bool adds_residual : {false, true}) {
      BatchNormDesc d{.src = in_form({5, 9, 3, 4}, form), .activation = Activation::kRelu};
      d.adds_residual = adds_residual;
      const Both whole = inputs_of(d, 5, 100);
      const int64_t row = 9 * 3 * 4;
      BatchNormDesc part = d;
      part.src = in_form({3, 9, 3, 4}, form);
      const auto rows = [&](const Values& values, int64_t begin) {  // three rows, the last may be rubbish
        Values result(static_cast<size_t>(3 * row), 1e20);
        for (int64_t i = 0; i < std::min<int64_t>(3, 5 - begin) * row; ++i)
          result[i] = values[begin * row + i];
        return result;
      };
      std::vector<std::unique_ptr<Bound>> parts;
      for (const int64_t begin : {0, 3}) {
        Both b = whole;
        for (DenseTensor& s : b.in.src) s = {part.src.shape, rows(s.values, begin)};
        b.in.diff_dst = {rows(whole.in.diff_dst[0], begin)};
        b.in.batch.n_valid = begin == 0 ? 3 : 2;
        parts.push_back(std::make_unique<Bound>(part, b));
      }
      const auto summed = [&](const auto& phase) {
        std::vector<double> total(static_cast<size_t>(parts[0]->op->n_sums()));
        for (const auto& p : parts) {
          std::vector<double> sums(total.size(), std::nan(""));
          phase(*p, sums.data());
          for (size_t i = 0; i < sums.size(); ++i) total[i] += sums[i];
        }
        return total;
      };
      auto total = summed([](Bound& p, double* sums) { p.op->forward_sums(*p.stream, p.args, sums); });
      for (const auto& p : parts) p->op->forward_apply(*p->stream, p->args, total.data());
      total = summed([](Bound& p, double* sums) { p.op->backward_sums(*p.stream, p.args, sums); });
      for (const auto& p : parts) {
        p->op->backward_apply(*p->stream, p->args, total.data());
        p->stream->synchronize();
      }

      const OpOutputs expected = run_op(*make_batch_norm(test_config(), d), whole.in);
      const auto joined = [&](const auto& tensor) {
        Values a = to_dense(tensor(*parts[0]).data, part.src), b = to_dense(tensor(*parts[1]).data, part.src);
        for (int64_t i = 2 * row; i < 3 * row; ++i) EXPECT_EQ(b[i], 0) << "padding row";
        a.insert(a.end(), b.begin(), b.begin() + 2 * row);
        return a;
      };
      expect_close(joined([](Bound& p) { return p.dst[0]; }), expected.dst[0], kFloat32, "dst");
      for (size_t i = 0; i < expected.diff_src.size(); ++i)
        expect_close(joined([i](Bound& p) { return p.diff_src[i]; }), expected.diff_src[i], kFloat32,
                     "diff_src");
      for (size_t i = 0; i < 4; ++i) {
        Values sum = to_dense(parts[0]->diff_params[i].data, {Shape{9}});
        const Values other = to_dense(parts[1]->diff_params[i].data, {Shape{9}});
        for (size_t c = 0; c < 9; ++c) sum[c] += other[c];
        expect_close(sum, expected.diff_params[i], kFloat32, "diff_params " + std::to_string(i));
      }
    }
}

#ifndef LOCKSTEP_TEST_CUDA

TEST_F(BatchNormOnce, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  for (const Form form : kForms) {
    const BatchNormDesc d{.src = in_form({9, 40, 13, 14}, form), .activation = Activation::kRelu};
    std::vector<OpOutputs> outputs;
    for (const int threads : {1, 2, 5}) {
      set_compute_threads(threads);
      outputs.push_back(run_op(*make_batch_norm(test_config(), d), inputs_of(d, 9).in));
    }
    for (const OpOutputs& out : outputs) {
      expect_close(out.dst[0], outputs[0].dst[0], 0, "dst");
      expect_close(out.diff_src[0], outputs[0].diff_src[0], 0, "diff_src");
      for (size_t i = 0; i < 4; ++i) expect_close(out.diff_params[i], outputs[0].diff_params[i], 0, "params");
    }
  }
  set_compute_threads(before);
}

TEST_F(BatchNormOnce, WantsUnknownLayoutsDense) {
  const Shape shape{2, 3, 4, 5};
  const BatchNormDesc d{.src = {shape, DType::kFloat32,
                                std::make_shared<cpu::OneDnnLayout>(cpu::MemoryDesc(
                                    {shape.begin(), shape.end()}, dnnl::memory::data_type::f32,
                                    dnnl::memory::format_tag::chwn))}};
  const auto op = make_batch_norm(test_config(), d);
  EXPECT_EQ(op->info().src[0].layout, nullptr);
  count_comparisons(1);
}

#endif

TEST_F(BatchNormOnce, UnwantedGradients) {
  BatchNormDesc d{.src = {Shape{4, 3, 5}}, .activation = Activation::kRelu};
  for (const bool adds_residual : {false, true}) {
    d.adds_residual = adds_residual;
    Both b = inputs_of(d, 4);
    const OpOutputs all = run_op(*make_batch_norm(test_config(), d), b.in);
    b.in.wants_diff_src = false;
    const OpOutputs few = run_op(*make_batch_norm(test_config(), d), b.in);
    for (size_t i = 0; i < 4; ++i) expect_close(few.diff_params[i], all.diff_params[i], 0, "diff_params");
    if (!adds_residual) continue;
    Bound bound(d, b);  // the residual's gradient alone is not wanted
    bound.diff_src[1].data = nullptr;
    bound.op->forward(*bound.stream, bound.args);
    bound.op->backward(*bound.stream, bound.args);
    bound.stream->synchronize();
    expect_close(to_dense(bound.diff_src[0].data, d.src), all.diff_src[0], 0, "diff_src");
  }
}

TEST_F(BatchNormOnce, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const BatchNormDesc& d) {
    EXPECT_THROW(make_batch_norm(test_config(), d), Error);
    count_comparisons(1);
  };
  refuses({.src = {Shape{4}}});
  refuses({.src = {Shape{4, 3}, DType::kInt32, nullptr}});
  refuses({.src = {Shape{4, 3}}, .epsilon = 0});
  refuses({.src = {Shape{4, 3}}, .epsilon = std::nan("")});
  refuses({.src = {Shape{4, 3}}, .activation = Activation::kTanh});
}

}  // namespace
}  // namespace lockstep
