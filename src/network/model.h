// From the `model` key of a job file to a Graph: a zoo name with options, or a list of layers.
#pragma once

#include <map>
#include <set>

#include "src/config/config.h"
#include "src/network/graph.h"

namespace lockstep {

/// What the data tells the model where the job file does not.
struct ModelContext {
  Shape input;            // of one sample; rank 0: unknown
  int64_t n_classes = 0;  // 0: unknown
  // By the names of inputs; a single one is called "input".
  std::map<std::string, Shape> inputs;          // of several, where the data tell
  std::map<std::string, int64_t> vocabularies;  // sizes
  std::set<std::string> ragged;                 // sequences of unequal lengths
  std::map<std::string, int64_t> steps;         // sequences have so many, whatever job and data say
  bool carries_states =
      false;  // recurrent layers carry their states from step to step, whatever the job says
};

/// Adds an input of the data: its shape as the context says, `fallback` where that is silent, and its lengths
/// where it has some.
int add_data_input(Graph& graph, const std::string& name, const ModelContext& context, Shape fallback);

/// `model: {zoo: NAME, …}` or `model: {layers: [...], input: [C, H, W]}`. Throws Error naming
/// key, line and remedy, or the two layers that do not fit.
Graph build_model(const Config& model, const ModelContext& context);

/// The natural input of a network, for which it stands where neither data nor job tell one.
struct ModelDefaults {
  Shape input;               // rank 0: none
  int64_t n_classes = 0;     // with that input, where the job names no classes
  bool adds_inputs = false;  // the maker adds the graph's inputs itself
  int64_t vocabulary = 0;    // of the input, where it is ids and no classes
};

/// A zoo entry reads its options and builds its graph behind the input vertex.
using ZooMaker = std::function<void(Graph& graph, const Config& options, const ModelContext& context)>;
bool register_model(const std::string& name, ZooMaker maker, const ModelDefaults& defaults = {});
std::vector<std::string> zoo_names();

/// The option `classes`, or what the data says; throws if neither is known.
int64_t read_classes(const Config& options, const ModelContext& context);
/// The option `vocabulary` of models of tokens, or what the data says of that input.
int64_t read_vocabulary(const Config& options, const ModelContext& context,
                        const std::string& key = "vocabulary", const std::string& input = "input");

}  // namespace lockstep
