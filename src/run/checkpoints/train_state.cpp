#include "src/run/checkpoints/train_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "comm/agreement.h"
#include "kernels/printable.h"
#include "src/network/model_limits.h"
#include "src/run/checkpoints/data_identity.h"

namespace lockstep {

namespace {

constexpr char kSeparator = '\x1f';  // between class names
constexpr char kEscape = '\x1e';     // before one that is part of a token: then 's'

std::string join_shape(const Shape& shape) {
  return fmt::format("{}", fmt::join(shape.begin(), shape.end(), ","));
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

/// Texts that may hold the separator, joined by it.
std::string join_texts(const std::vector<std::string>& texts) {
  std::string joined;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) joined += kSeparator;
    for (const char c : texts[i]) {
      if (c == kSeparator || c == kEscape) joined += kEscape;
      joined += c == kSeparator ? 's' : c;
    }
  }
  return joined;
}

std::vector<std::string> split_texts(const std::string& joined) {
  std::vector<std::string> texts(1);
  for (size_t i = 0; i < joined.size(); ++i) {
    if (joined[i] == kSeparator) {
      texts.emplace_back();
    } else if (joined[i] == kEscape && i + 1 < joined.size()) {
      ++i;
      texts.back() += joined[i] == 's' ? kSeparator : joined[i];
    } else {
      texts.back() += joined[i];
    }
  }
  return texts;
}

/// What a contract says of sequences; nothing where it has none.
void add_sequences(const DataContract& contract, CheckpointInfo& info) {
  if (contract.ragged.empty() && contract.vocabularies.empty()) return;
  for (const auto& [name, shape] : contract.inputs) info.texts["shape_of_" + name] = join_shape(shape);
  info.texts["ragged"] = join_texts({contract.ragged.begin(), contract.ragged.end()});
  info.numbers["ragged"] = static_cast<double>(contract.ragged.size());
  for (const auto& [name, tokens] : contract.vocabularies)
    info.texts["vocabulary_of_" + name] = join_texts(tokens);
  for (const auto& [name, tokenizer] : contract.tokenizers) info.texts["tokenizer_of_" + name] = tokenizer;
}

double number(const CheckpointInfo& info, const std::string& key, double fallback) {
  const auto entry = info.numbers.find(key);
  return entry == info.numbers.end() ? fallback : entry->second;
}

/// Of a metric's sum; that of accuracy has been called so since before there were others.
std::string interval_key(const std::string& metric) {
  return metric == "accuracy" ? "interval_correct" : "interval_" + metric;
}

/// A whole number that a double holds exactly. The file may be anyone's.
int64_t whole_number(const CheckpointInfo& info, const std::string& key, int64_t fallback) {
  constexpr double kMost = 9007199254740992;  // 2^53
  const double value = number(info, key, static_cast<double>(fallback));
  if (!(value >= -kMost && value <= kMost) || value != std::floor(value))
    throw Error("checkpoint", fmt::format("its '{}' is {}, which is no whole number", key, value),
                "use a checkpoint written by training");
  return static_cast<int64_t>(value);
}

/// "1,28,28": extents of a sample.
Shape read_shape(const std::string& path, const std::string& text) {
  std::vector<int64_t> extents;
  for (const std::string& part : split(text, ',')) {
    int64_t extent = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), extent);
    if (error != std::errc() || end != part.data() + part.size() || extent < 1) extent = 0;
    extents.push_back(extent);
    if (extents.size() >= static_cast<size_t>(Shape::kMaxRank)) break;  // one is left for the batch
  }
  int64_t n_elements = 1;
  bool fits = !extents.empty() && extents.size() < static_cast<size_t>(Shape::kMaxRank);
  for (const int64_t extent : extents)
    fits = fits && extent > 0 && !__builtin_mul_overflow(n_elements, extent, &n_elements) &&
           n_elements <= kMaxElements;
  if (!fits)
    throw Error(path,
                fmt::format("its input shape '{}' is no shape of a sample", printable(text.substr(0, 60))),
                "use a checkpoint written by training");
  return Shape(std::span<const int64_t>(extents));
}

/// "3,0,12".
std::vector<int64_t> read_counts(const std::string& path, const std::string& text) {
  std::vector<int64_t> counts;
  for (const char *at = text.data(), *end = at + text.size(); at < end;) {
    int64_t count = -1;
    const auto read = std::from_chars(at, end, count);
    if (read.ec != std::errc{} || count < 0 || (read.ptr < end && *read.ptr != ','))
      throw Error(path, "its counts of classes are no numbers", "use a checkpoint written by training");
    counts.push_back(count);
    at = read.ptr + 1;
  }
  return counts;
}

