#include "jobs/slurm/batch_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;

Error unreadable_time(const std::string& text) {
  return Error("--time " + text, "is not a time limit",
               "write minutes (90), hours:minutes:seconds (4:00:00) or days-hours (2-12)");
}

/// Numbers of at most nine digits between colons.
std::vector<int64_t> numbers_in(const std::string& text, const std::string& whole) {
  std::vector<int64_t> numbers;
  size_t at = 0;
  while (true) {
    const size_t end = std::min(text.find(':', at), text.size());
    const std::string part = text.substr(at, end - at);
    if (part.empty() || part.size() > 9 || part.find_first_not_of("0123456789") != std::string::npos)
      throw unreadable_time(whole);
    numbers.push_back(std::stoll(part));
    if (end == text.size()) return numbers;
    at = end + 1;
  }
}

}  // namespace

int64_t batch_time(const std::string& text) {
  const size_t dash = text.find('-');
  const std::vector<int64_t> numbers =
      numbers_in(dash == std::string::npos ? text : text.substr(dash + 1), text);
  if (numbers.size() > 3) throw unreadable_time(text);
  int64_t time_s = 0;
  if (dash != std::string::npos) {
    const std::vector<int64_t> days = numbers_in(text.substr(0, dash), text);
    if (days.size() != 1) throw unreadable_time(text);
    constexpr int64_t kUnits[] = {kHour, kMinute, 1};
    time_s = days[0] * kDay;
    for (size_t i = 0; i < numbers.size(); ++i) time_s += numbers[i] * kUnits[i];
  } else if (numbers.size() == 1) {
    time_s = numbers[0] * kMinute;
  } else {
    for (const int64_t number : numbers) time_s = 60 * time_s + number;
  }
  if (time_s == 0) throw unreadable_time(text);
  return time_s;
}

std::string batch_time_text(int64_t time_s) {
  const std::string clock =
      fmt::format("{:02}:{:02}:{:02}", time_s % kDay / kHour, time_s % kHour / kMinute, time_s % kMinute);
  return time_s < kDay ? clock : fmt::format("{}-{}", time_s / kDay, clock);
}

void check_batch_for_ranks(int64_t global, int64_t micro, int64_t ranks, bool native) {
  const int64_t n_micro = global / micro;
  const auto is_power_of_two = [](int64_t n) { return std::has_single_bit(static_cast<uint64_t>(n)); };
  const std::string place = fmt::format("{} ranks", ranks);
  if (!native && !is_power_of_two(ranks)) {
    const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(ranks)));
    throw Error(place, "are not a power of two, which the exact sum of gradients asks for",
                fmt::format("ask for {} or {} ranks, or set batch.reduction=native", below, 2 * below));
  }
  if (ranks <= n_micro && n_micro % ranks == 0) return;
  const std::string what =
      fmt::format("cannot share the {} micro-batch{} of a step (batch.global {} / batch.micro {})", n_micro,
                  n_micro == 1 ? "" : "es", global, micro);
  std::string smaller;
  if (global % ranks == 0)
    smaller = fmt::format("--set batch.micro={} (the same batch, other bits), or ", global / ranks);
  throw Error(
      place, what,
      fmt::format("{}--set batch.global={} (a larger step), or at most {} ranks", smaller, ranks * micro,
                  native ? n_micro : static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n_micro)))));
}

int64_t usual_signal_before_s(int64_t time_s, double checkpoint_s) {
  const auto needed = static_cast<int64_t>(std::ceil(2 * checkpoint_s)) + 10;
  return std::max<int64_t>(needed, std::min<int64_t>(2 * kMinute, time_s / 4));
}

void check_times(int64_t time_s, int64_t signal_before_s, double checkpoint_s) {
  const std::string place = "--time " + batch_time_text(time_s);
  if (static_cast<double>(time_s) <= checkpoint_s)
    throw Error(place,
                fmt::format("is shorter than one checkpoint, which takes about {:.0f} s", checkpoint_s),
                "ask for more time");
  if (signal_before_s >= time_s)
    throw Error(place,
                fmt::format("is shorter than the {} s that the signal comes before its end", signal_before_s),
                "ask for more time, or give --signal-before a smaller number");
  if (signal_before_s > 0 && static_cast<double>(signal_before_s) < checkpoint_s)
    throw Error(
        fmt::format("--signal-before {}", signal_before_s),
        fmt::format("leaves less time than one checkpoint, which takes about {:.0f} s", checkpoint_s),
        fmt::format("leave it out, or write --signal-before {:.0f}", std::ceil(2 * checkpoint_s) + 10));
}

std::string shell_word(const std::string& word) {
  constexpr const char* kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string shell_words(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(shell_word(word));
  return fmt::format("{}", fmt::join(quoted, " "));
}

}  // namespace lockstep
