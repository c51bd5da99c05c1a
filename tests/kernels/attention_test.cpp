// Attention against the naive reference and against itself: every mask, head, length and size of tiles.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/reference/attention.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Trial {
  int64_t n = 2, queries = 7, keys = 0, features = 12, heads = 2;  // keys 0: as many as queries
  bool packed = false, causal = false, self = false, wants_weights = false;
  std::vector<int> lengths = {};  // empty: none
  int64_t n_valid = 0;
  double dropout = 0;
  DType dtype = DType::kFloat32;
  bool training = true;
  int64_t cache_steps = 0;
  double range = 1;

  int64_t n_keys() const { return keys > 0 ? keys : queries; }
  std::string str() const {
    return std::to_string(n) + "x" + std::to_string(queries) + "x" + std::to_string(n_keys()) + "x" +
           std::to_string(features) + ", heads " + std::to_string(heads) + (packed ? ", packed" : "") +
           (causal ? ", causal" : "") + (lengths.empty() ? "" : ", lengths");
  }
  std::unique_ptr<Op> make() const {
    AttentionDesc desc;
    desc.query = {Shape{n, queries, packed ? 3 * features : features}};
    if (!packed) desc.keys = desc.values = {Shape{n, n_keys(), features}};
    desc.packed = packed;
    desc.heads = heads;
    desc.causal = causal;
    desc.has_lengths = !lengths.empty();
    desc.self = self;
    desc.dropout = dropout;
    desc.key = hash_name("layer");
    desc.wants_weights = wants_weights;
    desc.cache_steps = cache_steps;
    OpConfig config = config_of(dtype);
    config.training = training;
    return make_attention(config, desc);
  }
  /// Values of query, keys and values, each (N, T, D).
  std::vector<Values> parts() const {
    return {short_values(n * queries * features, 1, -range, range),
            short_values(n * n_keys() * features, 2, -range, range),
            short_values(n * n_keys() * features, 3, -range, range)};
  }
  Values pack(const std::vector<Values>& part) const {
    Values all;
    for (int64_t row = 0; row < n * queries; ++row)
      for (const Values& values : part)
        all.insert(all.end(), values.begin() + row * features, values.begin() + (row + 1) * features);
    return all;
  }
  OpInputs inputs() const {
    const std::vector<Values> part = parts();
    OpInputs in;
    if (packed)
      in.src = {{Shape{n, queries, 3 * features}, pack(part), dtype}};
    else
      in.src = {{Shape{n, queries, features}, part[0], dtype},
                {Shape{n, n_keys(), features}, part[1], dtype},
                {Shape{n, n_keys(), features}, part[2], dtype}};
    if (!lengths.empty()) in.src.push_back({Shape{n}, Values(lengths.begin(), lengths.end()), DType::kInt32});
    in.diff_dst = {short_values(n * queries * features, 5)};
    in.batch.n_valid = n_valid;
    in.batch.seed = 11;
    in.batch.step = 3;
    in.run_backward = training;
    if (!training) in.diff_dst.clear();
    return in;
  }
  reference::Attention reference() const {
    const std::vector<Values> part = parts();
    reference::Attention r{n, queries, n_keys(), features, heads, part[0], part[1], part[2], {}};
    r.sees = [this](int64_t sample, int64_t query, int64_t key) {
      if (n_valid > 0 && sample >= n_valid) return false;
      const int64_t length = lengths.empty() ? n_keys() : lengths[static_cast<size_t>(sample)];
      if ((packed || self) && query >= length) return false;
      return key < length && (!causal || key <= query);
    };
    if (dropout > 0 && training)
      r.keeps = [this](int64_t sample, int64_t head, int64_t query, int64_t key) {
        // The sample ids of the harness.
        const RandomStream stream(mix_bits(11) ^ hash_name("layer"), RandomPurpose::kDropout, 3,
                                  static_cast<uint64_t>(1000 + 7 * sample));
        const auto element = static_cast<uint64_t>((head * queries + query) * n_keys() + key);
        return stream.bits(element) >= dropout * 0x1p32 ? 1.0 / (1.0 - dropout) : 0.0;
      };
    return r;
  }
};

