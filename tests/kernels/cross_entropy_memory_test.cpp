// Softmax cross-entropy whose gradient takes the place of the prediction, and, on the CPU, whose bits are
// those that trainings have always had.
#include <bit>

#include "kernels/loss.h"
#include "kernels/random.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Trial {
  Shape prediction;
  bool classes_last = false;
  double smoothing = 0;
  bool weights = false, ignores = false;
  uint64_t expected = 0;  // of the bits of the gradient

  int64_t n_classes() const { return classes_last ? prediction[prediction.rank() - 1] : prediction[1]; }
  std::unique_ptr<Op> make() const {
    SoftmaxCrossEntropyDesc desc{.prediction = {prediction}};
    if (weights)
      for (const double w : short_values(n_classes(), 3, 0.5, 2))
        desc.class_weights.push_back(static_cast<float>(w));
    desc.label_smoothing = smoothing;
    if (ignores) desc.ignore = 1;
    desc.classes_last = classes_last;
    desc.weight = 0.75;
    return make_softmax_cross_entropy(test_config(), desc);
  }
  OpInputs inputs(const Op& op) const {
    const Shape target = op.info().src[1].shape;
    OpInputs in;
    in.src = {{prediction, short_values(prediction.n_elements(), 7, -6, 6)},
              {target, integer_values(target.n_elements(), 8, 0, n_classes() - 1), DType::kInt64}};
    in.batch.n_valid = prediction[0] - 1;
    in.batch.loss_scale = 3;
    return in;
  }
};

const Trial kTrials[] = {
    {.prediction = {5, 10}, .expected = 0xb8bdca3abb33d8d7},
    {.prediction = {4, 37}, .smoothing = 0.1, .expected = 0x66e769b8de40bf84},
    {.prediction = {6, 21},
     .smoothing = 0.2,
     .weights = true,
     .ignores = true,
     .expected = 0x724b5dc7f70faec0},
    {.prediction = {3, 9, 33},
     .classes_last = true,
     .smoothing = 0.1,
     .weights = true,
     .expected = 0xa3afae25456aa91d},
    {.prediction = {3, 7, 5, 31}, .expected = 0xefdf71c44df27664},
    {.prediction = {2, 6, 130},
     .smoothing = 0.1,
     .weights = true,
     .ignores = true,
     .expected = 0xb710a503b77d1572},
    {.prediction = {3, 1500}, .smoothing = 0.1, .expected = 0x130d3ce882cec0bd},
};

class CrossEntropyMemory : public OpTest {};

#ifndef LOCKSTEP_TEST_CUDA
TEST_F(CrossEntropyMemory, BitsOfGradientsStay) {
  for (const Trial& trial : kTrials) {
    const auto op = trial.make();
    const OpOutputs out = run_op(*op, trial.inputs(*op));
    uint64_t hash = 0;
    for (const double g : out.diff_src[0])
      hash = mix_bits(hash ^ std::bit_cast<uint32_t>(static_cast<float>(g)));
    EXPECT_EQ(hash, trial.expected) << trial.prediction.str() << std::hex << " 0x" << hash;
    count_comparisons(1);
  }
}
#endif

/// The gradient of run_op's first backward, written over the prediction.
Values gradient_in_place(Op& op, const OpInputs& in) {
  const auto stream = make_stream(test_device());
  SharedVector<float> x(in.src[0].values.begin(), in.src[0].values.end());
  SharedVector<int64_t> targets(in.src[1].values.begin(), in.src[1].values.end());
  SharedVector<double> loss(kLossValues);
  SharedVector<std::byte> workspace(static_cast<size_t>(op.info().workspace_bytes)),
      scratchpad(static_cast<size_t>(op.info().scratchpad_bytes));
  SharedVector<BatchContext> batch(1);
  batch[0] = in.batch;
  const std::vector<Tensor> src{{x.data(), op.info().src[0]}, {targets.data(), op.info().src[1]}},
      dst{{loss.data(), op.info().dst[0]}}, diff_src{src[0], {nullptr, op.info().src[1]}};
  OpArgs args;
  args.src = src;
  args.dst = dst;
  args.diff_src = diff_src;
  args.workspace = workspace.data();
  args.scratchpad = scratchpad.data();
  args.batch = batch.data();
  op.prepare(*stream, {});
  op.forward(*stream, args);
  op.backward(*stream, args);
  stream->synchronize();
  return {x.begin(), x.end()};
}

TEST_F(CrossEntropyMemory, GradientsMayTakeThePlaceOfThePrediction) {
  for (const Trial& trial : kTrials) {
    SCOPED_TRACE(trial.prediction.str());
    const auto op = trial.make();
    ASSERT_TRUE(op->info().diff_src_in_place);
    const OpInputs in = trial.inputs(*op);
    expect_close(gradient_in_place(*op, in), run_op(*op, in).diff_src[0], 0, "gradient");
  }
}

// Two numbers of a row, whatever the classes.
TEST_F(CrossEntropyMemory, WorkspaceDoesNotGrowWithClasses) {
  const Trial few{.prediction = {64, 5}}, many{.prediction = {64, 5000}};
  EXPECT_EQ(few.make()->info().workspace_bytes, many.make()->info().workspace_bytes);
  count_comparisons(1);
}

}  // namespace
}  // namespace lockstep
