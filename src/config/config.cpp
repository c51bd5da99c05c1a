#include "src/config/config.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>

#include "kernels/printable.h"
#include "src/config/config_tree.h"

namespace lockstep {

namespace {

std::string join_path(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}

/// What a message quotes of a text that may be long.
std::string shortened(const std::string& text) {
  constexpr size_t kMost = 120;
  return printable(text.size() <= kMost ? text : text.substr(0, kMost) + "…");
}

std::string describe(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (node.IsScalar()) return "'" + shortened(node.Scalar()) + "'";
  return "nothing";
}

/// Keys that hold one name with its options: optimizer: {sgd: {lr: 0.1}}.
const std::set<std::string> kNamedChoices = {"init", "loss", "optimizer", "schedule"};
/// Keys whose value alone stands for one option: batch: 64.
const std::map<std::string, std::string> kShorthands = {
    {"batch", "global"}, {"train", "path"}, {"validation", "path"}};

constexpr size_t kMaxFileBytes = 16 << 20, kMaxKeys = 50, kMaxKeyBytes = 200;

/// [+-]digits without a leading zero, within int64.
std::optional<int64_t> parse_decimal(std::string text) {
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.erase(0, 1);
  const std::string digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Another way to write a whole number, in decimal: "010" and "0x10" stay the writer's question; 1e3, 64.0
/// and 1_000 are plain. "" where there is no guess.
std::string whole_number_meant(std::string text) {
  std::erase(text, '_');
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const size_t first = text.find_first_not_of('0', sign);
  const bool is_digits =
      text.size() > sign && text.find_first_not_of("0123456789", sign) == std::string::npos;
  if (is_digits && first != std::string::npos && first > sign)
    return text.substr(0, sign) + text.substr(first);
  if (is_digits && parse_decimal(text)) return text;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !(std::abs(number) < 1e15) ||
      number != std::floor(number))
    return "";
  return fmt::format("{}", static_cast<int64_t>(number));
}

/// Where a '#' after a space stands outside quotes: YAML would drop it and what follows.
bool has_comment(const std::string& text) {
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quote != 0) {
      if (text[i] == '\\' && quote == '"')
        ++i;
      else if (text[i] == quote)
        quote = 0;
    } else if (text[i] == '"' || text[i] == '\'') {
      quote = text[i];
    } else if (text[i] == '#' && i > 0 && std::isspace(static_cast<unsigned char>(text[i - 1]))) {
      return true;
    }
  }
  return false;
}

/// The value of --set.
YAML::Node read_value(const std::string& given, const std::string& where) {
  const size_t begin = given.find_first_not_of(" \t\r\n"), end = given.find_last_not_of(" \t\r\n");
  if (begin == std::string::npos) return YAML::Node(YAML::NodeType::Null);
  const std::string text = given.substr(begin, end - begin + 1);
  const bool is_yaml = std::string_view("[{\"'").find(text[0]) != std::string_view::npos;
  try {
    const YAML::Node value = YAML::Load(text);
    if (is_yaml || value.IsMap() || value.IsSequence()) {
      if (has_comment(text))
        throw Error(where, "a '#' after a space begins a comment here", "quote the text that holds it");
      return value;
    }
    if (text == "~" || text == "null" || text == "Null" || text == "NULL") return value;
  } catch (const YAML::Exception& e) {
    if (is_yaml) throw Error(where, "the value is not valid YAML: " + e.msg, "see to quotes and brackets");
  }
  return YAML::Node(text);
}

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

Config::Config(YAML::Node node, std::string source, std::string path)
    : node_(std::make_shared<YAML::Node>(std::move(node))),
      source_(std::move(source)),
      path_(std::move(path)),
      asked_(std::make_shared<std::set<std::string>>()),
      assigned_(std::make_shared<std::vector<std::pair<std::string, std::string>>>()) {}

const YAML::Node& Config::tree() const { return *node_; }

Config Config::child(YAML::Node node, const std::string& path) const {
  Config config(std::move(node), source_, path);
  config.assigned_ = assigned_;
  return config;
}

