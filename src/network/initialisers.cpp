// Ways to draw first weights.
#include <cmath>
#include <optional>
#include <utility>

#include "src/network/init.h"

namespace lockstep {

namespace {

/// One that knows no options.
InitMaker plain(std::function<InitDraw(double, double)> draw, bool draws_biases = false) {
  return [=](Config&) { return InitSpec{"", draw, draws_biases}; };
}
/// One that draws all elements alike: its one option, how much, and what of the draw it is.
InitMaker alike(const char* key, std::optional<double> fallback, double InitDraw::*part) {
  return [=](Config& options) {
    options.positional(key);
    InitDraw draw;
    draw.*part = fallback ? options.get_double(key, *fallback) : options.get_double(key);
    return InitSpec{"", [=](double, double) { return draw; }};
  };
}

InitDraw uniform(double limit) { return {.limit = limit}; }
InitDraw normal(double deviation) { return {.deviation = deviation}; }

const bool initialisers_registered = [] {
  const std::pair<const char*, InitMaker> all[] = {
      {"zeros", plain([](double, double) { return InitDraw(); })},
      {"constant", alike("value", std::nullopt, &InitDraw::value)},
      {"normal", alike("std", 0.01, &InitDraw::deviation)},
      {"uniform", alike("limit", 0.05, &InitDraw::limit)},
      {"glorot_uniform", plain([](double in, double out) { return uniform(std::sqrt(6 / (in + out))); })},
      {"glorot_normal", plain([](double in, double out) { return normal(std::sqrt(2 / (in + out))); })},
      {"he_uniform", plain([](double in, double) { return uniform(std::sqrt(6 / in)); })},
      {"he_normal", plain([](double in, double) { return normal(std::sqrt(2 / in)); })},
      {"lecun_uniform", plain([](double in, double) { return uniform(std::sqrt(1 / in)); }, true)}};
  int place = 0;
  for (const auto& [name, maker] : all) initialisers().add(name, maker, ++place);
  return true;
}();

}  // namespace

}  // namespace lockstep
