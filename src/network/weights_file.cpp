#include "src/network/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "io/checkpoint/checkpoint.h"
#include "io/formats/npz_write.h"
#include "kernels/error.h"
#include "kernels/printable.h"
#include "src/network/keras_weights.h"

namespace lockstep {

namespace {

constexpr std::string_view kCounter = "num_batches_tracked";

/// What PyTorch keeps beside weights although it follows from elsewhere.
bool is_no_weight(const std::string& name) {
  const auto is = [&](std::string_view last) {
    return name == last || name.ends_with("." + std::string(last));
  };
  return is(kCounter) || is("attn.bias") || is("attn.masked_bias") || is("embeddings.position_ids");
}

/// "transformer." where the model's names begin so, those of the file do not, and would be the model's.
std::string missing_prefix(const std::vector<SourceTensor>& tensors, const ParameterArena& arena) {
  std::set<std::string> wanted, prefixes;
  for (const Segment& segment : arena.segments()) {
    wanted.insert(segment.name);
    prefixes.insert(segment.name.substr(0, segment.name.find('.') + 1));
  }
  for (const std::string& prefix : prefixes) {
    bool fits = false, has_it = false;
    for (const SourceTensor& tensor : tensors) {
      has_it = has_it || tensor.name_in_file.starts_with(prefix);
      fits =
          fits || (wanted.count(tensor.name_in_file) == 0 && wanted.count(prefix + tensor.name_in_file) > 0);
    }
    if (fits && !has_it) return prefix;
  }
  return "";
}

/// (rows, columns) -> (columns, rows)
std::vector<float> transposed_matrix(const float* from, int64_t rows, int64_t columns) {
  std::vector<float> to(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[static_cast<size_t>(c * rows + r)] = from[r * columns + c];
  return to;
}

/// Whether a tensor holds what the parameter does with its axes exchanged.
bool is_turned(const Segment& segment, const SourceTensor& tensor) {
  return segment.spec.is_transposed_outside && !tensor.is_ours;
}

Shape shape_outside(const Segment& segment, const SourceTensor& tensor) {
  return is_turned(segment, tensor) ? Shape{segment.shape[1], segment.shape[0]} : segment.shape;
}

/// Regular expressions of the standard library call themselves once per character.
constexpr size_t kMaxNameBytes = 1000;

void check_length(const std::string& name) {
  if (name.size() > kMaxNameBytes)
    throw Error("tensor '" + printable(name.substr(0, 40)) + "…'",
                fmt::format("its name has {} bytes; at most {} are taken", name.size(), kMaxNameBytes),
                "rename it in the file, or see what a --map makes of it");
}

bool matches(const std::string& name, const std::vector<std::regex>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::regex& pattern) { return std::regex_match(name, pattern); });
}

void add_list(std::string& text, const char* title, const std::vector<std::string>& lines) {
  if (!lines.empty())
    text += fmt::format("\n  {} ({}):\n    {}", title, lines.size(), fmt::join(lines, "\n    "));
}

std::vector<SourceTensor> tensors_of(const SafetensorsFile& file, const ImportRules& rules,
                                     const ParameterArena& arena) {
  if (rules.layout == ImportRules::Layout::kKeras) return keras_tensors(file, rules, arena);
  std::vector<SourceTensor> tensors;
  for (const SafetensorsEntry& entry : file.entries())
    tensors.push_back({renamed(entry.name, rules), entry.name, entry.shape,
                       [&file, &entry](float* dst) { file.read(entry, dst); }});
  return tensors;
}

/// "/parameters/NAME" and "/buffers/NAME" as NAME; "" for what is no weight, the input's normalisation
/// included.
std::string weight_name(const std::string& stored) {
  for (const std::string_view group : {"/parameters/", "/buffers/"})
    if (stored.starts_with(group) && stored != "/buffers/input.mean" && stored != "/buffers/input.stddev")
      return stored.substr(group.size());
  return "";
}

ImportResult take_tensors(const std::vector<SourceTensor>& tensors, const std::string& path,
                          const ImportRules& rules, const ParameterArena& arena);

}  // namespace

