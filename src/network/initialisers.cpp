// Ways to draw first weights.
#include <cmath>
#include <optional>
#include <utility>

#include "src/network/init.h"

namespace lockstep {

namespace {

/// One that knows no options.
InitMaker plain(std::function<InitDraw(double, double)> draw, bool draws_biases = false) {
  return [=](Config&) {
    InitSpec init;
    init.draw = draw;
    init.draws_biases = draws_biases;
    return init;
  };
}
/// Normal draws that may be truncated at two deviations, and are then of a wider normal, so that what is left
/// has the deviation asked for (Keras).
InitMaker plain_normal(std::function<double(double, double)> deviation) {
  return [=](Config& options) {
    const bool is_truncated = options.get_bool("truncated", false);
    InitSpec init;
    init.draw = [=](double in, double out) {
      constexpr double kOfTruncated = 0.87962566103423978;  // the deviation of N(0, 1) within [-2, 2]
      return InitDraw{.deviation = deviation(in, out) / (is_truncated ? kOfTruncated : 1),
                      .is_truncated = is_truncated};
    };
    return init;
  };
}
/// One that draws all elements alike: its one option, how much, and what of the draw it is.
InitMaker alike(const char* key, std::optional<double> fallback, double InitDraw::*part,
                bool is_truncated = false) {
  return [=](Config& options) {
    options.positional(key);
    InitDraw draw;
    draw.*part = fallback ? options.get_double(key, *fallback) : options.get_double(key);
    draw.is_truncated = is_truncated;
    InitSpec init;
    init.draw = [=](double, double) { return draw; };
    return init;
  };
}

InitDraw uniform(double limit) { return {.limit = limit}; }

const bool initialisers_registered = [] {
  const std::pair<const char*, InitMaker> all[] = {
      {"zeros", plain([](double, double) { return InitDraw(); })},
      {"constant", alike("value", std::nullopt, &InitDraw::value)},
      {"normal", alike("std", 0.01, &InitDraw::deviation)},
      {"uniform", alike("limit", 0.05, &InitDraw::limit)},
      {"glorot_uniform", plain([](double in, double out) { return uniform(std::sqrt(6 / (in + out))); })},
      {"glorot_normal", plain_normal([](double in, double out) { return std::sqrt(2 / (in + out)); })},
      {"he_uniform", plain([](double in, double) { return uniform(std::sqrt(6 / in)); })},
      {"he_normal", plain_normal([](double in, double) { return std::sqrt(2 / in); })},
      {"lecun_uniform", plain([](double in, double) { return uniform(std::sqrt(1 / in)); }, true)},
      {"lecun_normal", plain_normal([](double in, double) { return std::sqrt(1 / in); })},
      {"truncated_normal", alike("std", 0.05, &InitDraw::deviation, true)}};
  int place = 0;
  for (const auto& [name, maker] : all) initialisers().add(name, maker, ++place);
  return true;
}();

}  // namespace

}  // namespace lockstep