/// Mean or stddev of the input: one value per channel, per number, or one for all.
std::vector<float> read_normalization(const std::string& path, const CheckpointEntry& entry) {
  constexpr int64_t kMostChannels = int64_t{1} << 24;
  if (entry.shape.rank() != 1 || entry.dtype != DType::kFloat32 || entry.shape[0] > kMostChannels)
    throw Error(path + ": " + entry.name,
                fmt::format("holds {} of shape {}; it must be one row of float32", name_of(entry.dtype),
                            entry.shape.str()),
                "use a checkpoint written by training");
  std::vector<float> values(static_cast<size_t>(entry.shape[0]));
  load_checkpoint(path, {{entry.name, entry.shape, entry.dtype, values.data()}});
  return values;
}

/// The parts of each tensor's state that this rank holds.
void add_shards(const ParameterArena& arena, const Optimizer& optimizer, const std::string& prefix,
                float* states, std::vector<CheckpointTensor>& tensors) {
  for (const Segment& segment : arena.segments()) {
    if (segment.is_statistic()) continue;
    CheckpointTensor tensor{prefix + segment.name, segment.shape, DType::kFloat32};
    tensor.sharded = true;
    const std::vector<UpdateRange> whole{{segment.offset, segment.offset + segment.n_elements()}};
    for (const UpdateRange& part : within(whole, optimizer.own_ranges()))
      tensor.parts.push_back({part.begin - segment.offset, part.end - part.begin, states + part.state});
    tensors.push_back(std::move(tensor));
  }
}

}  // namespace

std::vector<CheckpointTensor> checkpoint_tensors(const ParameterArena& arena, Optimizer* optimizer,
                                                 Normalization& normalization, StateIn place) {
  const bool on_host = place == StateIn::kHost;
  std::vector<CheckpointTensor> tensors;
  const auto add_arena = [&](const std::string& prefix, float* base, bool statistics, int64_t n_elements) {
    for (const Segment& segment : arena.segments()) {
      if (segment.is_statistic() != statistics || segment.offset >= n_elements) continue;
      tensors.push_back({prefix + segment.name, segment.shape, DType::kFloat32, base + segment.offset});
    }
  };
  float* const weights = on_host ? arena.host().as<float>() : arena.weights();
  add_arena("/parameters/", weights, false, arena.n_elements());
  add_arena("/buffers/", weights, true, arena.n_elements());
  const auto add_states = [&](const Optimizer::Slot& slot) {
    const std::string prefix = "/optimizer/" + slot.name + "/";
    float* const states = on_host ? slot.host->as<float>() : slot.memory.as<float>();
    if (optimizer->is_sharded())
      add_shards(arena, *optimizer, prefix, states, tensors);
    else
      add_arena(prefix, states, false, optimizer->own_ranges().back().end);
  };
  if (optimizer) std::ranges::for_each(optimizer->slots(), add_states);
  const auto channels = static_cast<int64_t>(normalization.mean.size());
  if (channels > 0) {
    tensors.push_back({"/buffers/input.mean", {channels}, DType::kFloat32, normalization.mean.data()});
    tensors.push_back({"/buffers/input.stddev", {channels}, DType::kFloat32, normalization.stddev.data()});
  }
  return tensors;
}

std::vector<std::string> leave_absent_states(const std::string& path,
                                             std::vector<CheckpointTensor>& tensors) {
  std::set<std::string> stored, slots;
  const auto slot_of = [](const std::string& name) {
    constexpr std::string_view kPrefix = "/optimizer/";
    return name.starts_with(kPrefix) ? name.substr(0, name.find('/', kPrefix.size())) : std::string();
  };
  for (const CheckpointEntry& entry : list_checkpoint(path)) {
    stored.insert(entry.name);
    slots.insert(slot_of(entry.name));
  }
  std::vector<std::string> absent;
  std::erase_if(tensors, [&](const CheckpointTensor& tensor) {
    const std::string slot = slot_of(tensor.name);
    const bool was_frozen = !slot.empty() && slots.contains(slot) && !stored.contains(tensor.name) &&
                            stored.contains("/parameters" + tensor.name.substr(slot.size()));
    if (was_frozen) absent.push_back(tensor.name);
    return was_frozen;
  });
  return absent;
}

