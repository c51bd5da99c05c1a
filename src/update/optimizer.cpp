#include "src/update/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "kernels/optimizer_update.h"

namespace lockstep {

Family<UpdateRuleMaker>& update_rules() {
  static Family<UpdateRuleMaker> family("optimizer", "optimizers");
  return family;
}

OptimizerSpec read_optimizer(const Config& description) {
  const Config::Named named = description.named();
  Config& options = *named.options;
  OptimizerSpec spec;
  spec.name = named.name;
  const UpdateRuleMade made = update_rules().at(named.name, description)(options);
  spec.rule = made.rule;
  spec.lr = made.default_lr > 0 ? options.get_double("lr", made.default_lr) : options.get_double("lr");
  spec.weight_decay = options.get_double("weight_decay", 0);
  spec.decay_biases = options.get_bool("decay_biases", false);
  spec.groups = read_parameter_groups(options);
  if (spec.lr < 0)
    throw options.error_at("lr", fmt::format("must not be negative, found {}", spec.lr),
                           "for instance lr: 0.1 with sgd, lr: 1e-3 with adam");
  if (spec.weight_decay < 0)
    throw options.error_at("weight_decay", fmt::format("must not be negative, found {}", spec.weight_decay),
                           "for instance weight_decay: 1e-4");
  options.finish();
  return spec;
}

double read_weight_average(const Config& root) {
  if (!root.has("average")) return 0;
  Config options = root.at("average");
  options.positional("ema");
  const double keep = options.get_double("ema");
  if (!(keep > 0 && keep < 1))
    throw options.error_at("ema", fmt::format("must lie between 0 and 1, found {}", keep),
                           "for instance average: {ema: 0.999}; leave average out for none");
  options.finish();
  return keep;
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

/// What the parameters of a group have in common. Of those of none: group -1.
struct Treatment {
  double lr_factor = 1, weight_decay = 0;
  bool is_frozen = false;
  bool operator==(const Treatment&) const = default;
};

Treatment treatment_of(const OptimizerSpec& spec, int group) {
  if (group < 0) return {1, spec.weight_decay, false};
  const ParameterGroup& of = spec.groups[static_cast<size_t>(group)];
  return {of.lr_factor, of.weight_decay.value_or(spec.weight_decay), of.is_frozen};
}

bool is_matrix(const OptimizerSpec& spec, const Segment& segment) {
  const MatrixRule* matrices = spec.rule->matrices();
  return matrices && !segment.is_statistic() && matrices->takes(segment.name, segment.shape);
}

struct Treated {
  Treatment treatment;
  std::vector<UpdateRange> ranges;
};

/// Neighbouring segments with one treatment and one factor of weight decay become one range.
std::vector<Treated> ranges_of(const OptimizerSpec& spec, const ParameterArena& arena,
                               const std::vector<int>& groups) {
  std::vector<Treated> all;
  const std::vector<Segment>& segments = arena.segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].is_statistic()) continue;  // averaged by the replica
    const Treatment treatment = treatment_of(spec, groups[i]);
    if (!treatment.is_frozen && is_matrix(spec, segments[i])) continue;
    const bool decays = treatment.weight_decay > 0 && (spec.decay_biases || segments[i].shape.rank() > 1);
    const float factor = decays ? 1.0f : 0.0f;
    const int64_t begin = segments[i].offset;
    const int64_t end = i + 1 < segments.size() ? segments[i + 1].offset : arena.n_elements();
    auto treated = std::find_if(all.begin(), all.end(),
                                [&](const Treated& known) { return known.treatment == treatment; });
    if (treated == all.end()) treated = all.insert(all.end(), {treatment, {}});
    std::vector<UpdateRange>& ranges = treated->ranges;
    if (!ranges.empty() && ranges.back().end == begin && ranges.back().factor == factor) {
      ranges.back().end = end;
    } else {
      ranges.push_back({begin, end, begin, factor});
    }
  }
  return all;
}

