#include "src/network/keras_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <regex>
#include <utility>

namespace lockstep {

namespace {

/// Element i of axis d of the result is element i of axis axes[d] of `from`.
std::vector<float> permuted(const std::vector<float>& from, const Shape& shape,
                            const std::vector<int>& axes) {
  const auto rank = static_cast<size_t>(shape.rank());
  std::vector<int64_t> strides(rank, 1), extents(rank), steps(rank), at(rank, 0);
  for (size_t d = rank - 1; d > 0; --d) strides[d - 1] = strides[d] * shape[static_cast<int>(d)];
  for (size_t d = 0; d < rank; ++d) {
    extents[d] = shape[axes[d]];
    steps[d] = strides[static_cast<size_t>(axes[d])];
  }
  std::vector<float> to(from.size());
  for (float& value : to) {
    value = from[static_cast<size_t>(std::inner_product(at.begin(), at.end(), steps.begin(), int64_t{0}))];
    for (size_t d = rank; d-- > 0 && ++at[d] == extents[d];) at[d] = 0;
  }
  return to;
}

/// Keras' gates z, r, h are our r, z, n; those of an LSTM (i, f, c, o) stand as ours. `rows` of one gate.
std::vector<float> gates_in_order(std::vector<float> values, int64_t n_gates) {
  if (n_gates != 3) return values;
  const auto block = static_cast<int64_t>(values.size()) / 3;
  std::swap_ranges(values.begin(), values.begin() + block, values.begin() + block);
  return values;
}

struct KerasFile {
  const SafetensorsFile& file;
  std::map<std::string, const Segment*> wanted;
  std::vector<SourceTensor> tensors;

  using Change = std::function<std::vector<float>(std::vector<float>)>;

  void add(const SafetensorsEntry& entry, const std::string& name, const Shape& shape, Change change) {
    SourceTensor tensor;
    tensor.name = name;
    tensor.name_in_file = entry.name;
    tensor.shape = shape;
    tensor.read = [this_file = &file, entry, change = std::move(change)](float* dst) {
      std::vector<float> values(static_cast<size_t>(entry.shape.n_elements()));
      this_file->read(entry, values.data());
      values = change(std::move(values));
      std::copy(values.begin(), values.end(), dst);
    };
    tensors.push_back(std::move(tensor));
  }
  void add_as_it_is(const SafetensorsEntry& entry, const std::string& name) {
    add(entry, name, entry.shape, [](std::vector<float> values) { return values; });
  }
  void add_permuted(const SafetensorsEntry& entry, const std::string& name, const std::vector<int>& axes) {
    std::vector<int64_t> extents;
    for (const int axis : axes) extents.push_back(entry.shape[axis]);
    const Shape from = entry.shape;
    add(entry, name, Shape(std::span<const int64_t>(extents)),
        [from, axes](const std::vector<float>& values) { return permuted(values, from, axes); });
  }