class AttentionTest : public OpTest {
 protected:
  /// A query that sees one key has no gradient but for rounding, which is judged beside 1.
  static void expect_gradient(Values actual, Values expected, double tolerance, const std::string& what) {
    if (std::all_of(expected.begin(), expected.end(), [](double x) { return std::abs(x) < 1e-12; }))
      for (Values* values : {&actual, &expected})
        for (double& value : *values) value += 1;
    expect_close(actual, expected, tolerance, what);
  }
  static void judge(const Trial& trial, double tolerance = 1e-5) {
    SCOPED_TRACE(trial.str());
    const OpOutputs out = run_op(*trial.make(), trial.inputs());
    const reference::Attention reference = trial.reference();
    const auto expected = reference.forward();
    expect_close(out.dst[0], expected.context, tolerance, "context");
    if (trial.wants_weights) expect_close(out.dst[1], expected.weights, tolerance, "weights");
    if (!trial.training) return;
    const auto gradients = reference.backward(trial.inputs().diff_dst[0]);
    if (trial.packed) {
      expect_gradient(out.diff_src[0], trial.pack({gradients.q, gradients.k, gradients.v}), 4 * tolerance,
                      "packed");
      return;
    }
    expect_gradient(out.diff_src[0], gradients.q, 4 * tolerance, "diff_query");
    expect_gradient(out.diff_src[1], gradients.k, 4 * tolerance, "diff_keys");
    expect_gradient(out.diff_src[2], gradients.v, 4 * tolerance, "diff_values");
  }
};

TEST_F(AttentionTest, EverySize) {
  for (const int64_t width : {1, 3, 8, 16, 20, 33})
    for (const int64_t queries : {1, 2, 17})
      for (const int64_t keys : {1, 5, 18})
        for (const bool causal : {false, true})
          judge({.queries = queries, .keys = keys, .features = 2 * width, .causal = causal});
}

TEST_F(AttentionTest, EveryMask) {
  for (const bool causal : {false, true}) {
    judge({.packed = true, .causal = causal});
    judge({.causal = causal, .self = true});
    judge({.n = 4, .causal = causal, .lengths = {3, 0, 7, 1}});
    judge({.n = 4, .packed = true, .causal = causal, .lengths = {3, 0, 7, 1}});
    judge({.n = 4, .causal = causal, .lengths = {3, 0, 7, 1}, .n_valid = 3});
    judge({.n = 3, .packed = true, .causal = causal, .n_valid = 1});
    judge({.n = 3, .queries = 5, .keys = 9, .causal = causal, .lengths = {9, 4, 0}, .n_valid = 2});
  }
  for (const int64_t heads : {1, 3, 4, 12})
    judge({.features = 12, .heads = heads, .packed = true, .causal = true});
}

// Several tiles of queries, several blocks of keys, and neither a multiple of a register tile.
TEST_F(AttentionTest, TilesGiveWhatOneWouldGive) {
  for (const int64_t steps : {47, 96, 97, 130, 193, 300})
    for (const bool causal : {false, true})
      judge({.n = 1, .queries = steps, .features = 40, .packed = true, .causal = causal}, 2e-5);
  judge({.n = 1, .queries = 101, .keys = 299, .features = 34}, 2e-5);
  judge({.n = 1, .queries = 250, .keys = 70, .features = 34, .causal = true}, 2e-5);
  judge({.n = 2, .queries = 210, .features = 34, .packed = true, .causal = true, .lengths = {199, 98}}, 2e-5);
}

// The greatest score of a later block is far above those before it, or far below.
TEST_F(AttentionTest, LargeScores) {
  judge({.n = 1, .queries = 205, .features = 64, .causal = true, .range = 12}, 2e-4);  // scores up to 800
}

TEST_F(AttentionTest, Dropout) {
  judge({.dropout = 0.3});
  judge({.n = 3, .queries = 9, .keys = 13, .causal = true, .lengths = {13, 0, 5}, .dropout = 0.5});
  judge({.n = 2, .queries = 131, .features = 20, .packed = true, .causal = true, .dropout = 0.2}, 2e-5);
  judge({.n = 2, .queries = 30, .dropout = 0.2, .training = false});  // none in evaluation
}

