// The words about over- and underfitting. Training values are means over the last epoch,
// since single batches are noisy; they are measured while the weights change and with
// augmentation and dropout on, so a small negative gap is normal.
#include "src/report/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/report/html.h"

namespace lockstep {
namespace {

constexpr double kClearGap = 0.05, kSlightGap = 0.02;      // accuracy, as fractions
constexpr double kClearRatio = 1.25, kSlightRatio = 1.05;  // validation loss / training loss
constexpr double kLossRise = 1.05;                         // last / lowest validation loss
constexpr double kStillFalling = 0.95;                     // last tenth / the tenth before
constexpr double kLowAccuracy = 0.8;

size_t first_row_of_last_epoch(const MetricsTable& train) {
  const Series epoch = train.series("epoch");
  size_t row = train.step.empty() ? 0 : train.step.size() - 1;
  while (row > 0 && row < epoch.y.size() && epoch.y[row - 1] > epoch.y.back() - 1) --row;
  return row;
}

double median(std::vector<double> values) {
  values.erase(std::remove_if(values.begin(), values.end(), [](double v) { return !std::isfinite(v); }),
               values.end());
  if (values.empty()) return kNaN;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void find_best(const Series& series, bool largest, double& best, double& step) {
  best = step = kNaN;
  for (size_t i = 0; i < series.y.size(); ++i) {
    const double y = series.y[i];
    if (!std::isfinite(y)) continue;
    if (std::isfinite(best) && (largest ? y <= best : y >= best)) continue;
    best = y;
    step = series.x[i];
  }
}

std::string points(double difference) { return fmt::format("{:.1f} points", std::abs(difference) * 100); }

/// Mean loss of the last tenth of the training lines over that of the tenth before.
double late_fall(const MetricsTable& train) {
  const Series loss = train.series("loss");
  const size_t tenth = loss.y.size() / 10;
  if (tenth < 3) return kNaN;
  MetricsTable parts;
  parts.step.resize(2 * tenth);
  parts.columns["loss"].assign(loss.y.end() - static_cast<std::ptrdiff_t>(2 * tenth), loss.y.end());
  const double late = parts.mean("loss", tenth);
  parts.columns["loss"].resize(tenth);
  return late / parts.mean("loss", 0);
}

/// Whether the lowest validation loss of the last third is hardly below that before.
bool validation_levelled_off(const MetricsTable& validation) {
  const Series loss = validation.series("loss");
  const size_t third = loss.y.size() / 3;
  if (third == 0) return false;
  const auto cut = loss.y.end() - static_cast<std::ptrdiff_t>(third);
  const double before = extent_of({loss.y.begin(), cut}).low, late = extent_of({cut, loss.y.end()}).low;
  return late > 0.99 * before;
}

void judge_accuracy(const RunSummary& s, Verdict& verdict) {
  const double gap = s.train_accuracy - s.validation_accuracy;
  const std::string numbers =
      fmt::format("training accuracy over the last epoch {}, validation {}", format_percent(s.train_accuracy),
                  format_percent(s.validation_accuracy));
  if (gap > kSlightGap) {
    verdict.headline = gap > kClearGap ? "Overfitting" : "Slight overfitting";
    verdict.warns = gap > kClearGap;
    verdict.sentences.push_back(fmt::format("Training is {} above validation ({}).", points(gap), numbers));
  } else if (gap < -kSlightGap) {
    verdict.headline = "No overfitting";
    verdict.sentences.push_back(
        fmt::format("Validation is {} above training ({}), which is usual with augmentation or dropout, "
                    "or while accuracy rises quickly.",
                    points(gap), numbers));
  } else {
    verdict.headline = "No overfitting";
    verdict.sentences.push_back(
        fmt::format("Training and validation differ by {} ({}).", points(gap), numbers));
  }
}

void judge_loss(const RunSummary& s, Verdict& verdict) {
  const std::string numbers = fmt::format("training loss over the last epoch {}, validation {}",
                                          format_value(s.train_loss), format_value(s.validation_loss));
  const double ratio = s.train_loss > 0 ? s.validation_loss / s.train_loss : kNaN;
  if (!std::isfinite(ratio)) {
    verdict.headline = "Training and validation loss";
    verdict.sentences.push_back("The run ended with " + numbers + ".");
  } else if (ratio > kSlightRatio) {
    verdict.headline = ratio > kClearRatio ? "Overfitting" : "Slight overfitting";
    verdict.warns = ratio > kClearRatio;
    verdict.sentences.push_back(
        fmt::format("Validation loss is {:.2f} times the training loss ({}).", ratio, numbers));
  } else {
    verdict.headline = "No overfitting";
    verdict.sentences.push_back(
        fmt::format("Validation loss is {:.2f} times the training loss ({}).", ratio, numbers));
  }
}

}  // namespace

RunSummary summarize(const RunData& run) {
  RunSummary s{};
  const size_t row = first_row_of_last_epoch(run.train);
  s.train_loss = run.train.mean("loss", row);
  s.train_accuracy = run.train.mean("accuracy", row);
  s.validation_loss = run.validation.last("loss");
  s.validation_accuracy = run.validation.last("accuracy");
  find_best(run.validation.series("accuracy"), true, s.best_accuracy, s.best_accuracy_step);
  find_best(run.validation.series("loss"), false, s.best_loss, s.best_loss_step);
  s.samples_per_s = median(run.train.series("samples_per_s").y);
  const Series loss = run.train.series("loss");
  s.first_lost_step = kNaN;
  for (size_t i = 0; i < loss.y.size(); ++i) {
    if (std::isfinite(loss.y[i])) continue;
    if (s.lost_losses++ == 0) s.first_lost_step = loss.x[i];
  }
  return s;
}

Verdict judge(const RunData& run, const RunSummary& s) {
  Verdict verdict;
  if (std::isfinite(s.train_accuracy) && std::isfinite(s.validation_accuracy)) {
    judge_accuracy(s, verdict);
  } else if (std::isfinite(s.train_loss) && std::isfinite(s.validation_loss)) {
    judge_loss(s, verdict);
  } else {
    verdict.headline = "No validation yet";
    verdict.sentences.push_back("Whether the model overfits cannot be told without validation values.");
  }

  const double last_validation = run.validation.step.empty() ? 0 : run.validation.step.back();
  const bool rose = s.best_loss > 0 && s.validation_loss > kLossRise * s.best_loss;
  if (rose && s.best_loss_step < last_validation) {
    verdict.sentences.push_back(
        fmt::format("Validation loss has risen {:.0f} % since its lowest value, {} at step {}: the steps "
                    "after that made the "
                    "model more sure of its mistakes.",
                    (s.validation_loss / s.best_loss - 1) * 100, format_value(s.best_loss),
                    format_count(s.best_loss_step)));
  }
  const double fall = late_fall(run.train);
  if (!rose && fall < kStillFalling) {
    verdict.sentences.push_back(
        validation_levelled_off(run.validation)
            ? "Training loss was still falling at the end, but validation loss had levelled off."
            : "Training loss was still falling at the end, so more steps would probably help.");
  } else if (!verdict.warns && fall >= kStillFalling && s.train_accuracy < kLowAccuracy) {
    verdict.headline = "Possibly underfitting";
    verdict.sentences.push_back(fmt::format(
        "Training accuracy itself has levelled off at {}: if the task allows more, try a larger model, "
        "another learning rate or less regularisation.",
        format_percent(s.train_accuracy)));
  }
  if (s.lost_losses > 0) {
    verdict.warns = true;
    verdict.sentences.push_back(
        fmt::format("The loss was not a finite number in {} of the logged steps, first at step {}: lower the "
                    "learning rate "
                    "or clip the gradient.",
                    format_count(static_cast<double>(s.lost_losses)), format_count(s.first_lost_step)));
  }
  return verdict;
}

}  // namespace lockstep
