#include "src/update/rule_options.h"

#include <fmt/format.h>

#include <cmath>

namespace lockstep {

double read_share(const Config& options, const char* key, double usual) {
  const double share = options.get_double(key, usual);
  if (!(share >= 0 && share < 1))
    throw options.error_at(key, fmt::format("must lie in [0, 1), found {}", share),
                           fmt::format("the usual one is {}", usual));
  return share;
}

double read_above_zero(const Config& options, const char* key, double usual) {
  const double value = options.get_double(key, usual);
  if (!(value > 0 && std::isfinite(value)))
    throw options.error_at(key, fmt::format("must be positive, found {}", value),
                           fmt::format("the usual one is {}", usual));
  return value;
}

double read_not_negative(const Config& options, const char* key, double usual) {
  const double value = options.get_double(key, usual);
  if (!(value >= 0 && std::isfinite(value)))
    throw options.error_at(key, fmt::format("must not be negative, found {}", value),
                           fmt::format("the usual one is {}", usual));
  return value;
}

ElementUpdate::Decay read_decay(const Config& options, bool usual) {
  return options.get_bool("decoupled", usual) ? ElementUpdate::Decay::kDecoupled : ElementUpdate::Decay::kL2;
}

ElementUpdate element_update_of(const UpdateArgs& args, ElementUpdate::Decay decay) {
  ElementUpdate update;
  update.grad_scale = static_cast<float>(args.grad_scale);
  update.weight_decay = static_cast<float>(args.weight_decay);
  update.decay = decay;
  update.lr = args.lr;
  return update;
}

double bias_correction(double beta, int64_t t) { return 1.0 - std::pow(beta, static_cast<double>(t)); }

}  // namespace lockstep