Config Config::from_file(const std::string& path) {
  if (std::error_code status; std::filesystem::is_directory(path, status))
    throw Error(path, "is a folder, not a job file", "name the job file in it, for instance job.yaml");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path, "cannot open the job file", "check the path; jobs/ holds examples");
  std::string text;
  for (char block[4096]; file.read(block, sizeof block), file.gcount() > 0;) {
    text.append(block, static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes)
      throw Error(path, fmt::format("has more than {} bytes, which no job file has", kMaxFileBytes),
                  "see whether it is the file that is meant");
  }
  return from_text(text, path);
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
  const std::string where = "--set " + shortened(assignment);
  const size_t equals = assignment.find('=');
  const std::vector<std::string> keys = split_keys(assignment.substr(0, equals));
  if (equals == std::string::npos || keys.empty()) {
    throw Error(where, "expected KEY=VALUE", "for instance --set optimizer.lr=0.1");
  }
  if (keys.size() > kMaxKeys || equals > kMaxKeys * kMaxKeyBytes)
    throw Error(where, fmt::format("the key has more than {} parts or is too long", kMaxKeys),
                "name a key of docs/job-file.md, for instance --set optimizer.lr=0.1");
  const YAML::Node value = read_value(assignment.substr(equals + 1), where);
  check_tree(value, where);
  YAML::Node node = *node_;
  std::string path;
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    path = join_path(path, keys[i]);
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
      if (child[name].IsMap()) {
        child.reset(child[name]);
        path = join_path(path, name);
      }
    }
    node.reset(child);
  }
  node[keys.back()] = value;
  assigned_->emplace_back(join_path(path, keys.back()), where);
}

std::string Config::place(const YAML::Node& node, const std::string& path) const {
  for (auto assigned = assigned_->rbegin(); assigned != assigned_->rend(); ++assigned) {
    const auto& [key, assignment] = *assigned;
    const bool is_below = path.starts_with(key) &&
                          (path.size() == key.size() || path[key.size()] == '.' || path[key.size()] == '[');
    if (is_below) return path == key ? assignment : assignment + ": " + path;
  }
  const YAML::Mark mark = node.Mark();
  if (mark.is_null()) return path.empty() ? source_ : source_ + ": " + path;
  const std::string line = fmt::format("{}:{}", source_, mark.line + 1);
  return path.empty() ? line : line + ": " + path;
}

Error Config::error(const std::string& what, const std::string& remedy) const {
  return Error(place(tree(), path_), what, remedy);
}

Error Config::error_at(const std::string& key, const std::string& what, const std::string& remedy) const {
  const YAML::Node child = tree().IsMap() ? tree()[key] : YAML::Node();
  return Error(place(child && child.IsDefined() ? child : tree(), join_path(path_, key)), what, remedy);
}

Error Config::unknown_name(const std::string& kind, const std::string& plural, const std::string& name,
                           const std::vector<std::string>& known) const {
  const std::string near = nearest_word(name, known);
  return error(
      fmt::format("unknown {} '{}'{}", kind, name, near.empty() ? "" : "; did you mean '" + near + "'?"),
      fmt::format("known {}: {}", plural, fmt::join(known, ", ")));
}

bool Config::is_map() const { return tree().IsMap(); }
bool Config::is_list() const { return tree().IsSequence(); }
bool Config::is_scalar() const { return tree().IsScalar(); }

bool Config::has(const std::string& key) const {
  asked_->insert(key);
  if (!tree().IsMap()) return false;
  const YAML::Node child = tree()[key];
  return child.IsDefined() && !child.IsNull();
}

std::optional<Config> Config::find(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  return child(tree()[key], join_path(path_, key));
}

Config Config::at(const std::string& key) const {
  std::optional<Config> child = find(key);
  if (child) return *child;
  // A mis-spelt key explains a missing one.
  std::string hint = "add the key";
  if (tree().IsMap()) {
    std::vector<std::string> others;
    for (const std::string& other : keys()) {
      if (!asked_->count(other)) others.push_back(other);
    }
    const std::string near = nearest_word(key, others);
    if (!near.empty()) hint = fmt::format("add the key, or is '{}' meant to be '{}'?", near, key);
  }
  throw Error(place(tree(), path_), fmt::format("the key '{}' is missing", key), hint);
}

std::vector<Config> Config::items() const {
  if (!tree().IsSequence())
    throw error("expected a list, found " + describe(tree()), "write [a, b, …] or - lines");
  std::vector<Config> result;
  for (size_t i = 0; i < tree().size(); ++i) {
    result.push_back(child(tree()[i], fmt::format("{}[{}]", path_, i)));
  }
  return result;
}

