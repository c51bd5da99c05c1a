// IDX, the format of MNIST (LeCun, Cortes, Burges, "The MNIST database of handwritten digits"):
// two zero bytes, a type code, the number of dimensions, big-endian int32 extents, then
// big-endian elements. Sizes are checked against the file before anything is read.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "comm/agreement.h"
#include "io/convert_rows.h"
#include "io/gzip.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

enum IdxType : uint8_t { kU8 = 0x08, kI8 = 0x09, kI16 = 0x0B, kI32 = 0x0C, kF32 = 0x0D, kF64 = 0x0E };

int64_t element_bytes(uint8_t type) {
  switch (type) {
    case kU8:
    case kI8: return 1;
    case kI16: return 2;
    case kI32:
    case kF32: return 4;
    case kF64: return 8;
  }
  return 0;
}

/// Loads a big-endian element.
template <typename Bits>
Bits load(const unsigned char* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Bits); ++i) value = value << 8 | bytes[i];
  return static_cast<Bits>(value);
}

double element(uint8_t type, const unsigned char* bytes) {
  switch (type) {
    case kU8: return *bytes;
    case kI8: return static_cast<int8_t>(*bytes);
    case kI16: return static_cast<int16_t>(load<uint16_t>(bytes));
    case kI32: return static_cast<int32_t>(load<uint32_t>(bytes));
    case kF32: return std::bit_cast<float>(load<uint32_t>(bytes));
    case kF64: return std::bit_cast<double>(load<uint64_t>(bytes));
  }
  return 0;
}

class IdxFile {
 public:
  IdxFile(const std::string& path, const std::string& name) : file_(path, name) {
    const std::string remedy = "give an uncompressed or gzip-compressed IDX file";
    std::array<unsigned char, 4> magic{};
    if (file_.n_bytes() < 4)
      throw Error(name, fmt::format("has {} bytes, which is no IDX file", file_.n_bytes()), remedy);
    file_.read(0, magic.data(), 4);
    type_ = magic[2];
    const int n_dims = magic[3];
    if (magic[0] != 0 || magic[1] != 0 || element_bytes(type_) == 0 || n_dims < 1 || n_dims > 4)
      throw Error(
          name,
          fmt::format(
              "starts with bytes {:02x} {:02x} {:02x} {:02x}, which is no IDX file of 1 to 4 dimensions",
              magic[0], magic[1], magic[2], magic[3]),
          remedy);
    header_bytes_ = 4 + 4 * n_dims;
    if (file_.n_bytes() < header_bytes_)
      throw Error(name, "ends within the IDX header", "fetch the file again");
    int64_t n_bytes = element_bytes(type_);
    bool fits = true;
    for (int d = 0; d < n_dims; ++d) {
      std::array<unsigned char, 4> extent{};
      file_.read(4 + 4 * d, extent.data(), 4);
      const int64_t value = load<uint32_t>(extent.data());
      fits = fits && !__builtin_mul_overflow(n_bytes, value, &n_bytes);
      if (d == 0) {
        n_rows_ = value;
      } else {
        shape_ = shape_.rank() == 0 ? Shape{value} : Shape(std::span<const int64_t>(extents_with(value)));
      }
    }
    if (n_rows_ == 0) throw Error(name, "holds no samples", "check the path");
    if (!fits || file_.n_bytes() - header_bytes_ != n_bytes)
      throw Error(name,
                  fmt::format("its header promises {} x {} elements, {} bytes in all, but it has {}", n_rows_,
                              shape_.str(), fits ? std::to_string(header_bytes_ + n_bytes) : "too many",
                              file_.n_bytes()),
                  "the file is truncated or not IDX; fetch it again");
    row_bytes_ = shape_.n_elements() * element_bytes(type_);
  }

  int64_t n_rows() const { return n_rows_; }
  uint8_t type() const { return type_; }
  const Shape& shape() const { return shape_; }  // of one row

  /// Calls visit(i, bytes) with the raw elements of each of the rows.
  template <typename Visit>
  void for_each_row(std::span<const int64_t> rows, const Visit& visit) {
    for (size_t first = 0; first < rows.size();) {
      size_t last = first + 1;  // a run of neighbours is one read
      while (last < rows.size() && rows[last] == rows[last - 1] + 1) ++last;
      buffer_.resize((last - first) * row_bytes_);
      file_.read(header_bytes_ + rows[first] * row_bytes_, buffer_.data(),
                 static_cast<int64_t>(buffer_.size()));
      for (size_t i = first; i < last; ++i) visit(i, buffer_.data() + (i - first) * row_bytes_);
      first = last;
    }
  }

 private:
  std::vector<int64_t> extents_with(int64_t extent) const {
    std::vector<int64_t> extents(shape_.begin(), shape_.end());
    extents.push_back(extent);
    return extents;
  }

