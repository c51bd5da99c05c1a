// .npy -> shards: an array of inputs and, beside it, one of labels.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/formats/npy_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

bool is_float(DType type) { return type == DType::kFloat32 || type == DType::kFloat64; }

/// A row of labels as double: exact for ids below 2^53.
double label_at(NpyFile& labels, int64_t row) {
  std::byte value[8];
  labels.read_row(row, value);
  const auto as = [&]<typename T>(T number) {
    std::memcpy(&number, value, sizeof number);
    return static_cast<double>(number);
  };
  switch (labels.dtype()) {
    case DType::kUInt8: return as(uint8_t{});
    case DType::kInt32: return as(int32_t{});
    case DType::kInt64: return as(int64_t{});
    case DType::kFloat32: return as(float{});
    default: return as(double{});
  }
}

}  // namespace

ConvertInput open_npy(Communicator& comm, const NpyOptions& npy) {
  ConvertInput source;
  source.source = "NumPy";
  all_or_none(comm, [&] {
    auto inputs = std::make_shared<NpyFile>(npy.path);
    std::shared_ptr<NpyFile> labels;
    source.n_rows = inputs->n_rows();
    const Shape& shape = inputs->shape();
    source.fields.push_back({shape.rank() == 3 ? "image" : "input", inputs->dtype(), shape});
    if (!npy.labels.empty()) {
      labels = std::make_shared<NpyFile>(npy.labels);
      if (labels->shape().n_elements() != 1)
        throw Error(npy.labels, "has samples of shape " + labels->shape().str() + ", not one label each",
                    "give an array of one dimension; swap the two files?");
      if (labels->n_rows() != inputs->n_rows())
        throw Error(npy.labels,
                    fmt::format("has {} labels for {} samples", labels->n_rows(), inputs->n_rows()),
                    "give the two files of one set");
      const bool regression = is_float(labels->dtype());
      source.fields.push_back(regression ? Field{"target", DType::kFloat32, {}}
                                         : Field{"label", DType::kInt64, {}});
      double largest = -1;
      for (int64_t row = 0; !regression && row < labels->n_rows(); ++row) {
        const double id = label_at(*labels, row);
        if (id < 0)
          throw Error(npy.labels, fmt::format("row {} has the label {}, but class ids start at 0", row, id),
                      "number the classes from 0");
        largest = std::max(largest, id);
      }
      if (!regression) source.class_names = numbered_classes(static_cast<int64_t>(largest));
    }
    const int64_t row_bytes = shape.n_elements() * size_of(inputs->dtype());
    source.read = [inputs, labels, row_bytes, regression = source.fields.back().name == "target"](
                      std::span<const int64_t> rows, std::span<std::byte* const> dst) {
      for (size_t i = 0; i < rows.size(); ++i) {
        inputs->read_row(rows[i], dst[0] + static_cast<int64_t>(i) * row_bytes);
        if (!labels) continue;
        const double label = label_at(*labels, rows[i]);
        const auto target = static_cast<float>(label);
        const auto id = static_cast<int64_t>(label);
        if (regression)
          std::memcpy(dst[1] + i * sizeof target, &target, sizeof target);
        else
          std::memcpy(dst[1] + i * sizeof id, &id, sizeof id);
      }
    };
    source.notes.push_back(fmt::format("taken: {} rows of {} {}{}", source.n_rows, name_of(inputs->dtype()),
                                       shape.str(),
                                       labels ? ", with " + source.fields.back().name + "s" : ""));
  });
  return source;
}

ConvertResult convert_npy(Communicator& comm, const NpyOptions& npy, const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_npy(comm, npy); });
}

}  // namespace lockstep
