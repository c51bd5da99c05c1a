#include "src/network/layer_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "src/network/model_limits.h"

namespace lockstep {

namespace {

/// What a layer reads: a node or input already known, or a name that is looked up from its scope.
struct Reference {
  int known = -1;
  std::string name;
};

/// A list of layers: the whole model, or one repetition of a block.
struct Scope {
  int parent = -1;
  std::string prefix;     // "stage1.0."
  Reference block_input;  // what `input` means here, looked up in the scope around
  std::map<std::string, int> n_of_type;
};

struct Node {
  Config place;
  LayerDescription layer;
  std::string name;  // full
  int scope = 0;
  std::vector<Reference> reads;
  int recompute = -1;
  int first_vertex = -1, vertex = -1;  // of a layer that stands for several, all of them
  enum class State { kNew, kOpen, kDone } state = State::kNew;
};

/// So many layers may stand before what they read, one before another: each is one more call on the stack.
constexpr int kMaxOpen = 1000;

class LayerList {
 public:
  LayerList(Graph& graph, const Config& list) : graph_(graph) {
    n_inputs_ = graph.size();
    for (int v = 0; v < n_inputs_; ++v) names_[graph.vertex(v).name] = v;
    scopes_.push_back({-1, "", {0, ""}, {}});
    const Reference last = read_list(list, 0, {0, ""}, -1);
    for (int i = 0; i < static_cast<int>(nodes_.size()); ++i) add(i);
    for (const std::vector<int>& block : recomputed_) {
      std::vector<int> vertices;
      for (int node : block) {
        for (int v = nodes_[node].first_vertex; v <= nodes_[node].vertex; ++v) vertices.push_back(v);
      }
      graph.recompute(vertices);
    }
    graph.set_output(vertex_of(last.known));
  }

 private:
  // Ids: [0, n_inputs) inputs, then nodes.
  int id_of_node(int node) const { return n_inputs_ + node; }
  int vertex_of(int id) const { return id < n_inputs_ ? id : nodes_[id - n_inputs_].vertex; }

  void name_it(const std::string& name, int id, const Config& place) {
    if (!names_.emplace(name, id).second) {
      throw place.error(fmt::format("the name '{}' is used twice", name), "give each layer its own name");
    }
  }

  /// Reads the layers of one list; `before` is what the first one reads. Returns the last one.
  Reference read_list(const Config& list, int scope, Reference before, int recompute) {
    const std::vector<Config> items = list.items();
    if (items.empty()) throw list.error("the list is empty", "add layers");
    for (const Config& item : items) {
      const bool is_block = item.is_map() && item.has("block");
      before =
          is_block ? read_block(item, scope, before, recompute) : read_one(item, scope, before, recompute);
    }
    return before;
  }

  Reference read_one(const Config& item, int scope, const Reference& before, int recompute) {
    if (static_cast<int>(nodes_.size()) >= kMaxLayers)
      throw item.error(fmt::format("these are more than {} layers", kMaxLayers), "repeat blocks fewer times");
    Node node{item, read_layer(item), "", scope, {}, recompute};
    const std::string type = node.layer.layer->type();
    const int number = ++scopes_[scope].n_of_type[type];
    node.name =
        scopes_[scope].prefix + (node.layer.name.empty() ? type + std::to_string(number) : node.layer.name);
    for (const std::string& name : node.layer.from) node.reads.push_back({-1, name});
    if (node.reads.empty()) node.reads.push_back(before);
    const int index = static_cast<int>(nodes_.size());
    name_it(node.name, id_of_node(index), item);
    if (recompute >= 0) recomputed_[recompute].push_back(index);
    nodes_.push_back(std::move(node));
    return {id_of_node(index), ""};
  }

  Reference read_block(const Config& item, int scope, Reference before, int recompute) {
    const int number = ++scopes_[scope].n_of_type["block"];
    const std::string name =
        scopes_[scope].prefix + item.get_string("name", "block" + std::to_string(number));
    const int64_t repeat = item.get_int("repeat", 1);
    if (repeat < 1)
      throw item.error_at("repeat", fmt::format("must be at least 1, found {}", repeat),
                          "leave it out for 1");
    const bool recomputes = item.get_bool("recompute", false);
    const std::vector<std::string> from = item.get_strings("from");
    if (from.size() > 1)
      throw item.error_at("from", "a block reads one value", "let its layers name the others");
    if (!from.empty()) before = {-1, from[0]};
    const Config list = item.at("block");
    item.finish();
    for (int64_t i = 0; i < repeat; ++i) {
      const std::string prefix = item.has("repeat") ? fmt::format("{}.{}.", name, i) : name + ".";
      int block = recompute;
      if (recomputes && recompute < 0) {
        block = static_cast<int>(recomputed_.size());
        recomputed_.emplace_back();
      }
      const int inner = static_cast<int>(scopes_.size());
      scopes_.push_back({scope, prefix, before, {}});
      before = read_list(list, inner, {-1, "input"}, block);
      if (item.has("repeat")) name_it(fmt::format("{}.{}", name, i), before.known, item);
    }
    name_it(name, before.known, item);
    return before;
  }

