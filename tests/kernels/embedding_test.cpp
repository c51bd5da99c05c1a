// Embeddings: rows come out bit for bit, gradients of integers exactly, whatever the ids.
#include "kernels/embedding.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/support/layouts.h"

namespace lockstep {
namespace {

struct Trial {
  Shape ids{4, 5};
  int64_t vocabulary = 7, width = 9;
  std::optional<int64_t> padding_id = std::nullopt;
  int64_t n_valid = 0;
  DType dtype = DType::kFloat32;
};

class EmbeddingTest : public OpTest {
 protected:
  static void judge(const Trial& trial) {
    SCOPED_TRACE(trial.ids.str() + " of " + std::to_string(trial.vocabulary) + "x" +
                 std::to_string(trial.width));
    OpInputs in;
    in.src = {{trial.ids, integer_values(trial.ids.n_elements(), 1, 0, trial.vocabulary - 1), DType::kInt32}};
    in.params = {{Shape{trial.vocabulary, trial.width},
                  rounded_to_bfloat16(random_values(trial.vocabulary * trial.width, 2))}};
    in.diff_dst = {integer_values(trial.ids.n_elements() * trial.width, 3, -4, 4)};
    in.batch.n_valid = trial.n_valid;
    const EmbeddingDesc desc{
        {trial.ids, DType::kInt32, nullptr}, trial.vocabulary, trial.width, trial.padding_id};
    const auto op = make_embedding(config_of(trial.dtype), desc);
    EXPECT_EQ(op->info().dst[0].shape.rank(), trial.ids.rank() + 1);
    const OpOutputs out = run_op(*op, in);
    Values dst, diff(in.params[0].values.size(), 0.0);
    const int64_t rows =
        (trial.n_valid > 0 ? trial.n_valid : trial.ids[0]) * trial.ids.n_elements() / trial.ids[0];
    for (size_t i = 0; i < in.src[0].values.size(); ++i)
      for (int64_t j = 0; j < trial.width; ++j) {
        const auto id = static_cast<int64_t>(in.src[0].values[i]);
        const auto at = static_cast<size_t>(id * trial.width + j);
        dst.push_back(in.params[0].values[at]);
        if (static_cast<int64_t>(i) < rows && id != trial.padding_id)
          diff[at] += in.diff_dst[0][i * static_cast<size_t>(trial.width) + static_cast<size_t>(j)];
      }
    expect_close(out.dst[0], dst, 0, "dst");
    expect_close(out.diff_params[0], diff, 0, "diff_weight");
  }
};

TEST_F(EmbeddingTest, EverySize) {
  for (const DType dtype : kTypes)
    for (const Shape& ids : {Shape{1}, Shape{6}, Shape{4, 5}, Shape{3, 2, 4}, Shape{33, 17}})
      for (const int64_t vocabulary : {1, 3, 100, 700})
        for (const int64_t width : {1, 8, 33})
          judge({.ids = ids, .vocabulary = vocabulary, .width = width, .dtype = dtype});
}

TEST_F(EmbeddingTest, PaddingCountsNothing) {
  judge({.padding_id = 0});
  judge({.padding_id = 6});
  judge({.n_valid = 2});
  judge({.ids = Shape{40, 11}, .vocabulary = 5, .padding_id = 3, .n_valid = 39});
}

TEST_F(EmbeddingTest, IdsOutsideGiveNaN) {
  OpInputs in;
  in.src = {{Shape{4}, {0, -1, 3, 2}, DType::kInt32}};
  in.params = {{Shape{3, 2}, {1, 2, 3, 4, 5, 6}}};
  in.diff_dst = {{1, 1, 1, 1, 1, 1, 1, 1}};
  const auto op = make_embedding(test_config(), {{Shape{4}, DType::kInt32, nullptr}, 3, 2});
  const OpOutputs out = run_op(*op, in);
  for (const size_t i : {2, 3, 4, 5}) EXPECT_TRUE(std::isnan(out.dst[0][i])) << i;
  EXPECT_EQ(out.dst[0][7], 6);
  expect_close(out.diff_params[0], {1, 1, 0, 0, 1, 1}, 0, "diff_weight");
}

TEST_F(EmbeddingTest, BitsDoNotDependOnThreads) {
  const int before = compute_threads();
  OpInputs in;
  in.src = {{Shape{300, 20}, integer_values(6000, 1, 0, 499), DType::kInt32}};
  in.params = {random_tensor(Shape{500, 16}, 2)};
  in.diff_dst = {random_values(6000 * 16, 3)};
  std::vector<Values> outputs;
  for (const int threads : {1, 2, 5}) {
    set_compute_threads(threads);
    const auto op = make_embedding(test_config(), {{Shape{300, 20}, DType::kInt32, nullptr}, 500, 16});
    outputs.push_back(run_op(*op, in).diff_params[0]);
  }
  set_compute_threads(before);
  for (const Values& out : outputs) expect_close(out, outputs[0], 0, "diff_weight");
}

TEST_F(EmbeddingTest, RefusesWhatHasNoMeaning) {
  const TensorDesc ids{Shape{4, 2}, DType::kInt32, nullptr};
  EXPECT_THROW(make_embedding(test_config(), {{Shape{4, 2}}, 3, 2}), Error);
  EXPECT_THROW(make_embedding(test_config(), {ids, 0, 2}), Error);
  EXPECT_THROW(make_embedding(test_config(), {ids, 3, 0}), Error);
  EXPECT_THROW(make_embedding(test_config(), {ids, 3, 2, 3}), Error);
  count_comparisons(4);
}

}  // namespace
}  // namespace lockstep