TEST_F(AttentionTest, NarrowTypes) {
  for (const DType dtype : kNarrowTypes) {
    judge({.queries = 21, .features = 24, .packed = true, .causal = true, .dtype = dtype}, 0.02);
    judge({.queries = 21, .keys = 11, .features = 24, .dropout = 0.2, .dtype = dtype}, 0.02);
  }
}

TEST_F(AttentionTest, Weights) {
  judge({.wants_weights = true, .training = false});
  judge({.n = 3,
         .queries = 101,
         .keys = 120,
         .causal = true,
         .wants_weights = true,
         .lengths = {120, 0, 99},
         .training = false});
}

TEST_F(AttentionTest, CentralDifferences) {
  const Trial trials[] = {{.packed = true, .causal = true, .lengths = {5, 7}},
                          {.queries = 4, .keys = 6, .dropout = 0.4}};
  for (const Trial& trial : trials) check_gradients(*trial.make(), trial.inputs(), {.max_elements = 30});
}

TEST_F(AttentionTest, EachGradientMayBeUnwantedOrZero) {
  const Trial trial{.queries = 9, .causal = true};
  OpInputs in = trial.inputs();
  in.wants_diff_src = false;
  run_op(*trial.make(), in);
  in = trial.inputs();
  in.diff_dst[0].clear();
  for (const Values& gradient : run_op(*trial.make(), in).diff_src)
    expect_close(gradient, Values(gradient.size(), 0.0), 0, "of no gradient");
}

// Bits of a sample are those that it has alone.
TEST_F(AttentionTest, SamplesDoNotDependOnOthers) {
  const Trial all{.n = 3, .queries = 110, .features = 24, .packed = true, .causal = true};
  Trial one = all;
  one.n = 1;
  const OpInputs in = all.inputs();
  const OpOutputs whole = run_op(*all.make(), in);
  for (int64_t sample = 0; sample < all.n; ++sample) {
    OpInputs alone = one.inputs();
    const auto part = [&](const Values& values) {
      const auto n = static_cast<int64_t>(values.size()) / all.n;
      return Values(values.begin() + sample * n, values.begin() + (sample + 1) * n);
    };
    alone.src[0].values = part(in.src[0].values);
    alone.diff_dst[0] = part(in.diff_dst[0]);
    const OpOutputs out = run_op(*one.make(), alone);
    expect_close(out.dst[0], part(whole.dst[0]), 0, "context");
    expect_close(out.diff_src[0], part(whole.diff_src[0]), 0, "gradient");
  }
}

/// Rows [first, first + count) of each sample of (n, steps, columns).
Values steps_of(const Values& values, int64_t n, int64_t first, int64_t count) {
  const auto sample = static_cast<int64_t>(values.size()) / n;
  Values part;
  for (int64_t b = 0; b < n; ++b)
    part.insert(part.end(), values.begin() + b * sample + first, values.begin() + b * sample + first + count);
  return part;
}

TEST_F(AttentionTest, StepByStepIsTheWhole) {
  for (const int64_t chunk : {1, 3, 25}) {
    const Trial whole{
        .n = 2, .queries = 150, .features = 20, .packed = true, .causal = true, .training = false};
    Trial part = whole;
    part.queries = chunk;
    part.cache_steps = whole.queries;
    const Values all = whole.inputs().src[0].values, expected = run_op(*whole.make(), whole.inputs()).dst[0];
    const auto op = part.make();
    for (int64_t first = 0; first < whole.queries; first += chunk) {
      OpInputs in = part.inputs();
      in.src[0].values = steps_of(all, whole.n, first * 60, chunk * 60);
      in.batch.first_step = first;
      expect_close(run_op(*op, in).dst[0], steps_of(expected, whole.n, first * 20, chunk * 20), 0,
                   "steps from " + std::to_string(first));
    }
  }
}

