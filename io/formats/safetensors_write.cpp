// Writing .safetensors: the header is known before any content, which then streams behind it.
#include <algorithm>
#include <memory>
#include <numeric>
#include <set>

#include "io/files/metrics.h"
#include "io/formats/safetensors.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

int64_t n_bytes_of(const SafetensorsTensor& tensor) {
  return tensor.shape.n_elements() * size_of(tensor.dtype);
}

/// Indices in the order of the file: wider types first, so that all data is aligned.
std::vector<size_t> file_order(const std::string& path, const std::vector<SafetensorsTensor>& tensors) {
  std::set<std::string> names;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.dtype != DType::kFloat32 && tensor.dtype != DType::kInt64)
      throw Error(path + ": " + tensor.name, "only float32 and int64 are written",
                  "convert the tensor to float32 first");
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      throw Error(path + ": " + tensor.name, "this name is taken",
                  "give each tensor its own name, and none __metadata__");
  }
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int64_t size_a = size_of(tensors[a].dtype), size_b = size_of(tensors[b].dtype);
    return size_a != size_b ? size_a > size_b : tensors[a].name < tensors[b].name;
  });
  return order;
}

/// The length and the header, padded with spaces so that the data begins at a multiple of 8.
std::string make_header(const std::vector<SafetensorsTensor>& tensors, const std::vector<size_t>& order) {
  std::string text = R"({"__metadata__":{"format":"pt"})";
  int64_t offset = 0;
  for (const size_t i : order) {
    const SafetensorsTensor& tensor = tensors[i];
    text += "," + json_quote(tensor.name) + R"(:{"dtype":")" +
            (tensor.dtype == DType::kFloat32 ? "F32" : "I64") + R"(","shape":[)";
    for (int d = 0; d < tensor.shape.rank(); ++d) text += (d ? "," : "") + std::to_string(tensor.shape[d]);
    const int64_t end = offset + n_bytes_of(tensor);
    text += R"(],"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(end) + "]}";
    offset = end;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
  return length + text;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                       const std::function<void(size_t, void*)>& fill) {
  const std::vector<size_t> order = file_order(path, tensors);
  const std::string header = make_header(tensors, order);
  int64_t n_bytes = static_cast<int64_t>(header.size()), n_most = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    n_bytes += n_bytes_of(tensor);
    n_most = std::max(n_most, n_bytes_of(tensor));
  }
  const auto buffer = std::make_unique_for_overwrite<char[]>(static_cast<size_t>(n_most));
  write_file_atomically(path, [&](FileHandle& file) {
    file.reserve(n_bytes);  // a full disk is met here
    file.write_at(header.data(), static_cast<int64_t>(header.size()), 0);
    int64_t at = static_cast<int64_t>(header.size());
    for (const size_t i : order) {
      fill(i, buffer.get());
      file.write_at(buffer.get(), n_bytes_of(tensors[i]), at);
      at += n_bytes_of(tensors[i]);
    }
  });
}

}  // namespace lockstep
