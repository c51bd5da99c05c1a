// Ways to draw first weights.
#include <cmath>

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

const bool initialisers_registered =
    initialisers().add("zeros", plain([](double, double) { return InitDraw(); })) &&
    initialisers().add("constant", alike("value", std::nullopt, &InitDraw::value)) &&
    initialisers().add("normal", alike("std", 0.01, &InitDraw::deviation)) &&
    initialisers().add("uniform", alike("limit", 0.05, &InitDraw::limit)) &&
    initialisers().add("glorot_uniform",
                       plain([](double in, double out) { return uniform(std::sqrt(6 / (in + out))); })) &&
    initialisers().add("glorot_normal",
                       plain([](double in, double out) { return normal(std::sqrt(2 / (in + out))); })) &&
    initialisers().add("he_uniform", plain([](double in, double) { return uniform(std::sqrt(6 / in)); })) &&
    initialisers().add("he_normal", plain([](double in, double) { return normal(std::sqrt(2 / in)); })) &&
    initialisers().add("lecun_uniform",
                       plain([](double in, double) { return uniform(std::sqrt(1 / in)); }, true));

}  // namespace

}  // namespace lockstep
