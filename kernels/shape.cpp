#include "kernels/shape.h"

#include <algorithm>

#include "kernels/dtype.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// Ranks come from files: a larger one must not write beyond the array, in any build.
int checked_rank(size_t rank) {
  if (rank > static_cast<size_t>(Shape::kMaxRank))
    throw Error("shape",
                "a shape of " + std::to_string(rank) + " dimensions; at most " +
                    std::to_string(Shape::kMaxRank) + " are supported",
                "join dimensions before they are stored");
  return static_cast<int>(rank);
}

}  // namespace

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(checked_rank(extents.size())) {
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

int64_t Shape::n_elements() const {
  int64_t n = 1;
  for (int64_t extent : *this) n *= extent;
  return n;
}

Shape Shape::with_front(int64_t extent) const {
  Shape result;
  result.rank_ = checked_rank(static_cast<size_t>(rank_) + 1);
  result.extents_[0] = extent;
  std::copy(begin(), end(), result.extents_.begin() + 1);
  return result;
}

Shape Shape::without_front() const {
  if (rank_ == 0)
    throw Error("shape", "a shape without dimensions has no first one",
                "give the shape at least one dimension");
  return Shape(std::span<const int64_t>(begin() + 1, end()));
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string Shape::str() const {
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(extents_[i]);
  return text + ")";
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float32";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat16: return "float16";
    case DType::kFloat64: return "float64";
    case DType::kUInt8: return "uint8";
    case DType::kInt32: return "int32";
    case DType::kInt64: return "int64";
  }
  return "?";
}

}  // namespace lockstep