std::string renamed(std::string name, const ImportRules& rules) {
  check_length(name);
  for (const auto& [pattern, replacement] : rules.renames) {
    name = std::regex_replace(name, pattern, replacement);
    check_length(name);
  }
  return name;
}

ImportResult import_weights(const SafetensorsFile& file, const ImportRules& rules,
                            const ParameterArena& arena) {
  return take_tensors(tensors_of(file, rules, arena), file.path(), rules, arena);
}

ImportResult import_weights(const std::string& checkpoint, const ImportRules& rules,
                            const ParameterArena& arena) {
  std::vector<SourceTensor> tensors;
  for (const CheckpointEntry& entry : list_checkpoint(checkpoint)) {
    const std::string name = weight_name(entry.name);
    if (name.empty()) continue;
    const auto read = [checkpoint, entry](float* dst) {
      load_checkpoint(checkpoint, {{entry.name, entry.shape, entry.dtype, dst}});
    };
    tensors.push_back({renamed(name, rules), name, entry.shape, read, true});
  }
  return take_tensors(tensors, checkpoint, rules, arena);
}

namespace {

ImportResult take_tensors(const std::vector<SourceTensor>& tensors, const std::string& path,
                          const ImportRules& rules, const ParameterArena& arena) {
  std::map<std::string, const Segment*> wanted;
  for (const Segment& segment : arena.segments()) wanted[segment.name] = &segment;

  ImportResult result;
  const std::string prefix = missing_prefix(tensors, arena);
  std::map<std::string, const SourceTensor*> found;
  std::vector<std::string> missing, surplus, misshaped, doubled;
  for (const SourceTensor& tensor : tensors) {
    std::string name = tensor.name;
    if (wanted.count(name) == 0 && wanted.count(prefix + name) > 0) name = prefix + name;
    const std::string title =
        name == tensor.name_in_file ? name : fmt::format("{} (in the file: {})", name, tensor.name_in_file);
    const auto target = wanted.find(name);
    if (target == wanted.end() && is_no_weight(name)) continue;
    const bool is_behind =
        rules.last_vertex >= 0 && (target == wanted.end() || target->second->vertex > rules.last_vertex);
    if (is_behind || matches(name, rules.ignored)) {
      result.ignored.push_back(title);
    } else if (target == wanted.end()) {
      surplus.push_back(title + " " + tensor.shape.str());
    } else if (const Shape shape = shape_outside(*target->second, tensor); !(tensor.shape == shape)) {
      misshaped.push_back(fmt::format("{}: {}, the model needs {}", title, tensor.shape.str(), shape.str()));
      found[name] = nullptr;
    } else if (!found.emplace(name, &tensor).second) {
      doubled.push_back(title);
    }
  }
  for (const Segment& segment : arena.segments()) {
    if (found.count(segment.name) > 0) continue;
    const bool is_behind = rules.last_vertex >= 0 && segment.vertex > rules.last_vertex;
    if (is_behind || matches(segment.name, rules.may_be_missing)) {
      result.initialised.push_back(segment.name);
    } else {
      missing.push_back(segment.name + " " + segment.shape.str());
    }
  }
  if (!missing.empty() || !surplus.empty() || !misshaped.empty() || !doubled.empty()) {
    std::string reason = "does not fit the model";
    add_list(reason, "missing in the file", missing);
    add_list(reason, "of another shape", misshaped);
    add_list(reason, "not in the model", surplus);
    add_list(reason, "two tensors with one name", doubled);
    throw Error(path, reason,
                "rename with --map 'REGEX=TEXT', leave out with --ignore REGEX, and keep initial values with "
                "--allow-missing REGEX");
  }
  for (const auto& [name, tensor] : found) {
    const Segment& segment = *wanted.at(name);
    float* const values = arena.host().as<float>() + segment.offset;
    tensor->read(values);
    if (is_turned(segment, *tensor)) {
      const std::vector<float> turned = transposed_matrix(values, segment.shape[1], segment.shape[0]);
      std::copy(turned.begin(), turned.end(), values);
    }
    const int64_t at = std::find_if_not(values, values + segment.n_elements(),
                                        [](float value) { return std::isfinite(value); }) -
                       values;
    if (at < segment.n_elements())
      throw Error(path, fmt::format("value {} of {} is not finite as float32: {}", at, name, values[at]),
                  "take weights from before the training that broke off, or leave the tensor out: --ignore "
                  "and --allow-missing");
    ++result.n_tensors;
    result.n_values += segment.n_elements();
  }
  arena.host().upload(*make_stream(arena.device()));
  return result;
}

}  // namespace

