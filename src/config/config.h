// Config: one node of a job file. Typed reads with defaults; every error names file, line,
// key and remedy. A node remembers which keys were asked for: finish() rejects the others
// and names the nearest known one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "src/config/nearest_word.h"
#include "src/config/value.h"

namespace YAML {
class Node;
}

namespace lockstep {

class Config {
 public:
  /// Parse errors and unreadable files throw Error with file and line.
  static Config from_file(const std::string& path);
  static Config from_text(const std::string& text, const std::string& source);
  /// A program's own description. Errors name `source` and the key.
  static Config from_value(const Value& value, const std::string& source);

  /// Applies "key.sub=value". A value that is a list, a map or quoted is YAML; anything else is the text as
  /// it stands, '#' included. Errors about the key name this assignment instead of the file. init, loss,
  /// optimizer and schedule hold one name with its options, where the name may be left out: optimizer.lr
  /// reaches optimizer.sgd.lr.
  void set(const std::string& assignment);

  bool has(const std::string& key) const;
  bool is_map() const;
  bool is_list() const;
  bool is_scalar() const;
  bool is_name() const;  // a scalar that is not a number

  /// Child nodes. at() throws when absent; find() gives nothing then.
  Config at(const std::string& key) const;
  std::optional<Config> find(const std::string& key) const;
  std::vector<Config> items() const;      // of a list
  std::vector<std::string> keys() const;  // of a map, in file order

  /// Scalars. Without a default an absent key throws.
  int64_t get_int(const std::string& key) const;
  int64_t get_int(const std::string& key, int64_t fallback) const;
  double get_double(const std::string& key) const;
  double get_double(const std::string& key, double fallback) const;
  bool get_bool(const std::string& key, bool fallback) const;
  std::string get_string(const std::string& key) const;
  std::string get_string(const std::string& key, const std::string& fallback) const;
  /// One of `choices`; else an error that lists them.
  std::string get_choice(const std::string& key, const std::string& fallback,
                         const std::vector<std::string>& choices) const;
  /// A list of integers, or one integer standing for a list of one.
  std::vector<int64_t> get_ints(const std::string& key, const std::vector<int64_t>& fallback) const;
  /// A list of numbers; `fallback` if the key is absent.
  std::vector<double> get_doubles(const std::string& key, const std::vector<double>& fallback) const;

  /// A list of words, or one word standing for a list of one; empty if the key is absent.
  std::vector<std::string> get_strings(const std::string& key) const;

  /// "name", {name: {options}} or {name: value}: the name and its options. A plain value
  /// becomes the option that positional() declares.
  struct Named {
    std::string name;
    std::shared_ptr<Config> options;
  };
  Named named() const;
  /// Lets a scalar node stand for {key: scalar}.
  void positional(const std::string& key);

  std::string text() const;  // of a scalar node
  std::string dump() const;  // the node as YAML
  /// Throws for keys that nobody asked for, for repeated keys, and for a value where options belong.
  void finish() const;

  /// An Error at this node's (or this key's) place.
  Error error(const std::string& what, const std::string& remedy = {}) const;
  Error error_at(const std::string& key, const std::string& what, const std::string& remedy = {}) const;
  /// The Error of a name that is none of `known`: "unknown loss 'l3'; did you mean 'l2'? … known losses: …".
  Error unknown_name(const std::string& kind, const std::string& plural, const std::string& name,
                     const std::vector<std::string>& known) const;
  std::string path() const { return path_; }  // "batch.global"

 private:
  Config(YAML::Node node, std::string source, std::string path);
  const YAML::Node& tree() const;  // constant: looking up a key does not make it
  std::string place(const YAML::Node& node, const std::string& path) const;
  Config child(YAML::Node node, const std::string& path) const;
  int64_t whole_number(const std::string& key, const YAML::Node& node) const;
  template <typename T>
  T convert(const std::string& key, const YAML::Node& node, const char* wanted) const;

  std::shared_ptr<YAML::Node> node_;
  std::string source_, path_;
  std::shared_ptr<std::set<std::string>> asked_;
  /// The paths that set() has changed, of the whole job file, and by which assignment; later ones count.
  std::shared_ptr<std::vector<std::pair<std::string, std::string>>> assigned_;
};

}  // namespace lockstep
