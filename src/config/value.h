// Value: what a job file may hold, written in C++ by a program that has no such file:
//
//   Value job{{"name", "digits"}, {"model", {{"zoo", "lenet5"}, {"classes", 10}}}, {"batch", 64}};
//   job["train"]["epochs"] = 3;
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lockstep {

class Value {
 public:
  using List = std::vector<Value>;
  using Map = std::vector<std::pair<std::string, Value>>;  // keys in the order in which they were given

  Value() = default;  // null: the same as an absent key
  Value(std::nullptr_t) {}
  Value(std::same_as<bool> auto flag) : held_(flag) {}
  Value(std::integral auto number) requires(!std::same_as<decltype(number), bool>)
      : held_(static_cast<int64_t>(number)) {}
  Value(std::floating_point auto number) : held_(static_cast<double>(number)) {}
  Value(const char* text) : held_(std::string(text)) {}
  Value(std::string_view text) : held_(std::string(text)) {}
  Value(std::string text) : held_(std::move(text)) {}
  template <class T>
  Value(const std::vector<T>& items) : held_(List(items.begin(), items.end())) {}
  /// A map where every item is {text, value}, else a list. {} is null.
  Value(std::initializer_list<Value> items);
  /// A list, whatever its items look like; a map, which may be empty.
  static Value list(List items = {});
  static Value map(Map members = {});

  /// The value of a key, null where it is new. Null becomes a map; throws Error where this is something else.
  Value& operator[](const std::string& key);
  /// Null where this is no map with such a key. Of keys that are given twice the first.
  const Value* find(const std::string& key) const;
  /// Of a list, which null becomes; throws Error where this is something else.
  void add(Value item);

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(held_); }
  /// Null where it is none.
  const List* as_list() const { return std::get_if<List>(&held_); }
  const Map* as_map() const { return std::get_if<Map>(&held_); }
  /// The text of a scalar: digits, true, false, or the text itself. A double's reads back as the same double.
  std::string scalar() const;

  /// The whole as JSON on one line, which YAML 1.2 contains; infinite numbers as YAML has them (.inf, .nan).
  std::string text() const;

 private:
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, List, Map> held_;
};

}  // namespace lockstep