/// What has an average of its own: all weights, also frozen ones.
std::vector<UpdateRange> weight_ranges(const ParameterArena& arena) {
  std::vector<UpdateRange> ranges;
  for (const Segment& segment : arena.segments())
    if (!segment.is_statistic())
      ranges.push_back({segment.offset, segment.offset + segment.n_elements(), segment.offset});
  return ranges;
}

}  // namespace

Optimizer::Optimizer(const OptimizerSpec& spec, const ParameterArena& arena)
    : Optimizer(spec, arena, {{0, arena.n_elements()}}) {}

Optimizer::Optimizer(const OptimizerSpec& spec, const ParameterArena& arena, std::vector<ElementRange> own)
    : spec_(spec), arena_(arena), own_(std::move(own)) {
  const std::vector<int> groups = groups_of(spec.groups, arena);
  for (const Treated& treated : ranges_of(spec, arena, groups)) {
    const auto& [lr_factor, weight_decay, is_frozen] = treated.treatment;
    if (is_frozen)
      for (const UpdateRange& range : treated.ranges) frozen_.push_back({range.begin, range.end});
    else
      parts_.push_back({lr_factor, weight_decay, {arena.device(), within(treated.ranges, own_)}});
  }
  for (const ElementRange& range : own_) {
    if (spec.average > 0)
      averaged_.push_back({range.begin - n_own_, {arena.device(), within(weight_ranges(arena), {range})}});
    n_own_ += range.n();
  }
  add_matrices(groups);
  for (const std::string& name : spec.rule->slots())
    slots_.push_back({name, arena_.make_parallel(n_own_), nullptr});
  if (spec.average > 0) slots_.push_back({"average", arena_.make_parallel(n_own_), nullptr});
  for (Slot& slot : slots_) {  // slots no longer move
    slot.host = std::make_unique<HostMirror>(slot.memory);
    slot_data_.push_back(slot.memory.as<float>());
  }
}

void Optimizer::add_matrices(const std::vector<int>& groups) {
  std::map<std::pair<int64_t, int64_t>, std::shared_ptr<MatrixUpdate>> of_shape;
  for (size_t i = 0; i < arena_.segments().size(); ++i) {
    const Segment& segment = arena_.segments()[i];
    const auto& [lr_factor, weight_decay, is_frozen] = treatment_of(spec_, groups[i]);
    if (is_frozen || !is_matrix(spec_, segment)) continue;
    if (is_sharded())
      throw Error(
          "batch.shard_optimizer",
          fmt::format("{} updates whole matrices, which ranks cannot share element by element", spec_.name),
          "leave it out, or take an optimizer that updates by element, such as adamw");
    std::shared_ptr<MatrixUpdate>& update = of_shape[{segment.shape[0], segment.shape[1]}];
    if (!update) update = spec_.rule->matrices()->make(arena_.device(), segment.shape);
    matrices_.push_back({segment.offset, lr_factor, weight_decay, update});
  }
}

int64_t Optimizer::state_bytes() const {
  int64_t n_bytes = 0;
  for (const Slot& slot : slots_) n_bytes += slot.memory.n_bytes();
  return n_bytes;
}

void Optimizer::update(Stream& stream, const float* gradients, double lr, double grad_scale, int64_t step) {
  for (const Part& part : parts_)
    spec_.rule->update(
        stream, part.ranges,
        {gradients, arena_.weights(), slot_data_, lr * part.lr_factor, part.weight_decay, grad_scale, step});
  for (const Matrix& matrix : matrices_)
    matrix.update->update(
        stream, {gradients + matrix.offset, arena_.weights() + matrix.offset, slot_data_[0] + matrix.offset,
                 lr * matrix.lr_factor, matrix.weight_decay, grad_scale});
}

void Optimizer::average(Stream& stream, int64_t step) {
  // A step of gradient descent from the averages to the weights: average -= -rate * (weight - average). Those
  // of weights that stay do not change.
  SgdUpdate rule;
  rule.lr = step == 0 ? -1.0f : -static_cast<float>(1.0 - spec_.average);
  rule.weight_decay = -1.0f;
  for (const Averaged& of : averaged_)
    sgd_update(stream, rule, of.ranges, arena_.weights(), slot_data_.back() - of.shift, nullptr);
}

}  // namespace lockstep
