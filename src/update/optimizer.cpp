#include "src/update/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "kernels/element_update.h"
#include "kernels/elementwise.h"
#include "kernels/norm_update.h"
#include "kernels/optimizer_update.h"
#include "src/update/rule_options.h"

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
  spec.l1 = read_not_negative(options, "l1", 0);
  if (options.has("max_norm")) spec.max_norm = read_above_zero(options, "max_norm", 3);
  spec.layer_decay = options.get_double("layer_decay", 1);
  if (!(spec.layer_decay > 0 && spec.layer_decay <= 1))
    throw options.error_at("layer_decay",
                           fmt::format("must be above 0 and at most 1, found {}", spec.layer_decay),
                           "for instance layer_decay: 0.75");
  spec.groups = read_parameter_groups(options);
  if (spec.max_norm > 0 && spec.rule->is_schedule_free())
    throw options.error_at("max_norm",
                           fmt::format("the optimizer {} makes weights anew of its averages", spec.name),
                           "leave it out, or take another optimizer");
  for (const ParameterGroup& group : spec.groups)
    if (group.frozen_until_epoch > 0 && spec.rule->is_schedule_free())
      throw Error(group.place, fmt::format("the optimizer {} averages from the first step on", spec.name),
                  "leave out frozen_until_epoch, or take another optimizer");
  if (spec.lr < 0)
    throw options.error_at("lr", fmt::format("must not be negative, found {}", spec.lr),
                           "for instance lr: 0.1 with sgd, lr: 1e-3 with adam");
  if (spec.weight_decay < 0)
    throw options.error_at("weight_decay", fmt::format("must not be negative, found {}", spec.weight_decay),
                           "for instance weight_decay: 1e-4");
  options.finish();
  return spec;
}

void check_sharing(const OptimizerSpec& spec) {
  if (!spec.rule->parameters() && spec.max_norm == 0) return;
  throw Error("batch.shard_optimizer",
              fmt::format("{} looks at whole parameters, which ranks cannot share element by element",
                          spec.max_norm > 0 ? "max_norm" : "the optimizer " + spec.name),
              "leave it out, or take an optimizer that updates by element, such as adamw");
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
  double from_epoch = 0;
  bool operator==(const Treatment&) const = default;
};

Treatment treatment_of(const OptimizerSpec& spec, int group) {
  if (group < 0) return {1, spec.weight_decay, false, 0};
  const ParameterGroup& of = spec.groups[static_cast<size_t>(group)];
  return {of.lr_factor, of.weight_decay.value_or(spec.weight_decay), of.is_frozen, of.frozen_until_epoch};
}

/// The name of the layer that a parameter is of: up to its first number ("layer3.1", "h.11"), or its first
/// word.
std::string layer_of(const std::string& name) {
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = name.find('.', begin);
    const std::string word = name.substr(begin, end - begin);
    if (end != std::string::npos && word.find_first_not_of("0123456789") == std::string::npos)
      return name.substr(0, end);
  }
  return name.substr(0, name.find('.'));
}

/// Of each segment the factor on its rate for its depth: 1 for the last layer.
std::vector<double> factors_of_depth(const OptimizerSpec& spec, const ParameterArena& arena) {
  const std::vector<Segment>& segments = arena.segments();
  std::vector<double> factors(segments.size(), 1.0);
  if (spec.layer_decay == 1) return factors;
  std::map<std::string, int> places;  // from the last layer, which comes first in the arena
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].is_statistic()) continue;
    const auto place = places.try_emplace(layer_of(segments[i].name), static_cast<int>(places.size())).first;
    factors[i] = std::pow(spec.layer_decay, place->second);
  }
  return factors;
}

/// The step of an epoch's first update.
int64_t first_step(double epoch, int64_t steps_per_epoch) {
  return std::llround(epoch * static_cast<double>(steps_per_epoch));
}

bool is_whole(const OptimizerSpec& spec, const Segment& segment) {
  const ParameterRule* parameters = spec.rule->parameters();
  return parameters && !segment.is_statistic() && parameters->takes(segment.name, segment.shape);
}

/// Whether weight decay and L1 have a part in the segment's update.
bool decays(const OptimizerSpec& spec, const Segment& segment) {
  return spec.decay_biases || segment.shape.rank() > 1;
}