// Samples that take over what others had, one of them twice, then go on with steps of their own.
TEST_F(AttentionTest, ParentsReorderTheCache) {
  const Trial trial{.n = 3,
                    .queries = 1,
                    .features = 8,
                    .packed = true,
                    .causal = true,
                    .training = false,
                    .cache_steps = 40};
  Trial whole = trial;
  whole.queries = 33;
  whole.cache_steps = 0;
  const int64_t row = 24;  // 3 D
  Values history = whole.inputs().src[0].values;
  const SharedVector<int32_t> parents = {1, 1, 0};
  const auto op = trial.make();
  OpOutputs last;
  for (int64_t step = 0; step < whole.queries; ++step) {
    const bool reorders = step == 20 || step == 27;
    if (reorders) {
      const Values before = history;
      for (int64_t b = 0; b < 3; ++b)
        std::copy_n(before.begin() + parents[static_cast<size_t>(b)] * whole.queries * row, step * row,
                    history.begin() + b * whole.queries * row);
    }
    OpInputs in = trial.inputs();
    in.src[0].values = steps_of(history, 3, step * row, row);
    in.batch.first_step = step;
    in.batch.parents = nullptr;
    if (reorders) {  // run_op runs forward twice, and parents apply once: 1, 1, 0 twice is 1, 1, 1
      SharedVector<BatchContext> batch(1);
      batch[0] = in.batch;
      batch[0].n_valid = 3;
      batch[0].parents = parents.data();
      SharedVector<float> src(in.src[0].values.begin(), in.src[0].values.end()), dst(24);
      SharedVector<std::byte> scratchpad(static_cast<size_t>(op->info().scratchpad_bytes));
      const Tensor from{src.data(), op->info().src[0]}, to{dst.data(), op->info().dst[0]};
      OpArgs args;
      args.src = {&from, 1};
      args.dst = {&to, 1};
      args.scratchpad = scratchpad.data();
      args.batch = batch.data();
      const auto stream = make_stream(test_device());
      op->forward(*stream, args);
      stream->synchronize();
      last.dst = {Values(dst.begin(), dst.end())};
    } else {
      last = run_op(*op, in);
    }
    OpInputs all = whole.inputs();
    all.src[0].values = history;
    if (step % 9 == 0 || step > 19)
      expect_close(last.dst[0], steps_of(run_op(*whole.make(), all).dst[0], 3, step * 8, 8), 0,
                   "step " + std::to_string(step));
  }
}

// Equal scores: a query's context is the mean of the values that it sees.
TEST_F(AttentionTest, EqualScoresGiveTheMean) {
  const Trial trial{.n = 1, .queries = 4, .features = 1, .heads = 1, .causal = true};
  OpInputs in = trial.inputs();
  in.src[0].values = {0, 0, 0, 0};
  in.src[2].values = {4, 8, 3, 9};
  expect_close(run_op(*trial.make(), in).dst[0], {4, 6, 5, 6}, 0, "context");
}

TEST_F(AttentionTest, RefusesWhatDoesNotFit) {
  const auto refuses = [](const Trial& trial) {
    EXPECT_THROW(trial.make(), Error);
    count_comparisons(1);
  };
  refuses({.heads = 5});
  refuses({.heads = 0});
  refuses({.dropout = 1});
  refuses({.dropout = -0.1});
  refuses({.wants_weights = true});
  refuses({.keys = 8, .self = true});
  refuses({.packed = true, .causal = true, .cache_steps = 20});                    // training
  refuses({.packed = true, .training = false, .cache_steps = 20});                 // not causal
  refuses({.causal = true, .training = false, .cache_steps = 20});                 // not self
  refuses({.packed = true, .causal = true, .training = false, .cache_steps = 6});  // too short
  refuses({.packed = true, .causal = true, .lengths = {1, 2}, .training = false, .cache_steps = 20});
  AttentionDesc desc{.query = {Shape{2, 7, 12}}, .keys = {Shape{2, 7, 12}}, .values = {Shape{2, 8, 12}}};
  EXPECT_THROW(make_attention(test_config(), desc), Error);
  desc.values = desc.keys = {Shape{3, 7, 12}};
  EXPECT_THROW(make_attention(test_config(), desc), Error);
  EXPECT_THROW(make_attention(test_config(), {.query = {Shape{2, 7, 10}}, .packed = true}), Error);
  try {
    Trial{.heads = 5}.make();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("5 heads do not divide 12"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lockstep
