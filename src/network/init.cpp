#include "src/network/init.h"

#include <cmath>

#include "kernels/random.h"

namespace lockstep {

Family<InitMaker>& initialisers() {
  static Family<InitMaker> family("initialisation", "initialisations");
  return family;
}

InitSpec read_init(const Config& description) {
  const Config::Named named = description.named();
  InitSpec init = initialisers().at(named.name, description)(*named.options);
  init.name = named.name;
  named.options->finish();
  return init;
}

InitSpec default_init(const std::string& name) {
  InitSpec init = read_init(Config::from_text("init: " + name, "init").at("init"));
  init.is_chosen = false;
  return init;
}

void initialize(const ParameterArena& arena, const InitSpec& init, uint64_t seed) {
  for (const Segment& segment : arena.segments()) {
    const double fan_in = static_cast<double>(segment.spec.fan_in),
                 fan_out = static_cast<double>(segment.spec.fan_out);
    const bool is_bias = segment.spec.role == ParameterSpec::Role::kBias;
    auto [limit, deviation, value] = is_bias && !init.draws_biases ? InitDraw() : init.draw(fan_in, fan_out);
    if (segment.spec.deviation && !init.is_chosen) {
      limit = value = 0;
      deviation = *segment.spec.deviation;
    }
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
