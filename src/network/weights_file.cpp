#include "src/network/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "io/checkpoint/checkpoint.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

constexpr std::string_view kCounter = "num_batches_tracked";

bool is_counter(const std::string& name) {
  return name == kCounter || name.ends_with("." + std::string(kCounter));
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

}  // namespace

ImportResult import_weights(const SafetensorsFile& file, const ImportRules& rules,
                            const ParameterArena& arena) {
  std::map<std::string, const Segment*> wanted;
  for (const Segment& segment : arena.segments()) wanted[segment.name] = &segment;

  ImportResult result;
  std::map<std::string, const SafetensorsEntry*> found;
  std::vector<std::string> missing, surplus, misshaped, doubled;
  for (const SafetensorsEntry& entry : file.entries()) {
    std::string name = entry.name;
    check_length(name);
    for (const auto& [pattern, replacement] : rules.renames) {
      name = std::regex_replace(name, pattern, replacement);
      check_length(name);
    }
    const std::string title =
        name == entry.name ? name : fmt::format("{} (in the file: {})", name, entry.name);
    const auto target = wanted.find(name);
    if (is_counter(name)) continue;
    if (matches(name, rules.ignored)) {
      result.ignored.push_back(title);
    } else if (target == wanted.end()) {
      surplus.push_back(title + " " + entry.shape.str());
    } else if (!(entry.shape == target->second->shape)) {
      misshaped.push_back(
          fmt::format("{}: {}, the model needs {}", title, entry.shape.str(), target->second->shape.str()));
      found[name] = nullptr;
    } else if (!found.emplace(name, &entry).second) {
      doubled.push_back(title);
    }
  }
  for (const Segment& segment : arena.segments()) {
    if (found.count(segment.name) > 0) continue;
    if (matches(segment.name, rules.may_be_missing)) {
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
    throw Error(file.path(), reason,
                "rename with --map 'REGEX=TEXT', leave out with --ignore REGEX, and keep initial values with "
                "--allow-missing REGEX");
  }
  for (const auto& [name, entry] : found) {
    const Segment& segment = *wanted.at(name);
    float* const values = arena.host().as<float>() + segment.offset;
    file.read(*entry, values);
    const int64_t at = std::find_if_not(values, values + segment.n_elements(),
                                        [](float value) { return std::isfinite(value); }) -
                       values;
    if (at < segment.n_elements())
      throw Error(file.path(),
                  fmt::format("value {} of {} is not finite as float32: {}", at, name, values[at]),
                  "take weights from before the training that broke off, or leave the tensor out: --ignore "
                  "and --allow-missing");
    ++result.n_tensors;
    result.n_values += segment.n_elements();
  }
  arena.host().upload(*make_stream(arena.device()));
  return result;
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

int64_t export_weights(const std::string& checkpoint, const std::string& path, bool average) {
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
    tensors.push_back({name, entry.shape, entry.dtype});
    sources.push_back(average ? stored_average(entry.name) : entry.name);
    if (!name.ends_with(kMean)) continue;
    tensors.push_back(
        {name.substr(0, name.size() - kMean.size()) + std::string(kCounter), {}, DType::kInt64});
    sources.emplace_back();
  }
  write_safetensors(path, tensors, [&](size_t i, void* data) {
    if (sources[i].empty()) {
      *static_cast<int64_t*>(data) = step;
    } else {
      load_checkpoint(checkpoint, {{sources[i], tensors[i].shape, tensors[i].dtype, data}});
    }
  });
  return static_cast<int64_t>(tensors.size());
}

}  // namespace lockstep
