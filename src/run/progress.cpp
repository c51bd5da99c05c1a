#include "src/run/progress.h"
#include "kernels/printable.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace lockstep {

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(std::max(0.0, seconds) + 0.5);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

std::string human_bytes(int64_t n_bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(n_bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", n_bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string grouped(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

namespace {

/// A terminal or pipe that is gone must not end the training: nothing is thrown.
void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

Progress::Progress(bool prints, bool has_launcher, int64_t start_step, int64_t total_steps,
                   int64_t steps_per_epoch)
    : prints_(prints),
      // mpirun gives its ranks a terminal of its own even when its output goes to a file.
      terminal_(isatty(STDOUT_FILENO) != 0 && !has_launcher),
      start_step_(start_step),
      total_steps_(total_steps),
      steps_per_epoch_(steps_per_epoch),
      start_(std::chrono::steady_clock::now()) {}

double Progress::elapsed_s() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Progress::show(int64_t step, double loss, const std::string& metrics, double lr, double samples_per_s) {
  const double interval_s = terminal_ ? 0.1 : 1.0, now_s = elapsed_s();
  if (!prints_ || (now_s < shown_s_ + interval_s && step < total_steps_)) return;
  shown_s_ = now_s;
  const double per_step = now_s / static_cast<double>(std::max<int64_t>(1, step - start_step_));
  const int64_t epochs = (total_steps_ + steps_per_epoch_ - 1) / steps_per_epoch_;
  const std::string line = fmt::format(
      "epoch {}/{}  step {}/{}  loss {:.4f}{}  lr {:.3g}  {} samples/s  {} left",
      std::min(epochs, (step - 1) / steps_per_epoch_ + 1), epochs, step, total_steps_, loss, metrics, lr,
      grouped(samples_per_s), duration_text(per_step * static_cast<double>(total_steps_ - step)));
  print((terminal_ ? "\r\x1b[K" : "") + line + (terminal_ ? "" : "\n"));
}

void Progress::note(const std::string& text) {
  if (!prints_) return;
  print((terminal_ ? "\r\x1b[K" : "") + printable_lines(text) + "\n");
}

}  // namespace lockstep
