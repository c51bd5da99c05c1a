// From the `model` key of a job file to a Graph: a zoo name with options, or a list of layers.
#pragma once

#include "src/config/config.h"
#include "src/network/graph.h"

namespace lockstep {

/// What the data tells the model where the job file does not.
struct ModelContext {
  Shape input;            // of one sample; rank 0: unknown
  int64_t n_classes = 0;  // 0: unknown
};

/// `model: {zoo: NAME, …}` or `model: {layers: [...], input: [C, H, W]}`. Throws Error naming
/// key, line and remedy, or the two layers that do not fit.
Graph build_model(const Config& model, const ModelContext& context);

/// The natural input of a network, for which it stands where neither data nor job tell one.
struct ModelDefaults {
  Shape input;            // rank 0: none
  int64_t n_classes = 0;  // with that input, where the job names no classes
};

/// A zoo entry reads its options and builds its graph behind the input vertex.
using ZooMaker = std::function<void(Graph& graph, const Config& options, const ModelContext& context)>;
bool register_model(const std::string& name, ZooMaker maker, const ModelDefaults& defaults = {});
std::vector<std::string> zoo_names();

/// The option `classes`, or what the data says; throws if neither is known.
int64_t read_classes(const Config& options, const ModelContext& context);

}  // namespace lockstep