  std::string short_name(const std::string& path) const;
  void take(const SafetensorsEntry& entry, const std::string& path);
  bool take_recurrent(const SafetensorsEntry& entry, const std::string& layer, const std::string& kind,
                      const std::string& place);
};

/// place: "_l0", "_l1_reverse", …
bool KerasFile::take_recurrent(const SafetensorsEntry& entry, const std::string& layer,
                               const std::string& kind, const std::string& place) {
  const auto known = wanted.find(layer + ".weight_hh" + place);
  if (known == wanted.end()) return false;
  const Shape& square = known->second->shape;  // (G H, H)
  const int64_t rows = square[0], n_gates = rows / square[1];
  const Shape from = entry.shape;
  if ((kind == "kernel" || kind == "recurrent_kernel") && from.rank() == 2) {
    const std::string name = layer + (kind == "kernel" ? ".weight_ih" : ".weight_hh") + place;
    add(entry, name, {from[1], from[0]}, [from, n_gates](const std::vector<float>& values) {
      return gates_in_order(permuted(values, from, {1, 0}), n_gates);
    });
    return true;
  }
  if (kind != "bias") return false;
  // One bias of all gates, or (reset_after) those of the input and of the hidden state.
  const bool has_both = from.rank() == 2;
  if (has_both ? from[0] != 2 || from[1] != rows : from.rank() != 1 || from[0] != rows) {
    add_as_it_is(entry, layer + ".bias_ih" + place);  // of another shape, which is told
    return true;
  }
  for (const bool is_hidden : {false, true}) {
    add(entry, layer + (is_hidden ? ".bias_hh" : ".bias_ih") + place, {rows},
        [=](const std::vector<float>& values) {
          if (is_hidden && !has_both) return std::vector<float>(static_cast<size_t>(rows), 0.0F);
          const auto begin = values.begin() + (is_hidden ? rows : 0);
          return gates_in_order({begin, begin + rows}, n_gates);
        });
  }
  return true;
}

/// Keras' paths, such as sequential.both.backward_lstm.lstm_cell.kernel, as LAYER.KIND[PLACE]: the model's
/// name, the cell's and the direction's are no layers of ours.
std::string KerasFile::short_name(const std::string& path) const {
  static const std::regex cell(R"(\.\w+_cell(?=\.))"), direction(R"(\.(forward|backward)_\w+\.(\w+)$)");
  std::string name = std::regex_replace(path, cell, "");
  std::smatch parts;
  if (std::regex_search(name, parts, direction))
    name = parts.prefix().str() + "." + parts[2].str() + (parts[1] == "backward" ? "_l0_reverse" : "_l0");
  const auto is_known = [&] {
    const std::string layer = name.substr(0, name.rfind('.') + 1);
    const auto next = wanted.lower_bound(layer);
    return next != wanted.end() && next->first.starts_with(layer);
  };
  if (is_known()) return name;
  const size_t at = name.find('.');
  const std::string all = std::exchange(name, at == std::string::npos ? name : name.substr(at + 1));
  return is_known() ? name : all;
}

void KerasFile::take(const SafetensorsEntry& entry, const std::string& path) {
  const std::string name = short_name(path);
  static const std::regex form(
      R"((.*)\.(kernel|depthwise_kernel|recurrent_kernel|bias|gamma|beta|moving_mean|moving_variance|embeddings)(_l\d+(?:_reverse)?)?)");
  std::smatch parts;
  if (!std::regex_match(name, parts, form)) return add_as_it_is(entry, name);
  const std::string layer = parts[1], kind = parts[2], place = parts[3];
  if (take_recurrent(entry, layer, kind, place.empty() ? "_l0" : place)) return;
  const int rank = entry.shape.rank();
  if (kind == "kernel" && rank == 2) return add_permuted(entry, layer + ".weight", {1, 0});
  if (kind == "kernel" && rank == 3) return add_permuted(entry, layer + ".weight", {2, 1, 0});
  const auto target = wanted.find(layer + ".weight");
  const bool is_depthwise =
      kind == "depthwise_kernel" ||
      (kind == "kernel" && target != wanted.end() && target->second->shape.rank() == 4 &&
       target->second->shape[1] == 1 && rank == 4 && entry.shape[2] > 1 &&
       target->second->shape[0] == entry.shape[2] * entry.shape[3]);
  if (kind == "kernel" && rank == 4 && !is_depthwise) {
    // (height, width, in, out) of a convolution, (height, width, out, in) of a transposed one, which are the
    // same order of axes here.
    return add_permuted(entry, layer + ".weight", {3, 2, 0, 1});
  }
  if (is_depthwise && rank == 4) {
    const Shape from = entry.shape;
    return add(entry, layer + ".weight", {from[2] * from[3], 1, from[0], from[1]},
               [from](const std::vector<float>& values) {
                 return permuted(values, from, {2, 3, 0, 1});
               });
  }
  const std::map<std::string, std::string> plain = {{"kernel", "weight"},
                                                    {"bias", "bias"},
                                                    {"gamma", "weight"},
                                                    {"beta", "bias"},
                                                    {"moving_mean", "running_mean"},
                                                    {"moving_variance", "running_var"},
                                                    {"embeddings", "weight"}};
  const auto known = plain.find(kind);
  add_as_it_is(entry, known == plain.end() ? name : layer + "." + known->second);
}

}  // namespace

std::vector<SourceTensor> keras_tensors(const SafetensorsFile& file, const ImportRules& rules,
                                        const ParameterArena& arena) {
  KerasFile keras{file, {}, {}};
  for (const Segment& segment : arena.segments()) keras.wanted[segment.name] = &segment;
  for (const SafetensorsEntry& entry : file.entries()) keras.take(entry, renamed(entry.name, rules));
  return std::move(keras.tensors);
}

}  // namespace lockstep
