// Sequences in graphs and plans: scan against the fast paths and against the unrolled list, lengths against
// each sample alone, states against one long sequence.
#include <cmath>
#include <cstring>

#include "src/network/graph.h"
#include "src/network/layers/layers.h"
#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

constexpr int64_t kN = 3, kT = 5, kD = 4, kH = 6;

Graph sequence_graph(const std::string& layers, int64_t n_steps = kT, bool ragged = false,
                     bool carries = false) {
  ModelContext context;
  if (ragged) context.ragged.insert("input");
  context.carries_states = carries;
  return build_model(Config::from_text("{input: [" + std::to_string(n_steps) + ", " + std::to_string(kD) +
                                           "], layers: [" + layers + "]}",
                                       "model"),
                     context);
}

/// The cells as bodies of a scan; h, and for the LSTM c, are the carry.
std::string slice(const std::string& name, int from, const std::string& activation) {
  const std::string h = std::to_string(kH);
  return "{slice: {axis: 0, begin: " + std::to_string(from * kH) +
         ", end: " + std::to_string((from + 1) * kH) + ", from: gates, name: " + name + "_sum}}, {" +
         activation + ": {from: " + name + "_sum, name: " + name + "}}, ";
}

std::string lstm_scan(const std::string& options = "") {
  const std::string rows = std::to_string(4 * kH);
  return "{scan: {name: cell, over: {x: input}, carry: {h: {shape: [6]}, c: {shape: [6]}}, " + options +
         "body: [{affine: {features: " + rows + ", from: x, name: ih}}, {affine: {features: " + rows +
         ", from: h, name: hh}}, {add: {from: [ih, hh], name: gates}}, " + slice("i", 0, "sigmoid") +
         slice("f", 1, "sigmoid") + slice("g", 2, "tanh") + slice("o", 3, "sigmoid") +
         "{multiply: {from: [f, c], name: kept}}, {multiply: {from: [i, g], name: written}}, "
         "{add: {from: [kept, written], name: c_new}}, {tanh: {from: c_new, name: c_tanh}}, "
         "{multiply: {from: [o, c_tanh], name: h_new}}], next: {h: h_new, c: c_new}}}";
}

/// Inputs of kN samples, and targets for an l2 loss.
struct Samples {
  std::vector<float> x, target;
  std::vector<int32_t> lengths;
  std::vector<int64_t> ids;
};

Samples make_samples(int64_t n, int64_t n_steps, const Shape& output) {
  Samples samples;
  for (int64_t i = 0; i < n * n_steps * kD; ++i)
    samples.x.push_back(static_cast<float>(std::sin(1.0 + 0.37 * static_cast<double>(i))));
  for (int64_t i = 0; i < n * output.n_elements(); ++i)
    samples.target.push_back(static_cast<float>(std::cos(0.5 + 0.23 * static_cast<double>(i))));
  for (int64_t i = 0; i < n; ++i) samples.ids.push_back(i);
  return samples;
}

struct Result {
  double loss = 0;
  std::vector<float> output;
  std::map<std::string, std::vector<float>> gradients;
};

Result run_samples(const Graph& graph, const ParameterArena& arena, const Samples& samples, int64_t n,
                   PlanOptions options = {}) {
  options.micro_batch = n;
  Plan plan(graph, arena, loss_from("l2"), options);
  const Memory gradients = arena.make_parallel();
  BatchContext batch;
  batch.n_valid = n;
  batch.sample_ids = samples.ids.data();
  std::vector<const void*> inputs{samples.x.data()};
  if (!samples.lengths.empty()) inputs.push_back(samples.lengths.data());
  plan.refresh_weights();
  plan.forward(inputs, {samples.target.data()}, batch);
  Result result;
  result.loss = plan.loss_values()[kLossSum];
  result.output.assign(plan.output(), plan.output() + plan.output_shape().n_elements());
  plan.backward(gradients.as<float>(), nullptr);
  for (const Segment& segment : arena.segments()) {
    const float* begin = gradients.as<float>() + segment.offset;
    result.gradients[segment.name].assign(begin, begin + segment.n_elements());
  }
  return result;
}

