// The mean of each number of a sample over the training data: exact sums of whole numbers of 32 bits and
// less, doubles in the order of the samples for others. Every rank computes it by itself, from the same
// numbers in the same order.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/dataset/row_converter.h"
#include "src/data/fields.h"

namespace lockstep {

Normalization mean_image(const Dataset& data, const DataFields& fields, const DataOptions& job) {
  const Field& input = data.field(fields.input);
  if (input.ragged || input.windows || !data.vocabulary(input.name).empty())
    throw Error("data.normalize", fmt::format("'{}' holds sequences, which have no mean image", input.name),
                "set data.normalize to standardize or none");
  if (!job.augment.empty())
    throw Error("data.normalize", "a mean image belongs to places of stored images, which augmentation moves",
                "set data.normalize to mean or standardize, or leave out data.augment");
  constexpr int64_t kBlockBytes = int64_t{8} << 20;
  const int64_t n = input.shape.n_elements(), row_bytes = n * size_of(input.dtype);
  const int64_t rows = std::max<int64_t>(1, kBlockBytes / std::max<int64_t>(1, row_bytes));
  const RowConverter converter(input, DType::kFloat32, {}, {}, 0, data.path());
  std::vector<std::byte> stored(static_cast<size_t>(std::min(rows, data.n_samples()) * row_bytes));
  std::vector<float> sample(static_cast<size_t>(n));
  std::vector<double> sums(static_cast<size_t>(n));
  for (int64_t first = 0; first < data.n_samples(); first += rows) {
    const int64_t count = std::min(rows, data.n_samples() - first);
    data.read(input.name, first, count, stored.data());
    for (int64_t row = 0; row < count; ++row) {
      converter.convert(stored.data() + row * row_bytes, reinterpret_cast<std::byte*>(sample.data()),
                        first + row, data.path());
      for (size_t i = 0; i < sample.size(); ++i) sums[i] += static_cast<double>(sample[i]);
    }
  }
  Normalization normalization;
  for (const double sum : sums) {
    const double mean = sum / static_cast<double>(data.n_samples());
    if (!std::isfinite(mean))
      throw Error(data.path(), fmt::format("'{}' holds values that are not finite", input.name),
                  "replace such values; `lockstep inspect --values` counts them");
    normalization.mean.push_back(static_cast<float>(mean));
    normalization.stddev.push_back(1.0F);
  }
  return normalization;
}

}  // namespace lockstep
