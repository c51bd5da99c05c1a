#include "src/network/init.h"

#include <cmath>

#include "kernels/random.h"

namespace lockstep {

namespace {

const std::vector<std::pair<std::string, InitSpec::Kind>> kKinds = {
    {"zeros", InitSpec::Kind::kZeros},
    {"constant", InitSpec::Kind::kConstant},
    {"normal", InitSpec::Kind::kNormal},
    {"uniform", InitSpec::Kind::kUniform},
    {"glorot_uniform", InitSpec::Kind::kGlorotUniform},
    {"glorot_normal", InitSpec::Kind::kGlorotNormal},
    {"he_uniform", InitSpec::Kind::kHeUniform},
    {"he_normal", InitSpec::Kind::kHeNormal},
    {"lecun_uniform", InitSpec::Kind::kLecunUniform}};

}  // namespace

InitSpec read_init(const Config& description) {
  const Config::Named named = description.named();
  InitSpec init;
  std::vector<std::string> names;
  for (const auto& [name, kind] : kKinds) {
    names.push_back(name);
    if (name != named.name) continue;
    init.kind = kind;
    Config& options = *named.options;
    if (kind == InitSpec::Kind::kConstant)
      options.positional("value"), init.scale = options.get_double("value");
    if (kind == InitSpec::Kind::kNormal)
      options.positional("std"), init.scale = options.get_double("std", 0.01);
    if (kind == InitSpec::Kind::kUniform)
      options.positional("limit"), init.scale = options.get_double("limit", 0.05);
    options.finish();
    return init;
  }
  throw description.unknown_name("initialisation", "initialisations", named.name, names);
}

void initialize(const ParameterArena& arena, const InitSpec& init, uint64_t seed) {
  for (const Segment& segment : arena.segments()) {
    const double fan_in = static_cast<double>(segment.spec.fan_in),
                 fan_out = static_cast<double>(segment.spec.fan_out);
    const bool is_bias = segment.spec.role == ParameterSpec::Role::kBias;
    double limit = 0, deviation = 0, value = 0;
    switch (init.kind) {
      case InitSpec::Kind::kZeros: break;
      case InitSpec::Kind::kConstant: value = init.scale; break;
      case InitSpec::Kind::kNormal: deviation = init.scale; break;
      case InitSpec::Kind::kUniform: limit = init.scale; break;
      case InitSpec::Kind::kGlorotUniform: limit = std::sqrt(6 / (fan_in + fan_out)); break;
      case InitSpec::Kind::kGlorotNormal: deviation = std::sqrt(2 / (fan_in + fan_out)); break;
      case InitSpec::Kind::kHeUniform: limit = std::sqrt(6 / fan_in); break;
      case InitSpec::Kind::kHeNormal: deviation = std::sqrt(2 / fan_in); break;
      case InitSpec::Kind::kLecunUniform: limit = std::sqrt(1 / fan_in); break;
    }
    if (is_bias && init.kind != InitSpec::Kind::kLecunUniform) limit = deviation = value = 0;
    if (segment.spec.initial) {
      limit = deviation = 0;
      value = *segment.spec.initial;
    }

    const RandomStream random(seed, RandomPurpose::kInit, 0, hash_name(segment.name));
    float* weights = arena.host().as<float>() + segment.offset;
    for (int64_t i = 0; i < segment.n_elements(); ++i) {
      if (limit > 0) {
        weights[i] = static_cast<float>(limit * (2.0 * random.uniform(i) - 1.0));
      } else if (deviation > 0) {
        weights[i] = static_cast<float>(deviation * random.normal(i));
      } else {
        weights[i] = static_cast<float>(value);
      }
    }
  }
  arena.host().upload(*make_stream(arena.device()));
}

}  // namespace lockstep