/// The LSTM's parameters for the scan's names.
void copy_weights(const ParameterArena& from, const ParameterArena& to,
                  const std::map<std::string, std::string>& names) {
  int n_copied = 0;
  for (const Segment& target : to.segments()) {
    for (const Segment& source : from.segments()) {
      if (names.at(target.name) != source.name) continue;
      ASSERT_EQ(source.shape, target.shape);
      std::memcpy(to.weights_of(target), from.weights_of(source), target.n_elements() * sizeof(float));
      ++n_copied;
    }
  }
  ASSERT_EQ(n_copied, static_cast<int>(to.segments().size()));
}

const std::map<std::string, std::string> kLstmNames = {{"cell.ih.weight", "l.weight_ih_l0"},
                                                       {"cell.ih.bias", "l.bias_ih_l0"},
                                                       {"cell.hh.weight", "l.weight_hh_l0"},
                                                       {"cell.hh.bias", "l.bias_hh_l0"}};

struct ScanCase {
  std::string options;  // of the scan
  std::string lstm;     // of the fast path
  bool ragged = false;
};

class ScanTest : public testing::TestWithParam<ScanCase> {};

TEST_P(ScanTest, AgreesWithTheFastPath) {
  const ScanCase& c = GetParam();
  const Graph fast = sequence_graph("{lstm: {hidden: 6, name: l" + c.lstm + "}}", kT, c.ragged);
  const Graph scan = sequence_graph(lstm_scan(c.options), kT, c.ragged);
  const std::unique_ptr<ParameterArena> fast_arena = random_arena(fast, 3),
                                        scan_arena = random_arena(scan, 4);
  ASSERT_NO_FATAL_FAILURE(copy_weights(*fast_arena, *scan_arena, kLstmNames));
  Samples samples = make_samples(kN, kT, {kT, kH});
  if (c.ragged) samples.lengths = {2, kT, 1};
  const Result expected = run_samples(fast, *fast_arena, samples, kN);
  const Result found = run_samples(scan, *scan_arena, samples, kN);
  expect_near(found.output, expected.output, 1e-5, "output");
  for (const auto& [name, other] : kLstmNames)
    expect_near(found.gradients.at(name), expected.gradients.at(other), 2e-5, name);
}

INSTANTIATE_TEST_SUITE_P(Cases, ScanTest,
                         testing::Values(ScanCase{}, ScanCase{"hoist: false, "},
                                         ScanCase{"direction: reversed, ", ", direction: reversed"},
                                         ScanCase{"", "", true},
                                         ScanCase{"direction: reversed, ", ", direction: reversed", true}));

