// IDX -> shards: images and labels of two files, whose elements become what Lockstep stores.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/formats/idx_file.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

bool is_float(uint8_t type) { return type == kIdxF32 || type == kIdxF64; }

struct IdxInput {
  std::string images_name, labels_name;
  std::unique_ptr<IdxFile> images, labels;

  int64_t max_label() {
    std::vector<int64_t> rows(labels->n_rows());
    std::iota(rows.begin(), rows.end(), int64_t{0});
    double largest = -1;
    labels->for_each_row(rows, [&](size_t, const unsigned char* src) {
      largest = std::max(largest, idx_element(labels->type(), src));
    });
    return static_cast<int64_t>(largest);
  }

  void read(std::span<const int64_t> rows, std::span<std::byte* const> dst) const {
    const uint8_t type = images->type();
    const int64_t n = images->shape().n_elements(), width = idx_element_bytes(type);
    images->for_each_row(rows, [&](size_t i, const unsigned char* src) {
      if (type == kIdxU8) {
        std::memcpy(dst[0] + i * n, src, static_cast<size_t>(n));
        return;
      }
      auto* values = reinterpret_cast<float*>(dst[0]) + i * n;
      for (int64_t k = 0; k < n; ++k) values[k] = static_cast<float>(idx_element(type, src + k * width));
      if (!std::all_of(values, values + n, [](float x) { return std::isfinite(x); }))
        throw Error(images_name, fmt::format("row {} holds a value that is not a finite float32", rows[i]),
                    "replace such values");
    });
    if (!labels) return;
    labels->for_each_row(rows, [&](size_t i, const unsigned char* src) {
      const double value = idx_element(labels->type(), src);
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
                             images.type() == kIdxU8 ? DType::kUInt8 : DType::kFloat32, shape});
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
