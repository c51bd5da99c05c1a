// A scan in a job file:
//   - scan:
//       over: {x: embedding1}               # the body's input x is step t of that sequence
//       with: {context: encoder.h_n}        # the same at every step
//       carry: {h: {shape: [128]}}          # begins with zeros; {from: LAYER}: with that; state: carried
//       body: [{concat: [x, h]}, {affine: {features: 128}}, {tanh: {name: new}}]
//       next: {h: new}                      # what the carry becomes; the body's last layer by itself
//       outputs: [new]                      # what each step gives; the body's last layer by itself
#include "src/network/scan.h"

#include <fmt/format.h>

#include "src/network/layer_list.h"
#include "src/network/layers/layers.h"

namespace lockstep {

namespace {

struct CarryDescription {
  std::string name, from, next;
  Shape shape;
  bool is_carried = false;
};

class ScanLayer : public Layer {
 public:
  explicit ScanLayer(const Config& options) : body_(options.at("body")) {
    for (const auto& [key, names] : {std::pair{"over", &over_}, std::pair{"with", &with_}}) {
      const std::optional<Config> map = options.find(key);
      if (!map) continue;
      for (const std::string& name : map->keys()) names->push_back({name, map->get_string(name)});
      map->finish();
    }
    if (over_.empty())
      throw options.error_at("over", "names no sequence", "for instance over: {x: embedding1}");
    if (const std::optional<Config> carries = options.find("carry")) {
      for (const std::string& name : carries->keys()) read_carry(*carries, name, options);
      carries->finish();
    }
    if (const std::optional<Config> next = options.find("next")) {
      for (CarryDescription& carry : carries_) carry.next = next->get_string(carry.name, "");
      next->finish();
    }
    outputs_ = options.get_strings("outputs");
    reversed_ = options.get_choice("direction", "forward", {"forward", "reversed"}) == "reversed";
    hoists_ = options.get_bool("hoist", true);
  }

  std::string type() const override { return "scan"; }
  int max_inputs() const override { return 1 << 20; }
  std::vector<std::string> reads() const override {
    std::vector<std::string> names;
    for (const auto* map : {&over_, &with_})
      for (const auto& [name, from] : *map) names.push_back(from);
    for (const CarryDescription& carry : carries_)
      if (!carry.from.empty()) names.push_back(carry.from);
    return names;
  }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }  // it expands
  std::unique_ptr<Op> lower(const LowerContext&) const override { return nullptr; }

  int expand(Graph& graph, const std::string& name, const std::vector<int>& inputs) const override {
    ScanBody body;
    ScanInputs around;
    around.reversed = reversed_;
    around.hoists = hoists_;
    auto next_input = inputs.begin();
    for (const auto& [input, from] : over_) {
      const Shape& sequence = graph.vertex(*next_input).shape;
      if (sequence.rank() < 1)
        throw Error("scan '" + name + "'", fmt::format("'{}' is no sequence", from),
                    "name a layer that gives (T, …)");
      body.sequences.push_back(body.graph.add_input(input, sequence.without_front()));
      around.sequences.push_back(*next_input++);
    }
    for (const auto& [input, from] : with_) {
      const int constant = body.graph.add_input(input, graph.vertex(*next_input).shape);
      if (graph.vertex(*next_input).lengths >= 0) body.graph.add_lengths(constant);
      body.constants.push_back(constant);
      around.constants.push_back(*next_input++);
    }
    for (const CarryDescription& carry : carries_) {
      const bool is_given = !carry.from.empty();
      const Shape shape = is_given ? graph.vertex(*next_input).shape : carry.shape;
      around.initial.push_back(is_given ? *next_input++ : -1);
      body.carries.push_back({body.graph.add_input(carry.name, shape), -1, carry.is_carried});
    }
    add_layers(body.graph, body_);
    const auto find = [&](const std::string& vertex) {
      if (vertex.empty()) return body.graph.output();
      const int found = body.graph.find(vertex);
      if (found < 0) {
        const std::string near = nearest_word(vertex, body.graph.names());
        throw body_.error(fmt::format("the body of scan '{}' has no layer '{}'", name, vertex),
                          near.empty() ? "name one of its layers" : "did you mean '" + near + "'?");
      }
      return found;
    };
    for (size_t c = 0; c < carries_.size(); ++c) body.carries[c].next = find(carries_[c].next);
    for (const std::string& output : outputs_) body.outputs.push_back(find(output));
    if (body.outputs.empty()) body.outputs.push_back(body.graph.output());
    return add_scan(graph, name, body, around);
  }

 private:
  void read_carry(const Config& carries, const std::string& name, const Config& options) {
    const Config one = carries.at(name);
    CarryDescription carry;
    carry.name = name;
    carry.from = one.get_string("from", "");
    const std::vector<int64_t> extents = one.get_ints("shape", {});
    if (carry.from.empty() == extents.empty())
      throw options.error_at("carry", fmt::format("'{}' needs a shape, or `from` and no shape", name),
                             "for instance h: {shape: [128]}, which begins with zeros, or h: {from: LAYER}");
    carry.shape = Shape(std::span<const int64_t>(extents));
    carry.is_carried = one.get_choice("state", "none", {"none", "carried"}) == "carried";
    if (carry.is_carried && (!carry.from.empty() || reversed_))
      throw options.error_at("carry", fmt::format("'{}' cannot be carried and begin elsewhere", name),
                             "give it a shape, and let the scan run forward");
    one.finish();
    carries_.push_back(carry);
  }

  Config body_;
  std::vector<std::pair<std::string, std::string>> over_, with_;  // the body's input, what it is outside
  std::vector<CarryDescription> carries_;
  std::vector<std::string> outputs_;
  bool reversed_ = false, hoists_ = true;
};

const bool scan_layer_registered =
    register_layer("scan", [](Config& options) { return std::make_shared<ScanLayer>(options); });

}  // namespace

}  // namespace lockstep