/// The same steps written one by one, with `shares`.
TEST(Scan, HasTheBitsOfTheUnrolledList) {
  const std::string body =
      "{affine: {features: 6, from: x, name: ih}}, {affine: {features: 6, from: h, name: hh}}, "
      "{add: {from: [ih, hh], name: sum}}, {tanh: {from: sum, name: new}}";
  const Graph scan = sequence_graph(
      "{scan: {name: cell, over: {x: input}, carry: {h: {from: start}}, hoist: false, body: [" + body +
          "], next: {h: new}}}, {last_step: {from: cell, name: out}}, "
          "{slice: {axis: 0, begin: 0, end: 1, from: input, name: first}}, {flatten: {from: first, name: "
          "flat}}, "
          "{affine: {features: 6, from: flat, name: start}}, {scale: {factor: 1, from: out}}",
      3);
  std::string list =
      "{slice: {axis: 0, begin: 0, end: 1, from: input, name: first}}, {flatten: {from: first, name: flat}}, "
      "{affine: {features: 6, from: flat, name: start}}, ";
  std::string before = "start";
  for (int t = 0; t < 3; ++t) {
    const std::string s = std::to_string(t), shares_ih = t > 0 ? ", shares: ih0" : "",
                      shares_hh = t > 0 ? ", shares: hh0" : "";
    list += "{slice: {axis: 0, begin: " + s + ", end: " + std::to_string(t + 1) + ", from: input, name: s" +
            s + "}}, {flatten: {from: s" + s + ", name: x" + s + "}}, {affine: {features: 6, from: x" + s +
            ", name: ih" + s + shares_ih + "}}, {affine: {features: 6, from: " + before + ", name: hh" + s +
            shares_hh + "}}, {add: {from: [ih" + s + ", hh" + s + "], name: sum" + s +
            "}}, {tanh: {from: sum" + s + ", name: h" + s + "}}, ";
    before = "h" + s;
  }
  const Graph unrolled = sequence_graph(list + "{scale: {factor: 1, from: h2}}", 3);
  const std::unique_ptr<ParameterArena> scan_arena = random_arena(scan, 5),
                                        list_arena = random_arena(unrolled, 6);
  const std::map<std::string, std::string> names = {
      {"ih0.weight", "cell.ih.weight"}, {"ih0.bias", "cell.ih.bias"},     {"hh0.weight", "cell.hh.weight"},
      {"hh0.bias", "cell.hh.bias"},     {"start.weight", "start.weight"}, {"start.bias", "start.bias"}};
  ASSERT_NO_FATAL_FAILURE(copy_weights(*scan_arena, *list_arena, names));
  const Samples samples = make_samples(kN, 3, {kH});
  const Result found = run_samples(scan, *scan_arena, samples, kN);
  const Result expected = run_samples(unrolled, *list_arena, samples, kN);
  expect_same_bits(found.output, expected.output, "output");
  for (const auto& [name, other] : names)
    expect_same_bits(found.gradients.at(other), expected.gradients.at(name), name);
}

/// Each sample by itself, with as many steps as it has: the same values and, summed, the same gradients.
TEST(Lengths, AreEachSampleAlone) {
  const std::vector<int32_t> lengths{2, 5, 3};
  for (const std::string layers :
       {"{lstm: {hidden: 6, name: l}}, last_step, {affine: 3}",
        "{gru: {hidden: 6, direction: bidirectional, name: l}}, mean_steps, {affine: 3}",
        "{rnn: {hidden: 6, layers: 2, name: l}}, {affine: {features: 3, each_step: true}}, last_step"}) {
    const Graph whole = sequence_graph(layers, kT, true);
    const std::unique_ptr<ParameterArena> arena = random_arena(whole, 7);
    Samples samples = make_samples(kN, kT, {3});
    samples.lengths = lengths;
    const Result together = run_samples(whole, *arena, samples, kN);
    std::map<std::string, std::vector<float>> sums;
    std::vector<float> outputs;
    for (int64_t i = 0; i < kN; ++i) {
      const Graph alone = sequence_graph(layers, lengths[i]);
      Samples one;
      one.x.assign(samples.x.begin() + i * kT * kD, samples.x.begin() + (i * kT + lengths[i]) * kD);
      one.target.assign(samples.target.begin() + 3 * i, samples.target.begin() + 3 * (i + 1));
      one.ids = {i};
      const Result result = run_samples(alone, *arena, one, 1);
      outputs.insert(outputs.end(), result.output.begin(), result.output.end());
      for (const auto& [name, gradient] : result.gradients) {
        std::vector<float>& sum = sums[name];
        sum.resize(gradient.size());
        for (size_t k = 0; k < sum.size(); ++k) sum[k] += gradient[k];
      }
    }
    expect_near(together.output, outputs, 1e-6, layers);
    for (const auto& [name, sum] : sums) expect_near(together.gradients.at(name), sum, 1e-5, layers + name);
  }
}

