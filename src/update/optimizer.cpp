#include "src/update/optimizer.h"

#include <fmt/format.h>

#include <algorithm>

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
    if (spec.momentum < 0 || spec.momentum >= 1)
      throw options.error_at("momentum", fmt::format("must lie in [0, 1), found {}", spec.momentum),
                             "the usual one is 0.9");
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
      if (beta < 0 || beta >= 1)
        throw options.error_at(key, fmt::format("must lie in [0, 1), found {}", beta),
                               fmt::format("the usual one is {}", key[4] == '1' ? 0.9 : 0.999));
    }
    if (spec.epsilon <= 0)
      throw options.error_at("epsilon", fmt::format("must be positive, found {}", spec.epsilon),
                             "the usual one is 1e-8");
  } else {
    throw description.unknown_name("optimizer", "optimizers", named.name, {"sgd", "adam", "adamw"});
  }
  spec.weight_decay = options.get_double("weight_decay", 0);
  spec.decay_biases = options.get_bool("decay_biases", false);
  if (spec.lr < 0)
    throw options.error_at("lr", fmt::format("must not be negative, found {}", spec.lr),
                           "for instance lr: 0.1 with sgd, lr: 1e-3 with adam");
  if (spec.weight_decay < 0)
    throw options.error_at("weight_decay", fmt::format("must not be negative, found {}", spec.weight_decay),
                           "for instance weight_decay: 1e-4");
  options.finish();
  return spec;
}

std::vector<UpdateRange> within(const std::vector<UpdateRange>& ranges,
                                const std::vector<ElementRange>& own) {
  std::vector<UpdateRange> parts;
  int64_t state = 0;  // of the begin of `mine`
  for (const ElementRange& mine : own) {
    for (const UpdateRange& range : ranges) {
      const int64_t begin = std::max(range.begin, mine.begin), end = std::min(range.end, mine.end);
      if (begin < end) parts.push_back({begin, end, state + begin - mine.begin, range.factor});
    }
    state += mine.n();
  }
  return parts;
}

namespace {

/// Neighbouring segments with one factor of weight decay become one range.
std::vector<UpdateRange> ranges_of(const OptimizerSpec& spec, const ParameterArena& arena) {
  std::vector<UpdateRange> ranges;
  const std::vector<Segment>& segments = arena.segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].is_statistic()) continue;  // averaged by the replica
    const bool decays = spec.weight_decay > 0 && (spec.decay_biases || segments[i].shape.rank() > 1);
    const float factor = decays ? 1.0f : 0.0f;
    const int64_t begin = segments[i].offset;
    const int64_t end = i + 1 < segments.size() ? segments[i + 1].offset : arena.n_elements();
    if (!ranges.empty() && ranges.back().end == begin && ranges.back().factor == factor) {
      ranges.back().end = end;
    } else {
      ranges.push_back({begin, end, begin, factor});
    }
  }
  return ranges;
}

}  // namespace

Optimizer::Optimizer(const OptimizerSpec& spec, const ParameterArena& arena)
    : Optimizer(spec, arena, {{0, arena.n_elements()}}) {}

Optimizer::Optimizer(const OptimizerSpec& spec, const ParameterArena& arena, std::vector<ElementRange> own)
    : spec_(spec),
      arena_(arena),
      own_(std::move(own)),
      ranges_(arena.device(), within(ranges_of(spec, arena), own_)) {
  for (const ElementRange& range : own_) n_own_ += range.n();
  if (spec.kind == OptimizerSpec::Kind::kSgd) {
    if (spec.momentum > 0) add_slot("velocity");
  } else {
    add_slot("m");
    add_slot("v");
  }
  for (Slot& slot : slots_) slot.host = std::make_unique<HostMirror>(slot.memory);  // slots no longer move
}

void Optimizer::add_slot(const std::string& name) {
  slots_.push_back({name, arena_.make_parallel(n_own_), nullptr});
}

int64_t Optimizer::state_bytes() const {
  int64_t n_bytes = 0;
  for (const Slot& slot : slots_) n_bytes += slot.memory.n_bytes();
  return n_bytes;
}

void Optimizer::update(Stream& stream, const float* gradients, double lr, double grad_scale, int64_t step) {
  if (spec_.kind == OptimizerSpec::Kind::kSgd) {
    SgdUpdate rule;
    rule.lr = static_cast<float>(lr);
    rule.momentum = static_cast<float>(spec_.momentum);
    rule.nesterov = spec_.nesterov;
    rule.weight_decay = static_cast<float>(spec_.weight_decay);
    rule.grad_scale = static_cast<float>(grad_scale);
    float* velocity = slots_.empty() ? nullptr : slots_[0].memory.as<float>();
    sgd_update(stream, rule, ranges_, gradients, arena_.weights(), velocity);
  } else {
    AdamUpdate rule;
    rule.lr = static_cast<float>(lr);
    rule.beta1 = static_cast<float>(spec_.beta1);
    rule.beta2 = static_cast<float>(spec_.beta2);
    rule.epsilon = static_cast<float>(spec_.epsilon);
    rule.weight_decay = static_cast<float>(spec_.weight_decay);
    rule.decoupled = spec_.decoupled;
    rule.grad_scale = static_cast<float>(grad_scale);
    rule.step = step + 1;
    adam_update(stream, rule, ranges_, gradients, arena_.weights(), slots_[0].memory.as<float>(),
                slots_[1].memory.as<float>());
  }
}

}  // namespace lockstep