void add_residuals(const ParameterArena& arena, int64_t first, int64_t n_micro,
                   const std::vector<float*>& residuals, std::vector<CheckpointTensor>& tensors) {
  if (residuals.empty()) return;
  for (const Segment& segment : arena.segments()) {
    const int64_t n = segment.n_elements();
    std::vector<int64_t> extents{n_micro};
    extents.insert(extents.end(), segment.shape.begin(), segment.shape.end());
    CheckpointTensor tensor{"/feedback/" + segment.name, Shape(std::span<const int64_t>(extents)),
                            DType::kFloat32};
    tensor.sharded = true;
    for (size_t m = 0; m < residuals.size(); ++m)
      tensor.parts.push_back({(first + int64_t(m)) * n, n, residuals[m] + segment.offset});
    tensors.push_back(std::move(tensor));
  }
}

void add_carried_states(const CarriedStates& carried, int64_t first, int64_t n_micro,
                        const std::vector<float*>& states, std::vector<CheckpointTensor>& tensors) {
  for (const CarriedStates::State& state : carried.all()) {
    const int64_t n = state.shape.n_elements();
    CheckpointTensor tensor{"/state/" + state.name, state.shape.with_front(n_micro), DType::kFloat32};
    tensor.sharded = true;
    for (size_t m = 0; m < states.size(); ++m)
      tensor.parts.push_back({(first + int64_t(m)) * n, n, states[m] + state.offset});
    tensors.push_back(std::move(tensor));
  }
}

CheckpointInfo make_checkpoint_info(const Job& job, const TrainState& state, const DataContract& contract,
                                    const DataIdentity* data, int64_t steps_per_epoch) {
  CheckpointInfo info;
  info.step = state.step;
  info.epoch = state.step / steps_per_epoch;
  info.step_in_epoch = state.step % steps_per_epoch;
  info.seed = job.seed;
  info.job = job.text;
  info.numbers["best_step"] = static_cast<double>(state.best_step);
  info.numbers["best_value"] = state.best_value;
  info.numbers["validations_without_improvement"] =
      static_cast<double>(state.validations_without_improvement);
  if (state.early_stopping_value) info.numbers["early_stopping_value"] = *state.early_stopping_value;
  if (job.plateau) {
    info.numbers["plateau_rate_factor"] = state.plateau.rate_factor;
    if (state.plateau.best) info.numbers["plateau_best"] = *state.plateau.best;
    info.numbers["plateau_bad"] = static_cast<double>(state.plateau.n_bad);
    info.numbers["plateau_cooldown"] = static_cast<double>(state.plateau.cooldown);
  }
  info.numbers["mistakes"] = state.mistakes ? 1 : 0;
  info.numbers["finished"] = state.finished ? 1 : 0;
  if (state.follow_up) info.numbers["follow_up"] = 1;
  if (state.loss_scale) {
    info.numbers["loss_scale"] = state.loss_scale->now;
    info.numbers["loss_scale_next"] = state.loss_scale->next;
    info.numbers["loss_scale_good_steps"] = static_cast<double>(state.loss_scale->good_steps);
  }
  if (state.interval_samples > 0) {
    info.numbers["interval_loss"] = state.interval_loss;
    info.numbers[interval_key("accuracy")] = 0;  // of losses without one, too
    for (int64_t i = 0; i < job.metrics.size(); ++i)
      info.numbers[interval_key(job.metrics.all()[i].name)] = state.interval_metrics[i];
    info.numbers["interval_samples"] = static_cast<double>(state.interval_samples);
  }
  if (data) add_identity(*data, info);
  info.numbers["classes"] = static_cast<double>(contract.n_classes);
  info.texts["input_shape"] = join_shape(contract.input);
  if (!contract.class_names.empty()) {
    info.texts["class_names"] =
        fmt::format("{}", fmt::join(contract.class_names, std::string(1, kSeparator)));
  }
  for (size_t i = 0; i < contract.class_counts.size(); ++i)
    info.texts["class_counts_of_" + std::to_string(i)] =
        fmt::format("{}", fmt::join(contract.class_counts[i], ","));
  add_sequences(contract, info);
  return info;
}