std::set<std::string> names_transposed_outside(const Graph& graph) {
  std::set<std::string> names;
  for (int v = 0; v < graph.size(); ++v)
    for (const ParameterSpec& spec : graph.parameters(v))
      if (spec.is_transposed_outside) names.insert(graph.vertex(v).parameters_name + "." + spec.name);
  return names;
}

std::string stored_average(const std::string& name) {
  constexpr std::string_view kParameters = "/parameters/";
  return name.starts_with(kParameters) ? "/optimizer/average/" + name.substr(kParameters.size()) : name;
}

void check_has_averages(const std::string& checkpoint) {
  for (const CheckpointEntry& entry : list_checkpoint(checkpoint))
    if (entry.name.starts_with("/optimizer/average/")) return;
  throw Error(checkpoint, "keeps no averages of its weights",
              "leave out --average, or train with average: {ema: 0.999} in the job");
}

int64_t export_weights(const std::string& checkpoint, const std::string& path, bool average,
                       const std::set<std::string>& transposed, WeightsFormat format) {
  if (average) check_has_averages(checkpoint);
  constexpr std::string_view kParameters = "/parameters/", kBuffers = "/buffers/", kMean = "running_mean";
  int64_t step = read_checkpoint_info(checkpoint).step;
  std::vector<SafetensorsTensor> tensors;
  std::vector<std::string> sources;  // names in the checkpoint; empty: the counter
  for (const CheckpointEntry& entry : list_checkpoint(checkpoint)) {
    const bool is_buffer = entry.name.starts_with(kBuffers);
    if (!is_buffer && !entry.name.starts_with(kParameters)) continue;
    const std::string name = entry.name.substr((is_buffer ? kBuffers : kParameters).size());
    if (entry.name == "/buffers/input.mean" || entry.name == "/buffers/input.stddev")
      continue;  // the normalisation
    const bool turns = !is_buffer && transposed.count(name) > 0;
    tensors.push_back({name, turns ? Shape{entry.shape[1], entry.shape[0]} : entry.shape, entry.dtype});
    sources.push_back(average ? stored_average(entry.name) : entry.name);
    if (!name.ends_with(kMean) || format == WeightsFormat::kNpz) continue;
    tensors.push_back(
        {name.substr(0, name.size() - kMean.size()) + std::string(kCounter), {}, DType::kInt64});
    sources.emplace_back();
  }
  const auto write = format == WeightsFormat::kNpz ? write_npz : write_safetensors;
  write(path, tensors, [&](size_t i, void* data) {
    if (sources[i].empty()) {
      *static_cast<int64_t*>(data) = step;
      return;
    }
    const Shape& shape = tensors[i].shape;
    const bool turns = transposed.count(tensors[i].name) > 0;
    const Shape stored = turns ? Shape{shape[1], shape[0]} : shape;
    load_checkpoint(checkpoint, {{sources[i], stored, tensors[i].dtype, data}});
    if (!turns) return;
    auto* const values = static_cast<float*>(data);
    const std::vector<float> turned = transposed_matrix(values, stored[0], stored[1]);
    std::copy(turned.begin(), turned.end(), values);
  });
  return static_cast<int64_t>(tensors.size());
}

}  // namespace lockstep
