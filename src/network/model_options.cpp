#include "src/network/model_options.h"

#include <optional>

namespace lockstep {

void read_losses(const Config& root, ModelOptions& options) {
  if (const std::optional<Config> loss = root.find("loss")) {
    if (loss->is_list()) {
      const std::vector<Config> items = loss->items();
      if (items.empty())
        throw loss->error("the list is empty", "name a loss, for instance [{softmax_cross_entropy: {}}]");
      options.loss = read_loss(items[0]);
      for (size_t i = 1; i < items.size(); ++i) options.further_losses.push_back(read_loss(items[i]));
    } else {
      options.loss = read_loss(*loss);
    }
  }
}

std::vector<LossSpec> ModelOptions::losses() const {
  std::vector<LossSpec> all{loss};
  all.insert(all.end(), further_losses.begin(), further_losses.end());
  return all;
}

}  // namespace lockstep
