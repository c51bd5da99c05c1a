// Softmax and sigmoid are computed in double, with the largest score subtracted, so that no score overflows.
#include "src/run/predict/prediction.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/dataset/row_converter.h"
#include "src/run/validation.h"

namespace lockstep {

PredictionKind prediction_kind(const Job& job, const Shape& output) {
  PredictionKind kind;
  kind.output = output;
  kind.fields = {{"output", DType::kFloat32, output}};
  const bool is_vector = output.rank() == 1;
  const bool is_softmax = job.loss.rule->probability() == LossRule::Probability::kSoftmax;
  const bool is_binary = job.loss.rule->probability() == LossRule::Probability::kSigmoid;
  if (is_vector && output[0] > 1 && job.loss.is_classification()) kind.n_classes = output[0];
  if (is_vector && output[0] == 1 && (is_binary || (job.loss.is_classification() && !is_softmax)))
    kind.n_classes = 2;
  kind.is_probable = (is_softmax && kind.n_classes > 1) || (is_binary && is_vector);
  if (kind.n_classes > 0) kind.fields.push_back({"class", DType::kInt64, {}});
  if (kind.is_probable) kind.fields.push_back({"probability", DType::kFloat32, output});
  return kind;
}

void judge(const PredictionKind& kind, const float* output, int64_t count, int64_t* classes,
           float* probabilities) {
  const int64_t k = kind.output.n_elements();
  for (int64_t i = 0; i < count; ++i, output += k) {
    if (kind.n_classes > 0) classes[i] = k > 1 ? arg_max(output, k) : output[0] > 0;
    if (!kind.is_probable) continue;
    float* p = probabilities + i * k;
    if (kind.n_classes == k) {
      const double largest = *std::max_element(output, output + k);
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += std::exp(output[c] - largest);
      for (int64_t c = 0; c < k; ++c) p[c] = static_cast<float>(std::exp(output[c] - largest) / sum);
    } else {
      for (int64_t c = 0; c < k; ++c)
        p[c] = static_cast<float>(1 / (1 + std::exp(-static_cast<double>(output[c]))));
    }
  }
}

Normalization output_units(const TrainedModel& model) {
  const Normalization& input = model.contract.normalization;
  const Shape& output = model.graph.vertex(model.graph.output()).shape;
  const bool is_series = model.job.train && model.job.train->window.length > 0 &&
                         model.job.loss.rule->compares_numbers() && !input.mean.empty();
  if (!is_series || output.rank() == 0) return {};
  const auto n_features = static_cast<size_t>(output[output.rank() - 1]);
  return input.mean.size() == 1 || input.mean.size() == n_features ? input : Normalization{};
}

void restore_units(const Normalization& units, int64_t n, int64_t size, float* output) {
  const size_t n_features = units.mean.size();
  if (n_features == 0) return;
  for (int64_t i = 0; i < n * size; ++i) {
    const size_t feature = static_cast<size_t>(i) % n_features;
    output[i] = output[i] * units.stddev[feature] + units.mean[feature];
  }
}

void predict_dataset(const RunBatch& run, DataLoader& loader, NotFiniteRows& not_finite,
                     const TakeOutputs& take) {
  for (int64_t s = 0; s < loader.steps_per_epoch(); ++s) {
    const MicroBatch& batch = loader.next();
    if (batch.n_valid == 0) continue;
    not_finite.look_at(batch);
    take(batch.sample_ids[0], batch.n_valid, run(batch));  // without shuffling one run of rows
  }
}

void predict_rows(const RunBatch& run, const TrainedModel& model, const ConvertInput& source,
                  Communicator& comm, NotFiniteRows& not_finite, const TakeOutputs& take) {
  constexpr int64_t kBlockRows = 256;  // read together: decoding has threads
  const Field& field = source.fields[0];
  const Shape read = model.job.augment.empty() ? field.shape : model.job.augment.output(field.shape);
  const Normalization& normalization = model.contract.normalization;
  const RowConverter converter(field, DType::kFloat32, normalization.mean, normalization.stddev, 0,
                               source.source, read == field.shape ? Shape{} : read);
  const int64_t m = model.job.micro_batch, block = std::max<int64_t>(1, kBlockRows / m) * m;
  const int64_t src_bytes = converter.src_bytes(),
                n_elements = converter.dst_bytes() / static_cast<int64_t>(sizeof(float));
  std::vector<std::byte> stored(static_cast<size_t>(block * src_bytes));
  std::vector<float> input(static_cast<size_t>(m * n_elements));
  std::vector<int64_t> rows, ids(static_cast<size_t>(m));
  for (int64_t begin = comm.rank() * block; begin < source.n_rows; begin += comm.size() * block) {
    rows.clear();
    for (int64_t row = begin; row < std::min(begin + block, source.n_rows); ++row) rows.push_back(row);
    std::byte* const dst[] = {stored.data()};
    source.read(rows, dst);
    const auto n = static_cast<int64_t>(rows.size());
    for (int64_t first = 0; first < n; first += m) {
      const int64_t n_valid = std::min(m, n - first);
      std::fill(input.begin(), input.end(), 0.0F);
      std::fill(ids.begin(), ids.end(), -1);
      for (int64_t i = 0; i < n_valid; ++i) {
        ids[i] = begin + first + i;
        converter.convert(stored.data() + (first + i) * src_bytes,
                          reinterpret_cast<std::byte*>(&input[i * n_elements]), ids[i], source.source);
      }
      const MicroBatch batch{.n_valid = n_valid, .sample_ids = ids, .data = {input.data()}};
      not_finite.look_at(batch);
      take(begin + first, n_valid, run(batch));
    }
  }
}

}  // namespace lockstep