struct Treated {
  Treatment treatment;
  std::vector<UpdateRange> ranges;
};

/// Neighbouring segments with one treatment and one factor of weight decay become one range.
std::vector<Treated> ranges_of(const OptimizerSpec& spec, const ParameterArena& arena,
                               const std::vector<int>& groups, const std::vector<double>& depths) {
  std::vector<Treated> all;
  const std::vector<Segment>& segments = arena.segments();
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].is_statistic()) continue;  // averaged by the replica
    Treatment treatment = treatment_of(spec, groups[i]);
    treatment.lr_factor *= depths[i];
    if (!treatment.is_frozen && is_whole(spec, segments[i])) continue;
    const float factor = treatment.weight_decay > 0 && decays(spec, segments[i]) ? 1.0f : 0.0f;
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

/// What L1 regularisation is of.
std::vector<UpdateRange> l1_ranges(const OptimizerSpec& spec, const ParameterArena& arena,
                                   const std::vector<int>& groups) {
  std::vector<UpdateRange> ranges;
  for (size_t i = 0; i < arena.segments().size(); ++i) {
    const Segment& segment = arena.segments()[i];
    if (segment.is_statistic() || !decays(spec, segment) || treatment_of(spec, groups[i]).is_frozen) continue;
    ranges.push_back({segment.offset, segment.offset + segment.n_elements(), segment.offset});
  }
  return ranges;
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

std::vector<ElementRange> with_states(const OptimizerSpec& spec, const ParameterArena& arena,
                                      int64_t n_trained) {
  const bool all = spec.average || spec.rule->is_schedule_free();
  return {{0, all ? arena.n_elements() : n_trained}};
}

Optimizer::Optimizer(const OptimizerSpec& spec, const ParameterArena& arena, std::vector<ElementRange> own,
                     bool rest_stays)
    : spec_(spec), arena_(arena), own_(std::move(own)), rest_stays_(rest_stays) {
  const std::vector<int> groups = groups_of(spec.groups, arena);
  const std::vector<double> depths = factors_of_depth(spec, arena);
  for (const Treated& treated : ranges_of(spec, arena, groups, depths)) {
    const auto& [lr_factor, weight_decay, is_frozen, from_epoch] = treated.treatment;
    if (is_frozen)
      for (const UpdateRange& range : treated.ranges) frozen_.push_back({range.begin, range.end});
    else
      parts_.push_back({lr_factor, weight_decay, from_epoch, {arena.device(), within(treated.ranges, own_)}});
  }
  for (const ElementRange& range : own_) {
    std::vector<UpdateRange> averaged;  // a schedule-free rule averages what it updates itself
    if (spec.average) averaged = weight_ranges(arena);
    if (spec.rule->is_schedule_free())
      for (const ElementRange& frozen : frozen_) averaged.push_back({frozen.begin, frozen.end, frozen.begin});
    if (!averaged.empty())
      averaged_.push_back({range.begin - n_own_, {arena.device(), within(averaged, {range})}});
    n_own_ += range.n();
  }
  for (const std::string& name : spec.rule->slots())
    slots_.push_back({name, arena_.make_parallel(n_own_), nullptr});
  if (spec.average) slots_.push_back({kAverageSlot, arena_.make_parallel(n_own_), nullptr});
  for (Slot& slot : slots_) {  // slots no longer move
    slot.host = std::make_unique<HostMirror>(slot.memory);
    slot_data_.push_back(slot.memory.as<float>());
  }
  if (spec.l1 > 0) l1_.emplace(arena.device(), within(l1_ranges(spec, arena, groups), own_));
  if (is_sharded()) check_sharing(spec);
  for (size_t i = 0; i < arena.segments().size(); ++i) {
    const Segment& segment = arena.segments()[i];
    const double from_epoch = treatment_of(spec, groups[i]).from_epoch;
    if (from_epoch > 0 && !segment.is_statistic())
      thawing_.push_back({{segment.offset, segment.offset + segment.n_elements()}, from_epoch});
  }
  add_whole(groups, depths);
  add_limits(groups);
}

std::vector<ElementRange> Optimizer::not_thawed(int64_t step, int64_t steps_per_epoch) const {
  std::vector<ElementRange> ranges;
  for (const Thawing& thawing : thawing_)
    if (step < first_step(thawing.from_epoch, steps_per_epoch)) ranges.push_back(thawing.range);
  return ranges;
}

void Optimizer::add_whole(const std::vector<int>& groups, const std::vector<double>& depths) {
  std::map<std::vector<int64_t>, std::shared_ptr<ParameterUpdate>> of_shape;
  for (size_t i = 0; i < arena_.segments().size(); ++i) {
    const Segment& segment = arena_.segments()[i];
    const auto& [lr_factor, weight_decay, is_frozen, from_epoch] = treatment_of(spec_, groups[i]);
    if (is_frozen || !is_whole(spec_, segment)) continue;
    std::vector<int64_t> extents;
    for (int d = 0; d < segment.shape.rank(); ++d) extents.push_back(segment.shape[d]);
    std::shared_ptr<ParameterUpdate>& update = of_shape[extents];
    if (!update) update = spec_.rule->parameters()->make(arena_.device(), segment.shape);
    std::vector<float*> slots = slot_data_;
    for (float*& slot : slots) slot += segment.offset;
    whole_.push_back({segment.offset, lr_factor * depths[i], decays(spec_, segment) ? weight_decay : 0,
                      from_epoch, slots, update});
  }
}

void Optimizer::add_limits(const std::vector<int>& groups) {
  if (spec_.max_norm == 0) return;
  for (size_t i = 0; i < arena_.segments().size(); ++i) {
    const Segment& segment = arena_.segments()[i];
    const bool is_limited = !segment.is_statistic() && segment.shape.rank() > 1 && segment.n_elements() > 0;
    if (!is_limited || treatment_of(spec_, groups[i]).is_frozen) continue;
    const int64_t rows = segment.shape[0];
    limited_.push_back(
        {segment.offset, rows, segment.n_elements() / rows, treatment_of(spec_, groups[i]).from_epoch});
  }
}

int64_t Optimizer::state_bytes() const {
  int64_t n_bytes = 0;
  for (const Slot& slot : slots_) n_bytes += slot.memory.n_bytes();
  return n_bytes;
}

void Optimizer::update(Stream& stream, float* gradients, double lr, double grad_scale, int64_t step,
                       int64_t steps_per_epoch) {
  if (l1_ && grad_scale > 0)  // of the mean, and these are sums
    add_sign(stream, static_cast<float>(spec_.l1 / grad_scale), *l1_, arena_.weights(), gradients);
  // What thaws at an epoch takes its first step there, as far as rules count.
  const auto step_of = [&](double from_epoch) { return step - first_step(from_epoch, steps_per_epoch); };
  for (const Part& part : parts_)
    if (step_of(part.from_epoch) >= 0)
      spec_.rule->update(stream, part.ranges,
                         {gradients, arena_.weights(), slot_data_, lr * part.lr_factor, part.weight_decay,
                          grad_scale, step_of(part.from_epoch)});
  for (const Whole& of : whole_)
    if (step_of(of.from_epoch) >= 0)
      of.update->update(stream, {gradients + of.offset, arena_.weights() + of.offset, of.slots,
                                 lr * of.lr_factor, of.weight_decay, grad_scale, step_of(of.from_epoch)});
  for (const Limited& of : limited_)
    if (step_of(of.from_epoch) >= 0)
      limit_row_norms(stream, of.rows, of.columns, static_cast<float>(spec_.max_norm),
                      arena_.weights() + of.offset);
}

void Optimizer::average(Stream& stream, int64_t step, int64_t steps_per_epoch) {
  if (averaged_.empty()) return;
  const double rate = spec_.average ? spec_.average->rate(step, steps_per_epoch) : step == 0 ? 1 : 0;
  if (rate == 0) return;
  // A step of gradient descent from the averages to the weights: average -= -rate * (weight - average). Those
  // of weights that stay do not change.
  SgdUpdate rule;
  rule.lr = -static_cast<float>(rate);
  rule.weight_decay = -1.0f;
  float* const averages = slot_data_.back();
  if (rate == 1 && step > 0) fill(stream, n_own_, 0.0f, averages);  // the weights to the bit
  for (const Averaged& of : averaged_)
    sgd_update(stream, rule, of.ranges, arena_.weights(), averages - of.shift, nullptr);
}

}  // namespace lockstep
