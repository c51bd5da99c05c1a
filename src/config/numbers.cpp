#include "src/config/numbers.h"

#include <fmt/format.h>

namespace lockstep {

int64_t read_whole(const Config& config, const std::string& key, int64_t fallback, int64_t least,
                   int64_t most) {
  const int64_t n = config.get_int(key, fallback);
  if (n < least)
    throw config.error_at(key,
                          least == 0 ? fmt::format("must not be negative, found {}", n)
                                     : fmt::format("must be at least {}, found {}", least, n),
                          fmt::format("set {}: {} or more", key, least));
  if (n > most)
    throw config.error_at(key, fmt::format("must be at most {}", most),
                          fmt::format("set {}: {} or less", key, most));
  return n;
}

int read_count(const Config& config, const std::string& key, int64_t fallback, int64_t least, int64_t most) {
  return static_cast<int>(read_whole(config, key, fallback, least, most));
}

int64_t read_steps(const Config& config, const std::string& key, int64_t fallback, int64_t least) {
  return read_whole(config, key, fallback, least, 1'000'000'000);
}

int64_t read_mib(const Config& config, const std::string& key, double fallback) {
  constexpr double kMost = 1e12;
  const double mib = config.get_double(key, fallback);
  if (mib < 0)
    throw config.error_at(key, fmt::format("must not be negative, found {}", mib),
                          fmt::format("set {}: 0 or more, in MiB", key));
  if (mib > kMost)
    throw config.error_at(key, fmt::format("must be at most {}", kMost),
                          fmt::format("set {}: {} or less", key, kMost));
  return static_cast<int64_t>(mib * (1 << 20));
}

}  // namespace lockstep
