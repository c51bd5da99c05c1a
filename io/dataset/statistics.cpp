// Per-channel moments: integer sums for bytes, shifted sums for everything else.
#include "io/dataset/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lockstep {

int64_t ChannelMoments::n_channels(const Field& field) {
  return field.shape.rank() == 0 ? 1 : field.shape[0];
}

ChannelMoments::ChannelMoments(const Field& field)
    : dtype_(field.dtype),
      n_channels_(n_channels(field)),
      n_inner_(n_channels_ > 0 ? field.shape.n_elements() / n_channels_ : 0) {
  const auto n = static_cast<size_t>(n_channels_);
  if (dtype_ == DType::kUInt8) {
    sum_.resize(n);
    sum_of_squares_.resize(n);
  } else {
    shift_.resize(n);
    shifted_sum_.resize(n * kLanes);
    shifted_squares_.resize(n * kLanes);
  }
}

template <typename T>
void ChannelMoments::add_shifted(const T* rows, int64_t count) {
  if (n_samples_ == 0 && count > 0 && n_inner_ > 0)
    for (int64_t c = 0; c < n_channels_; ++c) shift_[c] = static_cast<double>(rows[c * n_inner_]);
  for (int64_t row = 0; row < count; ++row)
    for (int64_t c = 0; c < n_channels_; ++c, rows += n_inner_) {
      double* sum = &shifted_sum_[c * kLanes];
      double* squares = &shifted_squares_[c * kLanes];
      const double shift = shift_[c];
      for (int64_t i = 0; i < n_inner_; ++i) {
        const double x = static_cast<double>(rows[i]) - shift;
        sum[i % kLanes] += x;
        squares[i % kLanes] += x * x;
      }
    }
}

void ChannelMoments::add(const void* rows, int64_t count) {
  switch (dtype_) {
    case DType::kUInt8: {
      constexpr int64_t kBlock = 32768;  // its sums fit 32 bits, which vectorises
      auto* bytes = static_cast<const uint8_t*>(rows);
      for (int64_t row = 0; row < count; ++row)
        for (int64_t c = 0; c < n_channels_; ++c, bytes += n_inner_)
          for (int64_t begin = 0; begin < n_inner_; begin += kBlock) {
            const int64_t end = std::min(begin + kBlock, n_inner_);
            uint32_t sum = 0, squares = 0;
            for (int64_t i = begin; i < end; ++i) {
              const uint32_t x = bytes[i];
              sum += x;
              squares += x * x;
            }
            sum_[c] += sum;
            sum_of_squares_[c] += squares;
          }
      break;
    }
    case DType::kFloat32: add_shifted(static_cast<const float*>(rows), count); break;
    case DType::kFloat64: add_shifted(static_cast<const double*>(rows), count); break;
    case DType::kInt32: add_shifted(static_cast<const int32_t*>(rows), count); break;
    case DType::kInt64: add_shifted(static_cast<const int64_t*>(rows), count); break;
    case DType::kBFloat16:
    case DType::kFloat16: break;  // no converter writes these
  }
  n_samples_ += count;
}

std::vector<int64_t> ChannelMoments::packed() const {
  std::vector<int64_t> words;
  const int64_t n = n_samples_ * n_inner_;
  for (int64_t c = 0; c < n_channels_; ++c) {
    words.push_back(n);
    if (dtype_ == DType::kUInt8) {
      words.push_back(sum_[c]);
      words.push_back(sum_of_squares_[c]);
      continue;
    }
    const double* s = &shifted_sum_[c * kLanes];
    const double* q = &shifted_squares_[c * kLanes];
    const double sum = (s[0] + s[1]) + (s[2] + s[3]), squares = (q[0] + q[1]) + (q[2] + q[3]);
    const double count = static_cast<double>(n);
    const double mean = n > 0 ? shift_[c] + sum / count : 0;
    const double spread = n > 0 ? std::max(0.0, squares - sum * sum / count) : 0;
    words.push_back(std::bit_cast<int64_t>(mean));
    words.push_back(std::bit_cast<int64_t>(spread));
  }
  return words;
}

Dataset::Statistics ChannelMoments::combine(const Field& field,
                                            const std::vector<std::vector<int64_t>>& parts) {
  Dataset::Statistics result;
  for (int64_t c = 0; c < n_channels(field); ++c) {
    if (field.dtype == DType::kUInt8) {
      int64_t n = 0, sum = 0, squares = 0;
      for (const auto& part : parts) {
        n += part[3 * c];
        sum += part[3 * c + 1];
        squares += part[3 * c + 2];
      }
      const double count = static_cast<double>(n);
      // n * squares - sum * sum is exact in 128 bits: no cancellation for dark images.
      const auto spread = static_cast<__int128>(n) * squares - static_cast<__int128>(sum) * sum;
      result.mean.push_back(n > 0 ? static_cast<double>(sum) / count : 0);
      result.stddev.push_back(n > 0 ? std::sqrt(static_cast<double>(spread)) / count : 0);
      continue;
    }
    double count = 0, mean = 0, spread = 0;
    for (const auto& part : parts) {
      const double part_count = static_cast<double>(part[3 * c]);
      if (part_count == 0) continue;
      const double delta = std::bit_cast<double>(part[3 * c + 1]) - mean, total = count + part_count;
      mean += delta * (part_count / total);
      spread += std::bit_cast<double>(part[3 * c + 2]) + delta * delta * (count * part_count / total);
      count = total;
    }
    result.mean.push_back(mean);
    result.stddev.push_back(count > 0 ? std::sqrt(spread / count) : 0);
  }
  return result;
}

}  // namespace lockstep
