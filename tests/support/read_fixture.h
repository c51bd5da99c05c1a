// Tensors that Python wrote for a test, from a safetensors file of tests/fixtures.
#pragma once

#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "tests/support/op_test.h"

namespace lockstep {

/// The tensors of a file whose header is as Python's package writes it.
inline std::map<std::string, DenseTensor> read_fixture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t n = 0;
  file.read(reinterpret_cast<char*>(&n), sizeof(n));
  std::string header(n, ' ');
  file.read(header.data(), static_cast<std::streamsize>(n));
  EXPECT_TRUE(file.good()) << path;
  std::map<std::string, DenseTensor> tensors;
  const std::string key = "\":{\"dtype\":\"";
  for (size_t at = header.find(key); at != std::string::npos; at = header.find(key, at + 1)) {
    const size_t begin = header.rfind('"', at - 1) + 1;
    DenseTensor tensor;
    tensor.dtype = header.compare(at + key.size(), 3, "I32") == 0 ? DType::kInt32 : DType::kFloat32;
    std::vector<int64_t> extents;
    size_t digit = header.find('[', at);
    while (header[digit] != ']') {
      extents.push_back(std::stoll(header.substr(digit + 1, 20)));
      digit = header.find_first_of(",]", digit + 1);
    }
    tensor.shape = Shape(extents);
    const auto offset = std::stoll(header.substr(header.find('[', digit) + 1, 20));
    file.seekg(8 + static_cast<std::streamoff>(n) + offset);
    for (int64_t i = 0; i < tensor.shape.n_elements(); ++i) {
      char bytes[4];
      file.read(bytes, 4);
      if (tensor.dtype == DType::kInt32) {
        int32_t value;
        std::memcpy(&value, bytes, 4);
        tensor.values.push_back(value);
      } else {
        float value;
        std::memcpy(&value, bytes, 4);
        tensor.values.push_back(value);
      }
    }
    tensors[header.substr(begin, at - begin)] = tensor;
  }
  return tensors;
}

}  // namespace lockstep
