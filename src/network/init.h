// Initial weights. Every element is drawn by a counter keyed by (seed, parameter name,
// element), so the result depends on the job alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/random.h"
#include "src/config/family.h"
#include "src/network/arena.h"

namespace lockstep {

/// How the elements of a weight are drawn: U(-limit, limit), else N(0, deviation^2), else all `value`.
struct InitDraw {
  double limit = 0, deviation = 0, value = 0;
  bool is_truncated = false;  // normal draws beyond two deviations are drawn again
};

struct InitGroup;

struct InitSpec {
  std::string name;
  std::function<InitDraw(double fan_in, double fan_out)> draw;
  /// In place of drawing by element: fills a tensor of that shape, of two and more dimensions. Empty: none.
  std::function<void(const Shape& shape, const RandomStream& random, float* weights)> fill;
  bool draws_biases = false;  // which are zeros otherwise
  std::vector<InitGroup> groups;
  bool is_chosen = true;  // false: nobody named one, and layers may know better (ParameterSpec)
};

/// Parameters with an initialiser of their own: those whose names a pattern is found in.
struct InitGroup {
  std::vector<std::pair<std::string, std::regex>> patterns;
  std::shared_ptr<const InitSpec> init;
  bool biases = false;  // drawn too
  std::string place;    // in the job file, for errors
  bool matches(const std::string& name) const;
};

using InitMaker = std::function<InitSpec(Config& options)>;

/// The initialisers by name; those here are in initialisers.cpp. A new one is a file with
///   const bool NAME_init_registered = initialisers().add("NAME", [](Config& options) { … });
Family<InitMaker>& initialisers();

/// From `init: he_normal` or `init: {normal: {std: 0.01}}`. Biases start at zero.
///   glorot_uniform  U(±sqrt(6 / (fan_in + fan_out)))     Glorot and Bengio 2010
///   glorot_normal   N(0, 2 / (fan_in + fan_out))
///   he_uniform      U(±sqrt(6 / fan_in))                 He et al. 2015
///   he_normal       N(0, 2 / fan_in)
///   lecun_uniform   U(±sqrt(1 / fan_in)), biases too     the default, and PyTorch's
///   orthogonal      rows, or columns, at right angles    Saxe et al. 2014
/// The option `groups` is [{match: PATTERN or list, init: one of them, biases}]; the first that matches
/// counts.
InitSpec read_init(const Config& description);
/// One without options.
InitSpec default_init(const std::string& name = "lecun_uniform");

/// Throws Error where a group's pattern matches no parameter of the graph.
void check_init(const InitSpec& init, const Graph& graph);

/// Fills the arena's weights (host memory).
void initialize(const ParameterArena& arena, const InitSpec& init, uint64_t seed);

}  // namespace lockstep