  InputFile file_;
  uint8_t type_ = 0;
  int64_t header_bytes_ = 0, n_rows_ = 0, row_bytes_ = 0;
  Shape shape_;
  std::vector<unsigned char> buffer_;
};

bool is_float(uint8_t type) { return type == kF32 || type == kF64; }

struct IdxInput {
  std::string images_name, labels_name;
  std::unique_ptr<IdxFile> images, labels;

  int64_t max_label() {
    std::vector<int64_t> rows(labels->n_rows());
    std::iota(rows.begin(), rows.end(), int64_t{0});
    double largest = -1;
    labels->for_each_row(rows, [&](size_t, const unsigned char* src) {
      largest = std::max(largest, element(labels->type(), src));
    });
    return static_cast<int64_t>(largest);
  }

  void read(std::span<const int64_t> rows, std::span<std::byte* const> dst) const {
    const uint8_t type = images->type();
    const int64_t n = images->shape().n_elements(), width = element_bytes(type);
    images->for_each_row(rows, [&](size_t i, const unsigned char* src) {
      if (type == kU8) {
        std::memcpy(dst[0] + i * n, src, static_cast<size_t>(n));
        return;
      }
      auto* values = reinterpret_cast<float*>(dst[0]) + i * n;
      for (int64_t k = 0; k < n; ++k) values[k] = static_cast<float>(element(type, src + k * width));
      if (!std::all_of(values, values + n, [](float x) { return std::isfinite(x); }))
        throw Error(images_name, fmt::format("row {} holds a value that is not a finite float32", rows[i]),
                    "replace such values");
    });
    if (!labels) return;
    labels->for_each_row(rows, [&](size_t i, const unsigned char* src) {
      const double value = element(labels->type(), src);
      if (is_float(labels->type())) {
        const auto target = static_cast<float>(value);
        if (!std::isfinite(target))
          throw Error(labels_name, fmt::format("row {} is not a finite float32", rows[i]),
                      "replace such values");
        std::memcpy(dst[1] + i * sizeof target, &target, sizeof target);
      } else {
        const auto id = static_cast<int64_t>(value);
        if (id < 0)
          throw Error(labels_name,
                      fmt::format("row {} has the label {}, but class ids start at 0", rows[i], id),
                      "number the classes from 0");
        std::memcpy(dst[1] + i * sizeof id, &id, sizeof id);
      }
    });
  }
};

ConvertInput open_idx(Communicator& comm, const IdxOptions& idx, const std::string& scratch) {
  const std::string images_path = plain_file(comm, idx.images, scratch, "images.idx");
  const std::string labels_path =
      idx.labels.empty() ? "" : plain_file(comm, idx.labels, scratch, "labels.idx");
  ConvertInput source;
  source.source = "IDX";
  all_or_none(comm, [&] {
    auto input = std::make_shared<IdxInput>();
    input->images_name = idx.images;
    input->labels_name = idx.labels;
    input->images = std::make_unique<IdxFile>(images_path, idx.images);
    const IdxFile& images = *input->images;
    source.n_rows = images.n_rows();
    Shape shape = images.shape();
    if (shape.rank() == 0)
      throw Error(idx.images, "has one dimension, which are labels and not images", "swap the two files");
    if (shape.n_elements() == 0)
      throw Error(idx.images, "holds images without pixels: " + shape.str(), "check the file");
    if (shape.rank() == 2) shape = shape.with_front(1);
    source.fields.push_back({shape.rank() == 3 ? "image" : "input",
                             images.type() == kU8 ? DType::kUInt8 : DType::kFloat32, shape});
    if (!idx.labels.empty()) {
      input->labels = std::make_unique<IdxFile>(labels_path, idx.labels);
      const IdxFile& labels = *input->labels;
      if (labels.shape().rank() != 0)
        throw Error(idx.labels, "has more than one dimension, so it holds no labels", "swap the two files");
      if (labels.n_rows() != images.n_rows())
        throw Error(idx.labels, fmt::format("has {} labels for {} images", labels.n_rows(), images.n_rows()),
                    "give the two files of one set");
      source.fields.push_back(is_float(labels.type()) ? Field{"target", DType::kFloat32, {}}
                                                      : Field{"label", DType::kInt64, {}});
      if (!is_float(labels.type())) source.class_names = numbered_classes(input->max_label());
    }
    source.read = [input](auto rows, auto dst) { input->read(rows, dst); };
  });
  return source;
}

}  // namespace

ConvertResult convert_idx(Communicator& comm, const IdxOptions& idx, const ConvertOptions& options) {
  return convert_rows(comm, options,
                      [&](const std::string& scratch) { return open_idx(comm, idx, scratch); });
}

}  // namespace lockstep
