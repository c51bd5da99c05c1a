#include "src/network/scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "src/network/layers/layers.h"

namespace lockstep {

namespace {

class Unrolling {
 public:
  Unrolling(Graph& graph, const std::string& name, const ScanBody& body, const ScanInputs& inputs)
      : graph_(graph), name_(name), body_(body), inputs_(inputs), kind_(body.graph.size(), Kind::kStep) {
    whole_.assign(body.graph.size(), -1);
    split_.assign(body.graph.size(), -1);
    first_.assign(body.graph.size(), -1);
  }

  int run() {
    check();
    place_inputs();
    hoist();
    std::vector<int> carry = first_carries();
    const int64_t n_steps = graph_.vertex(inputs_.sequences[0]).shape[0];
    std::vector<std::vector<int>> outputs(body_.outputs.size());
    for (int64_t t = 0; t < n_steps; ++t) step(t, carry, outputs);
    for (size_t c = 0; c < carry.size(); ++c) {
      if (body_.carries[c].is_carried) graph_.set_state(states_[c], carry[c]);
    }
    int result = -1;
    for (size_t i = outputs.size(); i-- > 0;) {  // the value of the scan last
      const std::string name = i == 0 ? name_ : name_ + "." + body_.graph.vertex(body_.outputs[i]).name;
      result = join(name, outputs[i]);
      if (i > 0) graph_.show(result);
    }
    return result;
  }

 private:
  /// kStep: it depends on the carry; kSequence: on x_t; kConstant: on constants alone.
  enum class Kind { kConstant, kSequence, kStep };

  std::string in_scan(const std::string& name) const { return name_ + "." + name; }

  void check() const {
    const std::string where = "scan '" + name_ + "'";
    if (body_.sequences.empty()) throw Error(where, "it runs over no sequence", "name one: over: {x: LAYER}");
    for (const ScanBody::Carry& carry : body_.carries) {
      const Vertex &before = body_.graph.vertex(carry.input), &after = body_.graph.vertex(carry.next);
      if (before.shape != after.shape)
        throw Error(where,
                    fmt::format("the carry '{}' has shape {} before a step and {} behind it ('{}')",
                                before.name, before.shape.str(), after.shape.str(), after.name),
                    "let the body end with a value of the carry's shape, or give the carry that shape");
    }
    for (int v = 0; v < body_.graph.size(); ++v) {
      for (const ParameterSpec& spec : body_.graph.parameters(v)) {
        if (spec.role == ParameterSpec::Role::kStatistic)
          throw Error(where,
                      fmt::format("'{}' keeps running averages, which the steps of a sequence would mix",
                                  body_.graph.vertex(v).name),
                      "use layer_norm inside a scan, or put batch_norm before or behind it");
      }
    }
    const int64_t n_steps = graph_.vertex(inputs_.sequences[0]).shape[0];
    for (int v : inputs_.sequences) {
      if (graph_.vertex(v).shape[0] != n_steps)
        throw Error(where,
                    fmt::format("'{}' has {} steps, '{}' has {}", graph_.vertex(inputs_.sequences[0]).name,
                                n_steps, graph_.vertex(v).name, graph_.vertex(v).shape[0]),
                    "let it run over sequences of equal lengths");
    }
  }

  void place_inputs() {
    lengths_ = graph_.vertex(inputs_.sequences[0]).lengths;
    for (size_t i = 0; i < body_.sequences.size(); ++i) {
      int sequence = inputs_.sequences[i];
      if (inputs_.reversed)
        sequence = graph_.add(in_scan(body_.graph.vertex(body_.sequences[i]).name) + ".reversed",
                              reverse_steps_layer(), {sequence});
      kind_[body_.sequences[i]] = Kind::kSequence;
      whole_[body_.sequences[i]] = sequence;
    }
    for (size_t i = 0; i < body_.constants.size(); ++i) {
      const int constant = body_.constants[i];
      kind_[constant] = Kind::kConstant;
      whole_[constant] = inputs_.constants[i];
      if (const int lengths = body_.graph.vertex(constant).lengths; lengths >= 0) {
        kind_[lengths] = Kind::kConstant;
        whole_[lengths] = graph_.vertex(inputs_.constants[i]).lengths;
      }
    }
  }

  /// Computes for all steps at once what does not depend on the carry.
  void hoist() {
    for (int v = 0; v < body_.graph.size(); ++v) {
      const Vertex& vertex = body_.graph.vertex(v);
      if (!vertex.layer || vertex.output > 0) continue;
      Kind kind = Kind::kConstant;
      for (int i : vertex.inputs) kind = std::max(kind, kind_[i]);
      kind_[v] = kind;
      if (kind == Kind::kStep || !inputs_.hoists) {
        kind_[v] = Kind::kStep;
        continue;
      }
      std::shared_ptr<const Layer> layer = vertex.layer;
      if (kind == Kind::kSequence) layer = vertex.inputs.size() == 1 ? layer->over_steps() : nullptr;
      if (!layer) {
        kind_[v] = Kind::kStep;
        continue;
      }
      whole_[v] = add(in_scan(vertex.name), std::move(layer), v, [&](int i) { return whole_[i]; });
    }
  }

