// Options that several layers share.
#include <fmt/format.h>

#include <algorithm>

#include "src/network/layers/layers.h"
#include "src/network/model_limits.h"

namespace lockstep {

int64_t read_size(const Config& options, const std::string& key) {
  const int64_t value = options.get_int(key);
  if (value < 1 || value > kMaxElements)
    throw options.error_at(key, fmt::format("must be at least 1, found {}", value),
                           fmt::format("for instance {}: 256", key));
  return value;
}

double read_probability(const Config& options, const std::string& key) {
  const double probability = options.get_double(key, 0);
  if (!(probability >= 0 && probability < 1))
    throw options.error_at(key, fmt::format("must lie in [0, 1), found {}", probability),
                           fmt::format("for instance {}: 0.1", key));
  return probability;
}

std::array<int64_t, 2> read_pair(const Config& options, const std::string& key,
                                 std::array<int64_t, 2> fallback) {
  const std::vector<int64_t> values = options.get_ints(key, {fallback[0], fallback[1]});
  if (values.empty() || values.size() > 2) {
    throw options.error_at(key, "expected one number or [vertical, horizontal]",
                           fmt::format("for instance {}: {}", key, fallback[0]));
  }
  const std::array<int64_t, 2> pair{values.front(), values.back()};
  if (pair[0] < 1 || pair[1] < 1)
    throw options.error_at(key, fmt::format("must be at least 1, found {}", std::min(pair[0], pair[1])),
                           fmt::format("for instance {}: {}", key, fallback[0]));
  if (std::max(pair[0], pair[1]) > kMaxWindow)
    throw options.error_at(
        key, fmt::format("must be at most {}, found {}", kMaxWindow, std::max(pair[0], pair[1])),
        fmt::format("for instance {}: {}", key, fallback[0]));
  return pair;
}

std::array<int64_t, 4> read_padding(const Config& options) {
  const std::vector<int64_t> values = options.get_ints("padding", {0});
  for (int64_t value : values) {
    if (value < 0 || value > kMaxWindow)
      throw options.error_at("padding", fmt::format("must be between 0 and {}, found {}", kMaxWindow, value),
                             "for instance padding: 1");
  }
  switch (values.size()) {
    case 1: return {values[0], values[0], values[0], values[0]};
    case 2: return {values[0], values[0], values[1], values[1]};
    case 4: return {values[0], values[1], values[2], values[3]};
    default:
      throw options.error_at("padding",
                             "expected one number, [vertical, horizontal] or [top, bottom, left, right]",
                             "for instance padding: 1");
  }
}

int64_t window_extent(const WindowAxis& window, int axis, const Shape& sample) {
  const int64_t reach = window.dilation * (window.kernel - 1) + 1;
  const int64_t padded = sample[axis] + window.before + window.after;
  if (reach > padded) {
    const char* name = sample.rank() == 2 ? "length" : axis == 1 ? "height" : "width";
    throw Error("",
                fmt::format("a window of {} does not fit into the padded {} of {} (input {})", reach, name,
                            padded, sample.str()),
                "use a smaller window, more padding or fewer pooling layers before it");
  }
  return pool_output_extent(sample[axis], reach, window.stride, window.before, window.after, window.ceil);
}

int sample_axis(int axis, const Shape& sample) {
  const int result = axis < 0 ? axis + sample.rank() : axis;
  if (result < 0 || result >= sample.rank())
    throw Error("", fmt::format("a sample of shape {} has no axis {}", sample.str(), axis),
                "count axes of the sample from 0, without the batch");
  return result;
}

}  // namespace lockstep