TEST(States, OfStepsOneByOneAreThoseOfTheWholeSequence) {
  for (const std::string layers : {"{lstm: {hidden: 6, layers: 2, name: l}}", "{gru: {hidden: 6, name: l}}",
                                   "{rnn: {hidden: 6, name: l}}"}) {
    const Graph whole = sequence_graph(layers, kT), step = sequence_graph(layers, 1, false, true);
    const std::unique_ptr<ParameterArena> arena = random_arena(whole, 8);
    const Samples samples = make_samples(kN, kT, {kT, kH});
    const Result expected = run_samples(whole, *arena, samples, kN);

    PlanOptions options = plan_options(kN);
    options.config.training = false;
    Plan plan(step, *arena, std::vector<LossSpec>{}, options);
    plan.refresh_weights();
    ASSERT_GT(plan.state_elements(), 0);
    std::vector<float> states(static_cast<size_t>(plan.state_elements())), x(kN * kD), found(kN * kT * kH);
    BatchContext batch;
    batch.n_valid = kN;
    batch.sample_ids = samples.ids.data();
    for (int64_t t = 0; t < kT; ++t) {
      for (int64_t n = 0; n < kN; ++n)
        std::copy_n(samples.x.begin() + (n * kT + t) * kD, kD, x.begin() + n * kD);
      plan.stage({x.data()}, {}, batch);
      plan.set_states(t == 0 ? nullptr : states.data());
      plan.forward();
      plan.get_states(states.data());
      for (int64_t n = 0; n < kN; ++n)
        std::copy_n(plan.output() + n * kH, kH, found.begin() + (n * kT + t) * kH);
    }
    expect_same_bits(found, expected.output, layers);
  }
}

TEST(Sequences, AreRefusedWithARemedy) {
  const auto refuses = [](const std::string& layers, const std::string& reason, const std::string& remedy) {
    expect_error([&] { sequence_graph(layers); }, {reason, remedy});
  };
  refuses("flatten, {lstm: 6}", "needs a sequence (T, features) per sample", "embedding");
  refuses("{lstm: {hidden: 6, dropout: 0.5}}", "there is one", "layers: 2");
  refuses("{lstm: {hidden: 6, direction: bidirectional, state: carried}}", "cannot carry its state", "state");
  refuses("{lstm: {hidden: 6, name: l}}, {affine: {features: 2, from: l.x_n}}", "no output 'x_n'",
          "h_n, c_n");
  refuses("{scan: {over: {x: input}, carry: {h: {shape: [3]}}, body: [{affine: {features: 2, from: x}}]}}",
          "has shape (3) before a step and (2) behind it", "the carry's shape");
  refuses("{scan: {over: {x: input}, body: [{batch_norm: {from: x}}]}}", "keeps running averages",
          "layer_norm");
  refuses("{embedding: {width: 3, vocabulary: 5, name: e}}, {add: [input, input]}", "has ids", "embedding");
}

TEST(Sequences, TakePyTorchsNames) {
  const Graph graph = sequence_graph("{lstm: {hidden: 6, layers: 2, direction: bidirectional, name: rnn}}");
  const std::unique_ptr<ParameterArena> arena = random_arena(graph, 1);
  std::map<std::string, Shape> found;
  for (const Segment& segment : arena->segments()) found[segment.name] = segment.shape;
  std::map<std::string, Shape> expected;
  for (const std::string suffix : {"l0", "l0_reverse", "l1", "l1_reverse"}) {
    const int64_t in = suffix[1] == '0' ? kD : 2 * kH;
    expected["rnn.weight_ih_" + suffix] = {4 * kH, in};
    expected["rnn.weight_hh_" + suffix] = {4 * kH, kH};
    expected["rnn.bias_ih_" + suffix] = {4 * kH};
    expected["rnn.bias_hh_" + suffix] = {4 * kH};
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(graph.vertex(graph.output()).shape, (Shape{kT, 2 * kH}));
}

}  // namespace
}  // namespace lockstep
