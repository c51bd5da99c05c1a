// What a job says of the network and what it is judged by: the keys model, init, loss and metrics.
#pragma once

#include <memory>
#include <vector>

#include "src/config/config.h"
#include "src/losses/loss.h"
#include "src/metrics/metric.h"
#include "src/network/init.h"

namespace lockstep {

struct ModelOptions {
  std::shared_ptr<Config> model;
  InitSpec init = default_init();
  LossSpec loss;                         // the one that is reported
  std::vector<LossSpec> further_losses;  // of other layers; their gradients are added
  /// All losses, the reported one first.
  std::vector<LossSpec> losses() const;
  MetricList metrics;  // of the reported loss
};

/// The key `loss`: one, or a list.
void read_losses(const Config& root, ModelOptions& options);

}  // namespace lockstep