  /// The id behind a reference that stands in `scope`; -1: there is none.
  int look_up(const Reference& reference, int scope) const {
    if (reference.known >= 0) return reference.known;
    for (int s = scope; s >= 0; s = scopes_[s].parent) {
      if (reference.name == "input" && scopes_[s].parent >= 0)
        return look_up(scopes_[s].block_input, scopes_[s].parent);
      const auto found = names_.find(scopes_[s].prefix + reference.name);
      if (found != names_.end()) return found->second;
    }
    return -1;
  }

  [[noreturn]] void refuse(const Reference& reference, int scope, const Node& reader) const {
    std::vector<std::string> known;
    for (const auto& [name, id] : names_) {
      known.push_back(name);
      const std::string& prefix = scopes_[scope].prefix;
      if (!prefix.empty() && name.starts_with(prefix)) known.push_back(name.substr(prefix.size()));
    }
    const std::string near = nearest_word(reference.name, known);
    throw reader.place.error(
        fmt::format("layer '{}' reads '{}', which does not exist", reader.name, reference.name),
        near.empty() ? "name a layer or an input of the model" : "did you mean '" + near + "'?");
  }

  /// Adds a node to the graph after all that it reads.
  void add(int index) {
    Node& node = nodes_[index];
    if (node.state == Node::State::kDone) return;
    if (node.state == Node::State::kOpen) {
      std::string cycle;
      for (auto at = std::find(open_.begin(), open_.end(), index); at != open_.end(); ++at)
        cycle += "'" + nodes_[*at].name + "' reads ";
      throw node.place.error("the layers form a cycle: " + cycle + "'" + node.name + "'",
                             "a layer cannot depend on its own output; change a `from`");
    }
    if (static_cast<int>(open_.size()) >= kMaxOpen)
      throw node.place.error(fmt::format("more than {} layers stand before what they read", kMaxOpen),
                             "list a layer after the layers that it reads");
    node.state = Node::State::kOpen;
    open_.push_back(index);
    std::vector<int> inputs;
    for (const Reference& reference : node.reads) inputs.push_back(need(reference, index));
    int shares = -1;
    if (!node.layer.shares.empty()) shares = need({-1, node.layer.shares}, index);
    const int weight_of = node.layer.weight_of.empty() ? -1 : need({-1, node.layer.weight_of}, index);
    open_.pop_back();
    nodes_[index].first_vertex = graph_.size();
    try {
      nodes_[index].vertex = graph_.add(node.name, node.layer.layer, inputs, shares);
      if (weight_of >= 0) graph_.tie(nodes_[index].vertex, weight_of);
    } catch (const Error& e) {
      throw node.place.error(e.where() + ": " + e.reason(), e.remedy());
    }
    nodes_[index].state = Node::State::kDone;
  }

  int need(const Reference& reference, int reader) {
    const int scope = nodes_[reader].scope;
    if (const int id = look_up(reference, scope); id >= 0) {
      if (id >= n_inputs_) add(id - n_inputs_);
      return vertex_of(id);
    }
    // NAME.OUTPUT: a further output of that layer, or of a part of it.
    for (size_t dot = reference.name.rfind('.'); dot != std::string::npos && dot > 0;
         dot = reference.name.rfind('.', dot - 1)) {
      const int id = look_up({-1, reference.name.substr(0, dot)}, scope);
      if (id < n_inputs_) continue;
      add(id - n_inputs_);
      const std::string name = nodes_[id - n_inputs_].name + reference.name.substr(dot);
      if (const int part = graph_.find(name); part >= 0) return part;
      const int owner = graph_.find(name.substr(0, name.rfind('.')));
      if (owner < 0 || !graph_.vertex(owner).layer) break;
      try {
        return graph_.output_of(owner, name.substr(name.rfind('.') + 1));
      } catch (const Error& e) {
        throw nodes_[reader].place.error(e.where() + ": " + e.reason(), e.remedy());
      }
    }
    refuse(reference, scope, nodes_[reader]);
  }

  Graph& graph_;
  int n_inputs_ = 0;
  std::vector<Node> nodes_;
  std::vector<Scope> scopes_;
  std::map<std::string, int> names_;  // full name -> id
  std::vector<std::vector<int>> recomputed_;
  std::vector<int> open_;  // nodes on the way, for the text of a cycle
};

}  // namespace

void add_layers(Graph& graph, const Config& list) { LayerList(graph, list); }

}  // namespace lockstep
