// Where the time of a training step goes, step of the plan by step of the plan.
#pragma once

#include <span>
#include <string>

#include "src/plan/plan.h"

namespace lockstep {

/// A table of the mean milliseconds between two readings of Replica::step_times(), n_steps training
/// steps apart; the slowest first, each with its share of step_s.
std::string profile_table(std::span<const PlanStepTimes> before, std::span<const PlanStepTimes> after,
                          double n_steps, double step_s);
/// The same as a JSON list.
std::string profile_json(std::span<const PlanStepTimes> before, std::span<const PlanStepTimes> after,
                         double n_steps);

}  // namespace lockstep
