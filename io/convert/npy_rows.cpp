#include "io/convert/npy_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "io/dataset/stored_numbers.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

bool is_npy_float(DType type) { return type == DType::kFloat32 || type == DType::kFloat64; }

/// Files one behind the other.
class NpyParts {
 public:
  explicit NpyParts(std::vector<NpyFile> files) : files_(std::move(files)) {
    for (const NpyFile& file : files_) {
      const NpyFile& first = files_[0];
      if (file.shape() != first.shape() || file.dtype() != first.dtype())
        throw Error(file.name(),
                    fmt::format("holds rows of {} {}, {} of {} {}", name_of(file.dtype()), file.shape().str(),
                                first.name(), name_of(first.dtype()), first.shape().str()),
                    "give arrays of one type whose rows have one shape");
      n_rows_ += file.n_rows();
    }
    row_.resize(static_cast<size_t>(shape().n_elements() * size_of(dtype())));
  }

  int64_t n_rows() const { return n_rows_; }
  const Shape& shape() const { return files_[0].shape(); }
  DType dtype() const { return files_[0].dtype(); }
  const std::string& name() const { return files_[0].name(); }
  int64_t row_bytes() const { return static_cast<int64_t>(row_.size()); }

  /// The row, until the next one is read.
  const std::byte* row(int64_t row) {
    size_t f = 0;
    for (; row >= files_[f].n_rows(); ++f) row -= files_[f].n_rows();
    files_[f].read_row(row, row_.data());
    return row_.data();
  }

 private:
  std::vector<NpyFile> files_;
  int64_t n_rows_ = 0;
  std::vector<std::byte> row_;
};

/// Of whole numbers of 64 bits: the least type here that holds all of them. int64 fields are ids, which
/// nobody normalises.
DType narrowed(NpyParts& inputs) {
  if (inputs.dtype() != DType::kInt64) return inputs.dtype();
  int64_t least = 0, most = 0;
  const int64_t n = inputs.shape().n_elements();
  for (int64_t row = 0; row < inputs.n_rows(); ++row) {
    const std::byte* from = inputs.row(row);
    for (int64_t i = 0; i < n; ++i) {
      int64_t value;
      std::memcpy(&value, from + i * static_cast<int64_t>(sizeof value), sizeof value);
      least = std::min(least, value);
      most = std::max(most, value);
    }
  }
  if (least >= 0 && most <= 255) return DType::kUInt8;
  const bool fits =
      least >= std::numeric_limits<int32_t>::min() && most <= std::numeric_limits<int32_t>::max();
  return fits ? DType::kInt32 : DType::kInt64;
}

template <typename To>
void narrow_row(const std::byte* src, std::byte* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    int64_t value;
    std::memcpy(&value, src + i * static_cast<int64_t>(sizeof value), sizeof value);
    const auto narrow = static_cast<To>(value);
    std::memcpy(dst + i * static_cast<int64_t>(sizeof narrow), &narrow, sizeof narrow);
  }
}

/// (pixels, channels) -> (channels, pixels).
void turn_row(const std::byte* src, std::byte* dst, int64_t n_pixels, int64_t n_channels, int64_t n_bytes) {
  for (int64_t c = 0; c < n_channels; ++c)
    for (int64_t p = 0; p < n_pixels; ++p)
      std::memcpy(dst + (c * n_pixels + p) * n_bytes, src + (p * n_channels + c) * n_bytes,
                  static_cast<size_t>(n_bytes));
}

bool looks_channels_last(const Shape& row) {
  return row.rank() == 3 && (row[2] == 1 || row[2] == 3 || row[2] == 4) && row[0] > 4;
}

/// What is done to a row of inputs.
struct NpyInput {
  Field field;
  bool turns = false, narrows = false;

  NpyInput(NpyParts& inputs, const NpyShape& how) {
    Shape shape = inputs.shape();
    field.dtype = inputs.dtype();
    if (!how.as_stored) {
      if (shape.rank() == 3 && how.layout.empty() && how.shape.empty() && looks_channels_last(shape))
        throw Error(inputs.name(),
                    fmt::format("holds rows of shape {}: images whose channels stand last?", shape.str()),
                    "say --layout NHWC, or NCHW where the first extent counts channels");
      turns = shape.rank() == 3 && how.layout == "NHWC";
      field.dtype = narrowed(inputs);
      narrows = field.dtype != inputs.dtype();
      if (turns) {
        shape = Shape{shape[2], shape[0], shape[1]};
      } else if (!how.shape.empty()) {
        const Shape wanted(how.shape);
        if (wanted.n_elements() != shape.n_elements())
          throw Error(
              inputs.name(),
              fmt::format("holds rows of shape {}, which shape {} does not hold", shape.str(), wanted.str()),
              "give a shape of as many numbers");
        shape = wanted;
      } else if (shape.rank() == 2 && field.dtype == DType::kUInt8) {
        shape = shape.with_front(1);
      }
    }
    field.name = shape.rank() == 3 ? "image" : "input";
    field.shape = shape;
  }

