// Weights from and for other programs, through .safetensors files; out also as NumPy's .npz. Names are those
// of checkpoints without /parameters/ and /buffers/, which are torchvision's ("conv1.weight",
// "layer1.0.bn1.running_mean"); shapes and element order are PyTorch's too. Only matrices that the program
// with those names keeps as (I, O), such as Hugging Face's GPT-2, are transposed on their way.
#pragma once

#include <cstdint>
#include <functional>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "io/formats/safetensors.h"
#include "src/network/arena.h"

namespace lockstep {

struct ImportRules {
  /// A tensor of the file is called what these replacements make of its name, one after another.
  std::vector<std::pair<std::regex, std::string>> renames;
  std::vector<std::regex> ignored;         // whole names in the file, renamed: left out
  std::vector<std::regex> may_be_missing;  // whole names in the model: may keep their initial values
  /// Whose names, axes and gates the file has: PyTorch's, or Keras 3's (keras_weights.h).
  enum class Layout { kPyTorch, kKeras } layout = Layout::kPyTorch;
  /// Take the weights up to this vertex of the graph; those behind it keep their initial values, and what the
  /// file has for them is ignored. -1: all.
  int last_vertex = -1;
};

/// One tensor on its way to a parameter.
struct SourceTensor {
  std::string name, name_in_file;  // renamed by the rules; as it stands there
  Shape shape;
  std::function<void(float* dst)> read;
  bool is_ours = false;  // with the axes of checkpoints
};
/// The name that the rules make of one in a file. Throws Error on one of more than 1000 bytes.
std::string renamed(std::string name, const ImportRules& rules);

struct ImportResult {
  int64_t n_tensors = 0, n_values = 0;            // taken from the file
  std::vector<std::string> ignored, initialised;  // names in the file, renamed; names in the model
};

/// Fills the arena (host memory, initialised before) from the file. Each tensor of the file
/// must be one of the model and have its shape, and each of the model must be in the file; one
/// Error lists all that do not fit. PyTorch's counters `num_batches_tracked`, and the masks and ids that old
/// files of transformers hold as buffers, mean nothing here and are skipped. Where no name of the file has
/// the first part of the model's, such as `transformer.`, it is put in front: files of a model without its
/// head.
ImportResult import_weights(const SafetensorsFile& file, const ImportRules& rules,
                            const ParameterArena& arena);

/// The same from a checkpoint of any run, for transfer learning; its statistics come along, the normalisation
/// of its input does not.
ImportResult import_weights(const std::string& checkpoint, const ImportRules& rules,
                            const ParameterArena& arena);

/// Where a checkpoint keeps the running average of a weight "/parameters/NAME"; of statistics their own name.
std::string stored_average(const std::string& name);
/// Throws Error where a checkpoint keeps no averages of its weights.
void check_has_averages(const std::string& checkpoint);

/// Writes the parameters and statistics of a checkpoint, checked against their sums, and for each
/// running_mean the int64 num_batches_tracked (the checkpoint's step) that PyTorch's
/// load_state_dict() expects. The normalisation of the input (/buffers/input.*) is no weight
/// and stays behind. average: the running averages of the weights in their place; `transposed`: parameters
/// that are written as (I, O). kNpz: numpy.savez's archive, without the counters. Returns the number of
/// tensors written.
enum class WeightsFormat { kSafetensors, kNpz };
int64_t export_weights(const std::string& checkpoint, const std::string& path, bool average = false,
                       const std::set<std::string>& transposed = {},
                       WeightsFormat format = WeightsFormat::kSafetensors);
/// The parameters that files of other programs have as (I, O).
std::set<std::string> names_transposed_outside(const Graph& graph);

}  // namespace lockstep
