#include "src/run/select/rate_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "comm/agreement.h"
#include "io/files/metrics.h"
#include "src/report/chart/series.h"
#include "src/run/progress.h"
#include "src/run/run_setup.h"
#include "src/step/replica.h"

namespace lockstep {

namespace {

constexpr double kRunningMean = 0.9;  // how much of it stays with each step

void check_range(const Job& job, const RateRangeOptions& options) {
  if (!(options.from > 0) || !(options.to > options.from) || !std::isfinite(options.to))
    throw Error("lr-range",
                fmt::format("{} to {} is no range of learning rates", json_number(options.from),
                            json_number(options.to)),
                "give two rates above 0, the smaller one first: --from 1e-6 --to 10");
  if (options.steps < 10)
    throw Error("lr-range", fmt::format("{} steps are too few to see a curve", options.steps),
                "give --steps 10 or more; 200 is usual");
  if (!(job.optimizer.lr > 0))
    throw Error("optimizer.lr", "is 0, and rates of the test are multiples of it",
                "set it to any other rate: --set optimizer.lr=0.1");
}

/// Rates at equal distances on a logarithmic scale.
double rate_at(const RateRangeOptions& options, int64_t step) {
  const double share = static_cast<double>(step) / static_cast<double>(options.steps - 1);
  return options.from * std::pow(options.to / options.from, share);
}

}  // namespace

void judge_rate_range(RateRange& range) {
  const size_t n = range.losses.size();
  const size_t window = std::max<size_t>(1, static_cast<size_t>(range.options.steps) / 40) * 2 + 1;
  range.smoothed = moving_mean({range.rates, range.losses}, window).y;
  range.steepest = range.minimum = kNaN;
  if (n == 0) return;
  const auto lowest = static_cast<size_t>(std::min_element(range.smoothed.begin(), range.smoothed.end()) -
                                          range.smoothed.begin());
  range.minimum = range.rates[lowest];
  // Rates are equally far apart, so differences stand for slopes: over a tenth of the steps, since neighbours
  // differ by the noise of batches, and behind the first half of a window, which is a mean of few.
  const size_t reach = std::max<size_t>(1, static_cast<size_t>(range.options.steps) / 20);
  const size_t first = window / 2 + reach;
  double steepest = 0;
  for (size_t i = first; i + reach <= lowest; ++i) {
    const double slope = range.smoothed[i + reach] - range.smoothed[i - reach];
    if (slope >= steepest) continue;
    steepest = slope;
    range.steepest = range.rates[i];
  }
}

RateRange find_rate_range(const Job& given, Communicator& comm, const RateRangeOptions& options) {
  check_on_root(comm, [&] { check_range(given, options); });
  Job job = given;
  job.validation.reset();
  job.schedule = Schedule{};
  job.schedule.rule = [&](const Position& at) { return rate_at(options, at.step) / job.optimizer.lr; };
  set_compute_threads(job.threads);
  const RunSetup setup(job, comm);
  Replica replica(setup.job, setup.graph, comm,
                  {.augmentation = setup.augmentation, .shorter = setup.shorter});
  LoaderOptions loading = setup.loader_options(setup.job, comm.rank(), comm.size());
  loading.ranks = &comm;
  DataLoader loader(*setup.data.train, loading, 0);
  Progress progress(options.prints && comm.is_root(), launcher_size() > 1, 0, options.steps,
                    setup.steps_per_epoch);

  RateRange range;
  range.options = options;
  double mean = 0, lowest = INFINITY, n_samples = 0;
  for (int64_t step = 0; step < options.steps; ++step) {
    const StepResult result = replica.step(loader, step, options.steps);
    if (!result.not_finite.empty()) {
      if (step == 0)
        throw AgreedError("step 1", "the loss is not finite: " + result.not_finite,
                          "check the data and the model; no learning rate can mend this");
      range.end = "the loss was no longer finite";
      break;
    }
    range.rates.push_back(rate_at(options, step));
    range.losses.push_back(result.loss);
    mean = kRunningMean * mean + (1 - kRunningMean) * result.loss;
    const double unbiased = mean / (1 - std::pow(kRunningMean, static_cast<double>(step + 1)));
    lowest = std::min(lowest, unbiased);
    n_samples += static_cast<double>(result.n_samples);
    progress.show(step + 1, result.loss, "", range.rates.back(), n_samples / progress.elapsed_s());
    if (lowest > 0 && unbiased > options.stops_above * lowest) {
      range.end = fmt::format("the loss had risen to {} times its lowest", options.stops_above);
      break;
    }
  }
  judge_rate_range(range);
  return range;
}

std::string rate_range_csv(const RateRange& range) {
  std::string text = "step,rate,loss,smoothed\n";
  for (size_t i = 0; i < range.rates.size(); ++i)
    text += fmt::format("{},{},{},{}\n", i + 1, json_number(range.rates[i]), json_number(range.losses[i]),
                        json_number(range.smoothed[i]));
  return text;
}

}  // namespace lockstep