std::vector<std::string> Config::keys() const {
  std::vector<std::string> result;
  if (tree().IsMap()) {
    for (const auto& item : tree()) result.push_back(item.first.as<std::string>());
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

/// Decimal digits only: YAML 1.1 reads 010 as 8 and 0x10 as 16, YAML 1.2 reads 010 as 10.
int64_t Config::whole_number(const std::string& key, const YAML::Node& node) const {
  if (!node.IsScalar()) return convert<int64_t>(key, node, "a whole number");
  const std::string& text = node.Scalar();
  const std::optional<int64_t> value = parse_decimal(text);
  if (value) return *value;
  const std::string meant = whole_number_meant(text);
  throw Error(place(node, join_path(path_, key)),
              fmt::format("expected a whole number, found {}", describe(node)),
              meant.empty() ? fmt::format("write {}: a whole number in decimal digits", key)
                            : fmt::format("write it in plain decimal digits: {}: {}", key, meant));
}

int64_t Config::get_int(const std::string& key) const { return whole_number(key, at(key).tree()); }
int64_t Config::get_int(const std::string& key, int64_t fallback) const {
  return has(key) ? get_int(key) : fallback;
}
double Config::get_double(const std::string& key) const {
  const double value = convert<double>(key, at(key).tree(), "a number");
  if (!std::isfinite(value))
    throw error_at(key, "the number is not finite", "write a decimal number, for instance 0.1 or 1e-3");
  return value;
}
double Config::get_double(const std::string& key, double fallback) const {
  return has(key) ? get_double(key) : fallback;
}
bool Config::get_bool(const std::string& key, bool fallback) const {
  return has(key) ? convert<bool>(key, at(key).tree(), "true or false") : fallback;
}
std::string Config::get_string(const std::string& key) const {
  return convert<std::string>(key, at(key).tree(), "a text");
}
std::string Config::get_string(const std::string& key, const std::string& fallback) const {
  return has(key) ? get_string(key) : fallback;
}

std::string Config::get_choice(const std::string& key, const std::string& fallback,
                               const std::vector<std::string>& choices) const {
  std::string value = get_string(key, fallback);
  const auto is_choice = [&](const std::string& word) {
    return std::find(choices.begin(), choices.end(), word) != choices.end();
  };
  if (is_choice(value)) return value;
  // yes, on, True … where true is a choice.
  if (bool flag = false; YAML::convert<bool>::decode(YAML::Node(value), flag)) {
    const std::string word = flag ? "true" : "false";
    if (is_choice(word)) return word;
  }
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
  for (const Config& item : child->items()) result.push_back(whole_number(key, item.tree()));
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
    result.push_back(convert<double>(key, item.tree(), "a number"));
    if (!std::isfinite(result.back()))
      throw item.error("the number is not finite", "write a decimal number, for instance 0.1 or 1e-3");
  }
  return result;
}

Config::Named Config::named() const {
  if (tree().IsScalar()) {
    return {tree().Scalar(), std::make_shared<Config>(child(YAML::Node(YAML::NodeType::Map), path_))};
  }
  if (tree().IsMap() && tree().size() == 1) {
    const std::string name = tree().begin()->first.as<std::string>();
    YAML::Node options = tree().begin()->second;
    if (options.IsNull()) options = YAML::Node(YAML::NodeType::Map);
    return {name, std::make_shared<Config>(child(options, join_path(path_, name)))};
  }
  throw error("expected one name, or one name with its options; found " + describe(tree()),
              "write name, or {name: {option: value}}");
}

void Config::positional(const std::string& key) {
  if (tree().IsMap() || tree().IsNull()) return;
  YAML::Node map(YAML::NodeType::Map);
  map[key] = tree();
  *node_ = map;
}

bool Config::is_name() const {
  double number = 0;
  return tree().IsScalar() && !YAML::convert<double>::decode(tree(), number);
}

std::string Config::text() const {
  if (!tree().IsScalar())
    throw error("expected a text, found " + describe(tree()), "write one word or a text in quotes");
  return tree().Scalar();
}

std::string Config::dump() const {
  YAML::Emitter out;
  out << tree();
  return std::string(out.c_str()) + "\n";
}

void Config::finish() const {
  if (!tree().IsMap() && !tree().IsNull()) {
    throw error("expected options, found " + describe(tree()), "write {option: value}");
  }
  std::set<std::string> seen;
  for (const auto& item : tree()) {
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