TrainState read_train_state(const CheckpointInfo& info, const MetricList& metrics) {
  TrainState state;
  state.step = info.step;
  state.best_step = whole_number(info, "best_step", -1);
  state.best_value = number(info, "best_value", 0);
  state.validations_without_improvement = whole_number(info, "validations_without_improvement", 0);
  if (info.numbers.contains("early_stopping_value"))
    state.early_stopping_value = number(info, "early_stopping_value", 0);
  state.plateau.rate_factor = number(info, "plateau_rate_factor", 1);
  if (info.numbers.contains("plateau_best")) state.plateau.best = number(info, "plateau_best", 0);
  state.plateau.n_bad = whole_number(info, "plateau_bad", 0);
  state.plateau.cooldown = whole_number(info, "plateau_cooldown", 0);
  state.mistakes = number(info, "mistakes", 1) != 0;
  state.finished = number(info, "finished", 0) != 0;
  state.follow_up = number(info, "follow_up", 0) != 0;
  state.interval_loss = number(info, "interval_loss", 0);
  for (int64_t i = 0; i < metrics.size(); ++i)
    state.interval_metrics[i] = number(info, interval_key(metrics.all()[i].name), 0);
  state.interval_samples = static_cast<int64_t>(number(info, "interval_samples", 0));
  if (const double scale = number(info, "loss_scale", 0); scale > 0) {
    state.loss_scale = LossScale{scale, number(info, "loss_scale_next", scale),
                                 whole_number(info, "loss_scale_good_steps", 0)};
  }
  return state;
}

DataContract read_contract(const std::string& path, const CheckpointInfo& info) {
  DataContract contract;
  const auto shape = info.texts.find("input_shape");
  if (shape == info.texts.end()) {
    throw Error(path, "the checkpoint does not say what input its network reads",
                "use a checkpoint written by training");
  }
  contract.input = read_shape(path, shape->second);
  contract.n_classes = whole_number(info, "classes", 0);
  if (contract.n_classes < 0 || contract.n_classes > kMaxElements)
    throw Error(path, fmt::format("it counts {} classes", contract.n_classes),
                "use a checkpoint written by training");
  const auto names = info.texts.find("class_names");
  if (names != info.texts.end()) contract.class_names = split(names->second, kSeparator);
  for (const auto& [name, text] : info.texts) {
    constexpr std::string_view kShape = "shape_of_", kVocabulary = "vocabulary_of_",
                               kTokenizer = "tokenizer_of_";
    if (name.starts_with(kTokenizer)) contract.tokenizers[name.substr(kTokenizer.size())] = text;
    if (name.starts_with(kShape)) contract.inputs[name.substr(kShape.size())] = read_shape(path, text);
    if (name.starts_with(kVocabulary))
      contract.vocabularies[name.substr(kVocabulary.size())] = split_texts(text);
    if (name == "ragged" && number(info, "ragged", 0) > 0)
      for (const std::string& ragged : split_texts(text)) contract.ragged.insert(ragged);
  }

  for (size_t i = 0;; ++i) {
    const auto counts = info.texts.find("class_counts_of_" + std::to_string(i));
    if (counts == info.texts.end()) break;
    contract.class_counts.push_back(read_counts(path, counts->second));
  }

  for (const CheckpointEntry& entry : list_checkpoint(path)) {
    if (entry.name == "/buffers/input.mean") contract.normalization.mean = read_normalization(path, entry);
    if (entry.name == "/buffers/input.stddev")
      contract.normalization.stddev = read_normalization(path, entry);
  }
  if (contract.normalization.mean.size() != contract.normalization.stddev.size())
    throw Error(path, "its means and deviations of the input are not equally many",
                "use a checkpoint written by training");
  return contract;
}

std::string choose_checkpoint(Communicator& comm, const std::string& folder, const std::string& resume,
                              std::vector<std::string>& warnings) {
  std::string chosen;
  check_on_root(comm, [&] {
    if (resume != "auto") {
      if (!std::filesystem::exists(resume)) {
        throw Error(resume, "the checkpoint to resume from does not exist",
                    "list the run's checkpoints folder, or use --resume auto");
      }
      const std::vector<std::string> problems = verify_checkpoint(resume);
      if (!problems.empty()) {
        throw Error(resume, "the checkpoint is damaged: " + problems[0],
                    "resume from an earlier one, or use --resume auto");
      }
      chosen = resume;
      return;
    }
    std::vector<std::string> paths = list_checkpoints(folder);
    std::reverse(paths.begin(), paths.end());
    std::vector<std::string> damaged;
    for (const std::string& path : paths) {
      const std::vector<std::string> problems = verify_checkpoint(path);
      if (problems.empty()) {
        chosen = path;
        // Out of the way: counted among the newest, they would have the run's next checkpoints deleted.
        std::error_code ignored;
        for (const std::string& bad : damaged) std::filesystem::rename(bad, bad + ".damaged", ignored);
        return;
      }
      damaged.push_back(path);
      warnings.push_back(
          fmt::format("{} is damaged ({}); falling back to the one before", path, problems[0]));
    }
    if (!paths.empty()) {
      throw Error(folder, "none of its checkpoints is whole", "move the damaged files away to start over");
    }
  });
  return comm.broadcast_string(chosen);
}

}  // namespace lockstep
