// Reads JSON (RFC 8259): one object whose members are scalars, nested ones kept as text; or a whole tree.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/files/metrics.h"

namespace lockstep {

/// null is read as NaN, which json_number() writes as null. Throws Error{"", what and at which
/// column} where `text` is not exactly one JSON object.
MetricsLine parse_json_object(std::string_view text);

struct JsonValue;
struct JsonMember;
using JsonArray = std::vector<JsonValue>;
using JsonMembers = std::vector<JsonMember>;  // in the order of the text

struct JsonValue {
  std::variant<std::monostate, bool, double, std::string, JsonArray, JsonMembers> value;  // monostate: null

  bool is_null() const { return std::holds_alternative<std::monostate>(value); }
  const bool* boolean() const { return std::get_if<bool>(&value); }
  const double* number() const { return std::get_if<double>(&value); }
  const std::string* text() const { return std::get_if<std::string>(&value); }
  const JsonArray* array() const { return std::get_if<JsonArray>(&value); }
  const JsonMembers* members() const { return std::get_if<JsonMembers>(&value); }
  /// The last member of that name; null where this is no object or has none.
  const JsonValue* find(std::string_view name) const;
};

/// A type of its own: a std::pair would have to be complete where JsonValue is declared.
struct JsonMember {
  std::string name;
  JsonValue value;
};

/// A JSON text of any kind, nested at most 100 deep. Throws Error{"", what and where}.
JsonValue parse_json(std::string_view text);

}  // namespace lockstep
