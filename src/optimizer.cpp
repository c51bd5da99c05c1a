#include "src/optimizer.h"

#include "kernels/optimizer_update.h"

namespace lockstep {

OptimizerSpec read_optimizer(const Config& description) {
  const Config::Named named = description.named();
  Config& options = *named.options;
  OptimizerSpec spec;
  if (named.name == "sgd") {
    spec.kind = OptimizerSpec::Kind::kSgd;
    spec.lr = options.get_double("lr");
    spec.momentum = options.get_double("momentum", 0);
    spec.nesterov = options.get_bool("nesterov", false);
    if (spec.momentum < 0 || spec.momentum >= 1) throw options.error_at("momentum", "must lie in [0, 1)");
    if (spec.nesterov && spec.momentum == 0)
      throw options.error_at("nesterov", "needs momentum", "set momentum: 0.9");
  } else if (named.name == "adam" || named.name == "adamw") {
    spec.kind = OptimizerSpec::Kind::kAdam;
    spec.decoupled = named.name == "adamw";
    spec.lr = options.get_double("lr", 1e-3);
    spec.beta1 = options.get_double("beta1", 0.9);
    spec.beta2 = options.get_double("beta2", 0.999);
    spec.epsilon = options.get_double("epsilon", 1e-8);
    for (const char* key : {"beta1", "beta2"}) {
      const double beta = key[4] == '1' ? spec.beta1 : spec.beta2;
      if (beta < 0 || beta >= 1) throw options.error_at(key, "must lie in [0, 1)");
    }
    if (spec.epsilon <= 0) throw options.error_at("epsilon", "must be positive");
  } else {
    throw description.unknown_name("optimizer", "optimizers", named.name, {"sgd", "adam", "adamw"});
  }
  spec.weight_decay = options.get_double("weight_decay", 0);
  spec.decay_biases = options.get_bool("decay_biases", false);
  if (spec.lr < 0) throw options.error_at("lr", "must not be negative");
  if (spec.weight_decay < 0) throw options.error_at("weight_decay", "must not be negative");
  options.finish();
  return spec;
}

Optimizer::Optimizer(const OptimizerSpec& spec, const ParameterArena& arena) : spec_(spec), arena_(arena) {
  if (spec.kind == OptimizerSpec::Kind::kSgd) {
    if (spec.momentum > 0) add_slot("velocity");
  } else {
    add_slot("m");
    add_slot("v");
  }
  for (Slot& slot : slots_) slot.host = std::make_unique<HostMirror>(slot.memory);  // slots no longer move
  const std::vector<Segment>& segments = arena.segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].is_statistic()) continue;  // averaged by the replica
    const bool decays = spec.decay_biases || segments[i].shape.rank() > 1;
    const int64_t end = i + 1 < segments.size() ? segments[i + 1].offset : arena.n_elements();
    const bool follows = !ranges_.empty() && ranges_.back().end == segments[i].offset;
    if (follows && (ranges_.back().decays == decays || spec.weight_decay == 0)) {
      ranges_.back().end = end;
    } else {
      ranges_.push_back({segments[i].offset, end, decays});
    }
  }
}

void Optimizer::add_slot(const std::string& name) {
  slots_.push_back({name, arena_.make_parallel(), nullptr});
}

void Optimizer::update(Stream& stream, const float* gradients, double lr, double grad_scale, int64_t step) {
  for (const Range& range : ranges_) {
    const int64_t n = range.end - range.begin;
    const float decay = range.decays ? static_cast<float>(spec_.weight_decay) : 0.0f;
    float* weights = arena_.weights() + range.begin;
    if (spec_.kind == OptimizerSpec::Kind::kSgd) {
      SgdUpdate rule;
      rule.lr = static_cast<float>(lr);
      rule.momentum = static_cast<float>(spec_.momentum);
      rule.nesterov = spec_.nesterov;
      rule.weight_decay = decay;
      rule.grad_scale = static_cast<float>(grad_scale);
      float* velocity = slots_.empty() ? nullptr : slots_[0].memory.as<float>() + range.begin;
      sgd_update(stream, rule, n, gradients + range.begin, weights, velocity);
    } else {
      AdamUpdate rule;
      rule.lr = static_cast<float>(lr);
      rule.beta1 = static_cast<float>(spec_.beta1);
      rule.beta2 = static_cast<float>(spec_.beta2);
      rule.epsilon = static_cast<float>(spec_.epsilon);
      rule.weight_decay = decay;
      rule.decoupled = spec_.decoupled;
      rule.grad_scale = static_cast<float>(grad_scale);
      rule.step = step + 1;
      adam_update(stream, rule, n, gradients + range.begin, weights,
                  slots_[0].memory.as<float>() + range.begin, slots_[1].memory.as<float>() + range.begin);
    }
  }
}

}  // namespace lockstep