  std::vector<int> first_carries() {
    std::vector<int> carry;
    states_.assign(body_.carries.size(), -1);
    for (size_t c = 0; c < body_.carries.size(); ++c) {
      const Vertex& vertex = body_.graph.vertex(body_.carries[c].input);
      int first = inputs_.initial[c];
      if (body_.carries[c].is_carried || (first < 0 && graph_.carries_states()))
        first = states_[c] = graph_.add_state(in_scan(vertex.name), vertex.shape);
      if (first < 0) first = graph_.add_zeros(in_scan(vertex.name), vertex.shape);
      carry.push_back(first);
    }
    return carry;
  }

  /// The value of body vertex v at step t, where it is no layer of the step itself.
  int at_step(int v, int64_t t) {
    if (kind_[v] == Kind::kConstant) return whole_[v];
    if (split_[v] < 0)
      split_[v] = graph_.add(in_scan(body_.graph.vertex(v).name) + ".steps",
                             split_steps_layer(graph_.vertex(whole_[v]).shape[0]), {whole_[v]});
    return t == 0 ? split_[v] : graph_.output_of(split_[v], std::to_string(t));
  }

  void step(int64_t t, std::vector<int>& carry, std::vector<std::vector<int>>& outputs) {
    const int first = graph_.size();
    std::vector<int> now(body_.graph.size(), -1);
    for (size_t c = 0; c < carry.size(); ++c) now[body_.carries[c].input] = carry[c];
    const auto value = [&](int v) { return now[v] >= 0 ? now[v] : now[v] = at_step(v, t); };
    for (int v = 0; v < body_.graph.size(); ++v) {
      const Vertex& vertex = body_.graph.vertex(v);
      if (vertex.output > 0) {
        const int owner = value(vertex.inputs[0]);
        const auto names = body_.graph.vertex(vertex.inputs[0]).layer->further_outputs();
        now[v] = graph_.output_of(owner, names[static_cast<size_t>(vertex.output) - 1]);
      } else if (vertex.layer && kind_[v] == Kind::kStep) {
        now[v] = add(fmt::format("{}.{}.{}", name_, t, vertex.name), vertex.layer, v, value);
      }
    }
    for (size_t c = 0; c < carry.size(); ++c) {
      int next = value(body_.carries[c].next);
      if (lengths_ >= 0)
        next = graph_.add(
            fmt::format("{}.{}.{}.kept", name_, t, body_.graph.vertex(body_.carries[c].input).name),
            select_rows_layer(t), {next, carry[c], lengths_});
      carry[c] = next;
    }
    for (size_t i = 0; i < outputs.size(); ++i) outputs[i].push_back(value(body_.outputs[i]));
    for (int v = first; v < graph_.size(); ++v) graph_.set_scan_step(v, t);
  }

  /// Adds body vertex v, with the parameters of its first copy.
  template <typename Value>
  int add(const std::string& name, std::shared_ptr<const Layer> layer, int v, const Value& value) {
    const Vertex& vertex = body_.graph.vertex(v);
    std::vector<int> reads;
    for (int i : vertex.inputs) reads.push_back(value(i));
    // The graph puts lengths in by itself.
    const Layer::Lengths lengths = layer->lengths();
    if (lengths.of >= 0 && lengths.at < static_cast<int>(vertex.inputs.size()) &&
        body_.graph.vertex(vertex.inputs[lengths.at]).lengths_of >= 0)
      reads.erase(reads.begin() + lengths.at);
    const int owner = vertex.parameters_of;
    const bool has_parameters = !body_.graph.parameters(owner).empty();
    const int added = graph_.add(name, std::move(layer), reads, has_parameters ? first_[owner] : -1,
                                 in_scan(vertex.parameters_name));
    if (first_[v] < 0) first_[v] = added;
    if (vertex.weight_of >= 0 && first_[v] == added) graph_.tie(added, first_[vertex.weight_of]);
    return added;
  }

  int join(const std::string& name, const std::vector<int>& steps) {
    const bool turns = lengths_ >= 0 || inputs_.reversed;
    int joined = graph_.add(turns ? name + ".steps" : name, join_steps_layer(), steps);
    graph_.set_lengths(joined, lengths_);
    if (!turns) return joined;
    // Turned once it is in the order of the input; turned twice, only zero behind the end.
    if (!inputs_.reversed) joined = graph_.add(name + ".reversed", reverse_steps_layer(), {joined});
    return graph_.add(name, reverse_steps_layer(), {joined});
  }

  Graph& graph_;
  const std::string name_;
  const ScanBody& body_;
  const ScanInputs& inputs_;
  std::vector<Kind> kind_;
  std::vector<int> whole_;  // of body vertices that are no steps: the graph's vertex
  std::vector<int> split_;  // of those that are sequences: their steps
  std::vector<int> first_;  // of layers: the vertex whose parameters its copies use
  std::vector<int> states_;
  int lengths_ = -1;
};

}  // namespace

int add_scan(Graph& graph, const std::string& name, const ScanBody& body, const ScanInputs& inputs) {
  return graph.add_parts([&] { return Unrolling(graph, name, body, inputs).run(); });
}

}  // namespace lockstep
