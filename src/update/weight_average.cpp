#include "src/update/weight_average.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace lockstep {

namespace {

int64_t steps_of(double epochs, int64_t steps_per_epoch) {
  return std::max<int64_t>(1, std::llround(epochs * static_cast<double>(steps_per_epoch)));
}

}  // namespace

double WeightAverage::rate(int64_t step, int64_t steps_per_epoch) const {
  if (ema > 0) return step == 0 ? 1 : 1 - ema;
  const int64_t since = step + 1 - steps_of(from_epoch, steps_per_epoch),
                every = steps_of(every_epochs, steps_per_epoch);
  if (since <= 0) return 1;
  return since % every == 0 ? 1 / static_cast<double>(since / every + 1) : 0;
}

void WeightAverage::check(int64_t total_steps, int64_t steps_per_epoch) const {
  if (ema > 0 || steps_of(from_epoch, steps_per_epoch) <= total_steps) return;
  throw Error(
      "average.swa.from_epoch",
      fmt::format("the run ends at epoch {:.4g}, and {:.4g} is behind it",
                  static_cast<double>(total_steps) / static_cast<double>(steps_per_epoch), from_epoch),
      "begin earlier, or train longer");
}

std::optional<WeightAverage> read_weight_average(const Config& root) {
  if (!root.has("average")) return std::nullopt;
  Config options = root.at("average");
  options.positional("ema");
  WeightAverage average;
  if (const std::optional<Config> swa = options.find("swa")) {
    if (options.has("ema")) throw options.error("ema and swa are both given", "average by one of them");
    average.from_epoch = swa->get_double("from_epoch");
    average.every_epochs = swa->get_double("every_epochs", 1);
    if (!(average.from_epoch > 0 && std::isfinite(average.from_epoch)))
      throw swa->error_at("from_epoch", fmt::format("must be above 0, found {}", average.from_epoch),
                          "for instance swa: {from_epoch: 15}, of 20 epochs");
    if (!(average.every_epochs > 0 && std::isfinite(average.every_epochs)))
      throw swa->error_at("every_epochs", fmt::format("must be above 0, found {}", average.every_epochs),
                          "for instance every_epochs: 1");
    swa->finish();
  } else {
    average.ema = options.get_double("ema");
    if (!(average.ema > 0 && average.ema < 1))
      throw options.error_at("ema", fmt::format("must lie between 0 and 1, found {}", average.ema),
                             "for instance average: {ema: 0.999}; leave average out for none");
  }
  options.finish();
  return average;
}

}  // namespace lockstep
