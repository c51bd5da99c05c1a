// The extents of a tensor, outermost first. A small value type without heap memory.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace lockstep {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents);
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[i]; }
  int64_t& operator[](int i) { return extents_[i]; }
  /// Product of the extents; 1 for rank 0 (a scalar).
  int64_t n_elements() const;

  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + rank_; }

  /// This shape with `extent` put in front: (C, H, W).with_front(N) = (N, C, H, W).
  Shape with_front(int64_t extent) const;
  /// This shape without its first extent: (N, C, H, W) -> (C, H, W).
  Shape without_front() const;

  bool operator==(const Shape& other) const;
  /// "(64, 1, 28, 28)"
  std::string str() const;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

}  // namespace lockstep
