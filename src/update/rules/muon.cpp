// Muon (Jordan et al. 2024) for matrices, AdamW for everything else: biases, norms, and what turns ids into
// vectors or vectors into scores.
#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "kernels/optimizer_update.h"
#include "src/update/orthogonal_step.h"
#include "src/update/rule_options.h"
#include "src/update/update_rule.h"

namespace lockstep {

namespace {

struct MuonRuleOptions {
  MuonOptions matrices;
  double lr_factor = 1;  // of AdamW's part
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  std::vector<std::regex> others;
};

class MatricesOfMuon : public ParameterRule {
 public:
  explicit MatricesOfMuon(const MuonRuleOptions& options) : o_(options) {}
  bool takes(const std::string& name, const Shape& shape) const override {
    return shape.rank() == 2 &&
           std::none_of(o_.others.begin(), o_.others.end(),
                        [&](const std::regex& other) { return std::regex_search(name, other); });
  }
  std::shared_ptr<ParameterUpdate> make(Device device, const Shape& shape) const override {
    return std::make_shared<OrthogonalStep>(device, shape, o_.matrices);
  }

 private:
  MuonRuleOptions o_;
};

class Muon : public UpdateRule {
 public:
  explicit Muon(const MuonRuleOptions& options) : o_(options), matrices_(options) {}
  std::vector<std::string> slots() const override { return {"m", "v"}; }  // of matrices m is the momentum
  const ParameterRule* parameters() const override { return &matrices_; }
  void update(Stream& stream, const UpdateRanges& ranges, const UpdateArgs& args) const override {
    AdamUpdate rule;
    rule.lr = static_cast<float>(args.lr * o_.lr_factor);
    rule.beta1 = static_cast<float>(o_.beta1);
    rule.beta2 = static_cast<float>(o_.beta2);
    rule.epsilon = static_cast<float>(o_.epsilon);
    rule.weight_decay = static_cast<float>(args.weight_decay);
    rule.decoupled = true;
    rule.grad_scale = static_cast<float>(args.grad_scale);
    rule.step = args.step + 1;
    adam_update(stream, rule, ranges, args.gradients, args.weights, args.slots[0], args.slots[1]);
  }

 private:
  MuonRuleOptions o_;
  MatricesOfMuon matrices_;
};

UpdateRuleMade make_muon(Config& options) {
  constexpr double kLr = 0.02;
  MuonRuleOptions o;
  o.matrices.momentum = read_share(options, "momentum", 0.95);
  o.matrices.nesterov = options.get_bool("nesterov", true);
  const int64_t steps = options.get_int("steps", 5);
  if (steps < 1 || steps > 100)
    throw options.error_at("steps", fmt::format("must lie in [1, 100], found {}", steps),
                           "the usual one is 5");
  o.matrices.steps = static_cast<int>(steps);
  const double lr = options.get_double("lr", kLr), adamw_lr = options.get_double("adamw_lr", 0.001);
  if (adamw_lr < 0)
    throw options.error_at("adamw_lr", fmt::format("must not be negative, found {}", adamw_lr),
                           "for instance adamw_lr: 0.001");
  o.lr_factor = lr > 0 ? adamw_lr / lr : 0;
  o.beta1 = read_share(options, "beta1", 0.9);
  o.beta2 = read_share(options, "beta2", 0.95);
  o.epsilon = options.get_double("epsilon", 1e-8);
  if (o.epsilon <= 0)
    throw options.error_at("epsilon", fmt::format("must be positive, found {}", o.epsilon),
                           "the usual one is 1e-8");
  std::vector<std::string> patterns = options.get_strings("adamw_for");
  if (patterns.empty()) patterns = {"embed", "wte", "wpe", "lm_head", "^output\\."};
  for (const std::string& pattern : patterns) {
    try {
      o.others.emplace_back(pattern);
    } catch (const std::regex_error& error) {
      throw options.error_at("adamw_for",
                             fmt::format("'{}' is no regular expression: {}", pattern, error.what()),
                             "give parts of parameters' names, for instance [embed, lm_head]");
    }
  }
  return {std::make_shared<Muon>(o), kLr};
}

const bool muon_rule_registered = update_rules().add("muon", make_muon, 4);

}  // namespace

}  // namespace lockstep
