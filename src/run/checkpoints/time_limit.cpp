#include "src/run/checkpoints/time_limit.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <optional>

#include "kernels/error.h"

namespace lockstep {

namespace {

std::optional<int64_t> seconds_in(const char* text) {
  int64_t value = 0;
  const char* const end = text + std::strlen(text);
  const auto [read, error] = std::from_chars(text, end, value);
  if (error != std::errc() || read != end || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

int64_t end_time_of(const char* lockstep, const char* slurm) {
  if (lockstep != nullptr && *lockstep != '\0') {
    if (const std::optional<int64_t> end = seconds_in(lockstep)) return *end;
    throw Error("LOCKSTEP_END_TIME", fmt::format("'{}' is not a time in whole seconds since 1970", lockstep),
                "write export LOCKSTEP_END_TIME=$(date +%s -d '2 hours'), or unset it");
  }
  return slurm == nullptr ? 0 : seconds_in(slurm).value_or(0);
}

double guessed_checkpoint_s(int64_t n_bytes) {
  constexpr double kSlowDisk = 100e6;  // bytes a second, of a file system that many share
  return static_cast<double>(n_bytes) / kSlowDisk;
}

std::string time_is_up_text(const TimeLimit& limit, double now_s) {
  return fmt::format(
      "stopping {:.0f} s before the time limit: a step takes up to {:.2g} s, a checkpoint up to {:.2g} s",
      limit.end_s - now_s, limit.longest_step_s, limit.checkpoint_s);
}

}  // namespace lockstep
