// Mean and standard deviation of a field, gathered while rows stream by: one per channel, the first
// dimension of a sample. So each column of a table has its own, whatever its type. uint8: exact integer sums,
// so no order matters. Other types: sums in double, shifted by the channel's first value, in
// the order of the rows; parts are merged in the order of the shards (Chan, Golub, LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances", 1979). Neither
// depends on how rows were cut into calls, nor on the number of ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "io/dataset/dataset.h"

namespace lockstep {

class ChannelMoments {
 public:
  explicit ChannelMoments(const Field& field);

  /// How many means the field has.
  static int64_t n_channels(const Field& field);

  /// int64 fields are ids, of which a mean says nothing; no converter makes half precision.
  static bool applies_to(const Field& field) {
    return field.dtype != DType::kInt64 && field.dtype != DType::kBFloat16 && field.dtype != DType::kFloat16;
  }

  /// `count` rows of the field, row-major.
  void add(const void* rows, int64_t count);

  /// Three words per channel that sum up what was added; opaque, for the exchange of ranks.
  int64_t n_words() const { return 3 * n_channels_; }
  std::vector<int64_t> packed() const;

  /// Of parts of `field`, in this order, each n_words() long. stddev divides by the count.
  static Dataset::Statistics combine(const Field& field, const std::vector<std::vector<int64_t>>& parts);

 private:
  template <typename T>
  void add_shifted(const T* rows, int64_t count);

  DType dtype_;
  int64_t n_channels_, n_inner_;  // values of a channel in one sample
  int64_t n_samples_ = 0;
  std::vector<int64_t> sum_, sum_of_squares_;                  // uint8, (n_channels)
  static constexpr int kLanes = 4;                             // independent sums hide the latency
  std::vector<double> shift_, shifted_sum_, shifted_squares_;  // (n_channels), (n_channels, kLanes)
};

}  // namespace lockstep