  void convert(const std::byte* src, std::byte* dst, std::vector<std::byte>& scratch) const {
    const int64_t n = field.shape.n_elements(), n_bytes = size_of(field.dtype);
    if (narrows) {
      std::byte* to = dst;
      if (turns) {
        scratch.resize(static_cast<size_t>(n * n_bytes));
        to = scratch.data();
      }
      if (field.dtype == DType::kUInt8)
        narrow_row<uint8_t>(src, to, n);
      else
        narrow_row<int32_t>(src, to, n);
      src = to;
    }
    if (turns)
      turn_row(src, dst, field.shape[1] * field.shape[2], field.shape[0], n_bytes);
    else if (!narrows)
      std::memcpy(dst, src, static_cast<size_t>(n * n_bytes));
  }
};

/// Checks whole labels; returns the largest.
int64_t largest_label(NpyParts& labels) {
  double largest = -1;
  for (int64_t row = 0; row < labels.n_rows(); ++row) {
    const double id = stored_number(labels.dtype(), labels.row(row), 0);
    if (id < 0)
      throw Error(labels.name(), fmt::format("row {} has the label {}, but class ids start at 0", row, id),
                  "number the classes from 0");
    largest = std::max(largest, id);
  }
  return static_cast<int64_t>(largest);
}

}  // namespace

ConvertInput open_npy_rows(std::vector<NpyFile> input_files, std::vector<NpyFile> label_files,
                           const NpyShape& shape) {
  auto inputs = std::make_shared<NpyParts>(std::move(input_files));
  const auto how = std::make_shared<const NpyInput>(*inputs, shape);
  ConvertInput source;
  source.source = "NumPy";
  source.n_rows = inputs->n_rows();
  source.fields.push_back(how->field);
  std::string taken = fmt::format("taken: {} rows of {} {}", source.n_rows, name_of(how->field.dtype),
                                  how->field.shape.str());
  std::shared_ptr<NpyParts> labels;
  if (!label_files.empty()) {
    labels = std::make_shared<NpyParts>(std::move(label_files));
    const int64_t n_numbers = labels->shape().n_elements();
    const bool regression = is_npy_float(labels->dtype());
    if (!regression && n_numbers != 1)
      throw Error(
          labels->name(), fmt::format("has samples of shape {}, not one label each", labels->shape().str()),
          "give an array of one dimension, of one-hot ones labels.argmax(axis=1); swap the two files?");
    if (labels->n_rows() != inputs->n_rows())
      throw Error(labels->name(),
                  fmt::format("has {} labels for {} samples", labels->n_rows(), inputs->n_rows()),
                  "give the two arrays of one set");
    if (regression) {
      source.fields.push_back({"target", DType::kFloat32, n_numbers == 1 ? Shape{} : Shape{n_numbers}});
    } else {
      source.fields.push_back({"label", DType::kInt64, {}});
      source.class_names = numbered_classes(largest_label(*labels));
    }
    taken += ", with " + source.fields.back().name + "s";
  }
  source.notes.push_back(taken);
  source.read = [inputs, labels, how, regression = source.fields.back().name == "target",
                 scratch = std::make_shared<std::vector<std::byte>>()](std::span<const int64_t> rows,
                                                                       std::span<std::byte* const> dst) {
    const int64_t row_bytes = how->field.shape.n_elements() * size_of(how->field.dtype);
    for (size_t i = 0; i < rows.size(); ++i) {
      how->convert(inputs->row(rows[i]), dst[0] + static_cast<int64_t>(i) * row_bytes, *scratch);
      if (!labels) continue;
      const std::byte* row = labels->row(rows[i]);
      const int64_t n = labels->shape().n_elements();
      for (int64_t k = 0; k < n; ++k) {
        const double label = stored_number(labels->dtype(), row, k);
        const auto target = static_cast<float>(label);
        const auto id = static_cast<int64_t>(label);
        if (regression)
          std::memcpy(dst[1] + (static_cast<int64_t>(i) * n + k) * static_cast<int64_t>(sizeof target),
                      &target, sizeof target);
        else
          std::memcpy(dst[1] + i * sizeof id, &id, sizeof id);
      }
    }
  };
  return source;
}

}  // namespace lockstep
