// A value as text, and as the node of a job: a tree without lines, so that errors name the key alone.
#include "src/config/value.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "src/config/config.h"
#include "src/config/config_tree.h"

namespace lockstep {

namespace {

std::string number_text(double number) {
  if (std::isnan(number)) return ".nan";
  if (std::isinf(number)) return number > 0 ? ".inf" : "-.inf";
  const std::string text = fmt::format("{}", number);  // the shortest that reads back as the same
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

YAML::Node tree_of(const Value& value) {
  if (value.is_null()) return YAML::Node(YAML::NodeType::Null);
  if (const Value::List* list = value.as_list()) {
    YAML::Node node(YAML::NodeType::Sequence);
    for (const Value& item : *list) node.push_back(tree_of(item));
    return node;
  }
  if (const Value::Map* map = value.as_map()) {
    YAML::Node node(YAML::NodeType::Map);
    for (const auto& [key, member] : *map)
      node.force_insert(key, tree_of(member));  // a key given twice stays
    return node;
  }
  return YAML::Node(value.scalar());
}

}  // namespace

Value::Value(std::initializer_list<Value> items) {
  const auto is_member = [](const Value& item) {
    const List* pair = item.as_list();
    return pair && pair->size() == 2 && std::holds_alternative<std::string>(pair->front().held_);
  };
  if (items.size() == 0 || !std::all_of(items.begin(), items.end(), is_member)) {
    held_ = List(items);
    return;
  }
  Map map;
  for (const Value& item : items) {
    const List& pair = *item.as_list();
    map.emplace_back(std::get<std::string>(pair[0].held_), pair[1]);
  }
  held_ = std::move(map);
}

Value Value::list(List items) {
  Value value;
  value.held_ = std::move(items);
  return value;
}

Value Value::map(Map members) {
  Value value;
  value.held_ = std::move(members);
  return value;
}

Value& Value::operator[](const std::string& key) {
  if (is_null()) held_ = Map();
  Map* map = std::get_if<Map>(&held_);
  if (map == nullptr)
    throw Error("value", fmt::format("'{}' is asked of {}, which has no keys", key, text()),
                "write {{\"key\", value}, …} where keys are to be");
  for (auto& [own, value] : *map) {
    if (own == key) return value;
  }
  return map->emplace_back(key, Value()).second;
}

const Value* Value::find(const std::string& key) const {
  if (const Map* map = as_map()) {
    for (const auto& [own, value] : *map) {
      if (own == key) return &value;
    }
  }
  return nullptr;
}

void Value::add(Value item) {
  if (is_null()) held_ = List();
  List* list = std::get_if<List>(&held_);
  if (list == nullptr)
    throw Error("value", "an item is added to " + text() + ", which is no list",
                "write Value::list({item, …}) where a list is to be");
  list->push_back(std::move(item));
}

std::string Value::scalar() const {
  if (const bool* flag = std::get_if<bool>(&held_)) return *flag ? "true" : "false";
  if (const int64_t* number = std::get_if<int64_t>(&held_)) return fmt::format("{}", *number);
  if (const double* number = std::get_if<double>(&held_)) return number_text(*number);
  if (const std::string* text = std::get_if<std::string>(&held_)) return *text;
  throw Error("value", text() + " is no scalar", "take its items or members one by one");
}

std::string Value::text() const {
  std::string result;
  if (const List* list = as_list()) {
    for (const Value& item : *list) result += (result.empty() ? "[" : ", ") + item.text();
    return result.empty() ? "[]" : result + "]";
  }
  if (const Map* map = as_map()) {
    for (const auto& [key, value] : *map)
      result += (result.empty() ? "{" : ", ") + quoted(key) + ": " + value.text();
    return result.empty() ? "{}" : result + "}";
  }
  if (is_null()) return "null";
  if (const std::string* text = std::get_if<std::string>(&held_)) return quoted(*text);
  return scalar();
}

Config Config::from_value(const Value& value, const std::string& source) {
  const YAML::Node tree = tree_of(value);
  check_tree(tree, source);
  if (!tree.IsMap())
    throw Error(source, "is no map of keys", "begin with Value{{\"name\", \"digits\"}, {\"model\", …}, …}");
  return Config(tree, source, "");
}

}  // namespace lockstep
