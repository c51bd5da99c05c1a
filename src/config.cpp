#include "src/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "src/config_tree.h"

namespace lockstep {

namespace {

int64_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

std::string join_path(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}

std::string describe(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (node.IsScalar()) return "'" + node.Scalar() + "'";
  return "nothing";
}

/// Keys that hold one name with its options: optimizer: {sgd: {lr: 0.1}}.
const std::set<std::string> kNamedChoices = {"init", "loss", "optimizer", "schedule"};
/// Keys whose value alone stands for one option: batch: 64.
const std::map<std::string, std::string> kShorthands = {
    {"batch", "global"}, {"train", "path"}, {"validation", "path"}};

/// "a.b" -> {"a", "b"}; empty if a part is.
std::vector<std::string> split_keys(const std::string& text) {
  std::vector<std::string> keys;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    if (end == begin) return {};
    keys.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return keys;
}

}  // namespace

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  int64_t best_distance = std::max<int64_t>(2, static_cast<int64_t>(word.size()) / 2) + 1;
  for (const std::string& candidate : candidates) {
    const int64_t distance = edit_distance(word, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

Config::Config(YAML::Node node, std::string source, std::string path)
    : node_(std::move(node)),
      source_(std::move(source)),
      path_(std::move(path)),
      asked_(std::make_shared<std::set<std::string>>()) {}

Config Config::from_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(path, "cannot open the job file", "check the path; jobs/ holds examples");
  std::stringstream text;
  text << file.rdbuf();
  return from_text(text.str(), path);
}

Config Config::from_text(const std::string& text, const std::string& source) {
  try {
    YAML::Node node = YAML::Load(text);
    if (!node.IsMap()) throw Error(source, "the file is not a map of keys", "see docs/job-file.md");
    check_tree(node, source);
    return Config(node, source, "");
  } catch (const YAML::Exception& e) {
    throw Error(fmt::format("{}:{}", source, e.mark.line + 1), "not valid YAML: " + e.msg,
                "check indentation, colons and brackets on this line");
  }
}

void Config::set(const std::string& assignment) {
  const std::string where = "--set " + assignment;
  const size_t equals = assignment.find('=');
  const std::vector<std::string> keys = split_keys(assignment.substr(0, equals));
  if (equals == std::string::npos || keys.empty()) {
    throw Error(where, "expected KEY=VALUE", "for instance --set optimizer.lr=0.1");
  }
  YAML::Node value;
  try {
    value = YAML::Load(assignment.substr(equals + 1));
  } catch (const YAML::Exception& e) {
    throw Error(where, "the value is not valid YAML: " + e.msg, "quote it");
  }
  check_tree(value, where);
  YAML::Node node = node_;
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    YAML::Node child = node[keys[i]];
    const bool is_choice = i == 0 && kNamedChoices.count(keys[0]) > 0;
    if (!child || child.IsNull()) {
      child = node[keys[i]] = YAML::Node(YAML::NodeType::Map);
    } else if (child.IsSequence()) {
      throw Error(where, "a list cannot be entered by key", "set the whole list: --set key='[...]'");
    } else if (child.IsScalar() && (is_choice || kShorthands.count(keys[i]) > 0)) {
      YAML::Node map(YAML::NodeType::Map);
      if (is_choice) {
        map[child.Scalar()] = YAML::Node(YAML::NodeType::Map);  // optimizer: sgd  ->  optimizer: {sgd: {}}
      } else {
        map[kShorthands.at(keys[i])] = child.Scalar();  // batch: 64  ->  batch: {global: 64}
      }
      child = node[keys[i]] = map;
    } else if (child.IsScalar()) {
      throw Error(where, fmt::format("{} is {}, which has no keys", keys[i], describe(child)),
                  fmt::format("set it as a whole: --set {}='{{…}}'", keys[i]));
    }
    // Through the one name: optimizer.lr means optimizer.<name>.lr.
    if (is_choice && child.size() == 1 && !child[keys[1]]) {
      const std::string name = child.begin()->first.Scalar();
      if (child[name].IsNull()) child[name] = YAML::Node(YAML::NodeType::Map);
      if (child[name].IsMap()) child.reset(child[name]);
    }
    node.reset(child);
  }
  node[keys.back()] = value;
}

std::string Config::place(const YAML::Node& node, const std::string& path) const {
  const YAML::Mark mark = node.Mark();
  if (mark.is_null()) return path.empty() ? source_ : source_ + ": " + path;
  const std::string line = fmt::format("{}:{}", source_, mark.line + 1);
  return path.empty() ? line : line + ": " + path;
}

Error Config::error(const std::string& what, const std::string& remedy) const {
  return Error(place(node_, path_), what, remedy);
}

Error Config::error_at(const std::string& key, const std::string& what, const std::string& remedy) const {
  const YAML::Node child = node_.IsMap() ? node_[key] : YAML::Node();
  return Error(place(child && child.IsDefined() ? child : node_, join_path(path_, key)), what, remedy);
}

Error Config::unknown_name(const std::string& kind, const std::string& plural, const std::string& name,
                           const std::vector<std::string>& known) const {
  const std::string near = nearest_word(name, known);
  return error(
      fmt::format("unknown {} '{}'{}", kind, name, near.empty() ? "" : "; did you mean '" + near + "'?"),
      fmt::format("known {}: {}", plural, fmt::join(known, ", ")));
}

bool Config::has(const std::string& key) const {
  asked_->insert(key);
  if (!node_.IsMap()) return false;
  const YAML::Node child = node_[key];
  return child.IsDefined() && !child.IsNull();
}

std::optional<Config> Config::find(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  return Config(node_[key], source_, join_path(path_, key));
}

Config Config::at(const std::string& key) const {
  std::optional<Config> child = find(key);
  if (child) return *child;
  // A mis-spelt key explains a missing one.
  std::string hint = "add the key";
  if (node_.IsMap()) {
    std::vector<std::string> others;
    for (const std::string& other : keys()) {
      if (!asked_->count(other)) others.push_back(other);
    }
    const std::string near = nearest_word(key, others);
    if (!near.empty()) hint = fmt::format("add the key, or is '{}' meant to be '{}'?", near, key);
  }
  throw Error(place(node_, path_), fmt::format("the key '{}' is missing", key), hint);
}

std::vector<Config> Config::items() const {
  if (!node_.IsSequence())
    throw error("expected a list, found " + describe(node_), "write [a, b, …] or - lines");
  std::vector<Config> result;
  for (size_t i = 0; i < node_.size(); ++i) {
    result.push_back(Config(node_[i], source_, fmt::format("{}[{}]", path_, i)));
  }
  return result;
}

std::vector<std::string> Config::keys() const {
  std::vector<std::string> result;
  if (node_.IsMap()) {
    for (const auto& item : node_) result.push_back(item.first.as<std::string>());
  }
  return result;
}

template <typename T>
T Config::convert(const std::string& key, const YAML::Node& node, const char* wanted) const {
  if (node.IsScalar()) {
    try {
      return node.as<T>();
    } catch (const YAML::BadConversion&) {
    }
  }
  throw Error(place(node, join_path(path_, key)),
              fmt::format("expected {}, found {}", wanted, describe(node)),
              fmt::format("write {}: {}", key, wanted));
}

int64_t Config::get_int(const std::string& key) const {
  return convert<int64_t>(key, at(key).node_, "a whole number");
}
int64_t Config::get_int(const std::string& key, int64_t fallback) const {
  return has(key) ? get_int(key) : fallback;
}
double Config::get_double(const std::string& key) const {
  const double value = convert<double>(key, at(key).node_, "a number");
  if (!std::isfinite(value)) throw error_at(key, "the number is not finite");
  return value;
}
double Config::get_double(const std::string& key, double fallback) const {
  return has(key) ? get_double(key) : fallback;
}
bool Config::get_bool(const std::string& key, bool fallback) const {
  return has(key) ? convert<bool>(key, at(key).node_, "true or false") : fallback;
}
std::string Config::get_string(const std::string& key) const {
  return convert<std::string>(key, at(key).node_, "a text");
}
std::string Config::get_string(const std::string& key, const std::string& fallback) const {
  return has(key) ? get_string(key) : fallback;
}

std::string Config::get_choice(const std::string& key, const std::string& fallback,
                               const std::vector<std::string>& choices) const {
  const std::string value = get_string(key, fallback);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  const std::string near = nearest_word(value, choices);
  throw error_at(key,
                 fmt::format("'{}' is not a known choice{}", value,
                             near.empty() ? "" : "; did you mean '" + near + "'?"),
                 "choose one of: " + fmt::format("{}", fmt::join(choices, ", ")));
}

std::vector<int64_t> Config::get_ints(const std::string& key, const std::vector<int64_t>& fallback) const {
  const std::optional<Config> child = find(key);
  if (!child) return fallback;
  if (child->is_scalar()) return {get_int(key)};
  std::vector<int64_t> result;
  for (const Config& item : child->items())
    result.push_back(convert<int64_t>(key, item.node_, "a whole number"));
  return result;
}

std::vector<std::string> Config::get_strings(const std::string& key) const {
  const std::optional<Config> child = find(key);
  if (!child) return {};
  if (child->is_scalar()) return {child->text()};
  std::vector<std::string> result;
  for (const Config& item : child->items()) result.push_back(item.text());
  return result;
}

std::vector<double> Config::get_doubles(const std::string& key, const std::vector<double>& fallback) const {
  const std::optional<Config> child = find(key);
  if (!child) return fallback;
  std::vector<double> result;
  for (const Config& item : child->items()) {
    result.push_back(convert<double>(key, item.node_, "a number"));
    if (!std::isfinite(result.back())) throw item.error("the number is not finite");
  }
  return result;
}

Config::Named Config::named() const {
  if (node_.IsScalar()) {
    return {node_.Scalar(),
            std::make_shared<Config>(Config(YAML::Node(YAML::NodeType::Map), source_, path_))};
  }
  if (node_.IsMap() && node_.size() == 1) {
    const std::string name = node_.begin()->first.as<std::string>();
    YAML::Node options = node_.begin()->second;
    if (options.IsNull()) options = YAML::Node(YAML::NodeType::Map);
    return {name, std::make_shared<Config>(Config(options, source_, join_path(path_, name)))};
  }
  throw error("expected one name, or one name with its options; found " + describe(node_),
              "write name, or {name: {option: value}}");
}

void Config::positional(const std::string& key) {
  if (node_.IsMap() || node_.IsNull()) return;
  YAML::Node map(YAML::NodeType::Map);
  map[key] = node_;
  node_ = map;
}

bool Config::is_name() const {
  double number = 0;
  return node_.IsScalar() && !YAML::convert<double>::decode(node_, number);
}

std::string Config::text() const {
  if (!node_.IsScalar()) throw error("expected a text, found " + describe(node_));
  return node_.Scalar();
}

std::string Config::dump() const {
  YAML::Emitter out;
  out << node_;
  return std::string(out.c_str()) + "\n";
}

void Config::finish() const {
  if (!node_.IsMap() && !node_.IsNull()) {
    throw error("expected options, found " + describe(node_), "write {option: value}");
  }
  std::set<std::string> seen;
  for (const auto& item : node_) {
    const std::string key = item.first.as<std::string>();
    if (!seen.insert(key).second) {
      throw Error(place(item.first, join_path(path_, key)), fmt::format("the key '{}' is given twice", key),
                  "keep one of them");
    }
    if (asked_->count(key)) continue;
    const std::string near = nearest_word(key, {asked_->begin(), asked_->end()});
    throw error_at(
        key, fmt::format("unknown key '{}'{}", key, near.empty() ? "" : "; did you mean '" + near + "'?"),
        fmt::format("known keys here: {}", fmt::join(*asked_, ", ")));
  }
}

}  // namespace lockstep
