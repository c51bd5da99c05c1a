// Element types of tensors, HDF5 datasets and checkpoints.
#pragma once

#include <cstdint>
#include <string_view>

namespace lockstep {

enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16, kFloat64, kUInt8, kInt32, kInt64 };

/// Bytes of one element.
constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kUInt8: return 1;
    case DType::kBFloat16:
    case DType::kFloat16: return 2;
    case DType::kFloat32:
    case DType::kInt32: return 4;
    case DType::kFloat64:
    case DType::kInt64: return 8;
  }
  return 0;
}

/// "float32", "bfloat16", … as job files and reports spell them.
std::string_view name_of(DType dtype);

}  // namespace lockstep
