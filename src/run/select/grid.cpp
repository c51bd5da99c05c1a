#include "src/run/select/grid.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <set>

#include "kernels/error.h"
#include "kernels/random.h"

namespace lockstep {

namespace {

constexpr int64_t kMostCells = 10'000;
constexpr const char* kGridExample = "write for instance --grid 'optimizer.sgd.lr=0.1,0.01'";
constexpr const char* kRangeExample =
    "write for instance --range 'optimizer.sgd.lr=log(1e-4,1)', uniform(A,B), int(A,B), or values by commas";

struct KeyValues {
  std::string key, text;            // text: behind the '='
  std::vector<std::string> values;  // its parts by commas
};

/// At commas that stand in no bracket, brace or quote.
std::vector<std::string> split_values(const std::string& text) {
  std::vector<std::string> values{""};
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '[' || c == '{' || c == '(') {
      ++depth;
    } else if (c == ']' || c == '}' || c == ')') {
      --depth;
    } else if (c == ',' && depth == 0) {
      values.emplace_back();
      continue;
    }
    values.back() += c;
  }
  return values;
}

KeyValues read_key_values(const std::string& option, const std::string& text, const char* example) {
  const size_t equal = text.find('=');
  KeyValues read;
  if (equal == std::string::npos || equal == 0)
    throw Error(option + " " + text, "has no KEY= in front of its values", example);
  read.key = text.substr(0, equal);
  read.text = text.substr(equal + 1);
  read.values = split_values(read.text);
  std::set<std::string> seen;
  for (const std::string& value : read.values) {
    if (value.empty()) throw Error(option + " " + text, "has an empty value", example);
    if (!seen.insert(value).second)
      throw Error(option + " " + text, "names '" + value + "' twice", "give each value once");
  }
  return read;
}

/// How a value of a range is drawn from u in (0, 1).
struct Range {
  KeyValues given;
  enum class Kind { kList, kUniform, kLog, kInt } kind = Kind::kList;
  double low = 0, high = 0;

  std::string value(double u) const {
    switch (kind) {
      case Kind::kUniform: return fmt::format("{:.6g}", low + u * (high - low));
      case Kind::kLog: return fmt::format("{:.6g}", low * std::pow(high / low, u));
      case Kind::kInt: return fmt::format("{:.0f}", std::floor(low + u * (high - low + 1)));
      case Kind::kList: break;
    }
    return given.values[static_cast<size_t>(u * static_cast<double>(given.values.size()))];
  }
};

bool read_number(const std::string& text, double& value) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc{} && read.ptr == text.data() + text.size() && std::isfinite(value);
}

Range read_range(const std::string& text) {
  Range range;
  range.given = read_key_values("--range", text, kRangeExample);
  const std::string& words = range.given.text;
  for (const auto& [name, kind] : {std::pair{"uniform(", Range::Kind::kUniform},
                                   {"log(", Range::Kind::kLog},
                                   {"int(", Range::Kind::kInt}}) {
    if (!words.starts_with(name)) continue;
    range.kind = kind;
    const std::string inside = words.substr(std::string(name).size());
    const size_t comma = inside.find(',');
    const bool is_read = words.ends_with(')') && comma != std::string::npos &&
                         read_number(inside.substr(0, comma), range.low) &&
                         read_number(inside.substr(comma + 1, inside.size() - comma - 2), range.high);
    if (!is_read || !(range.low < range.high))
      throw Error("--range " + text, "is not two numbers, the smaller one first", kRangeExample);
    if (kind == Range::Kind::kLog && range.low <= 0)
      throw Error("--range " + text, "has no logarithm: its ends are not above 0", kRangeExample);
    if (kind == Range::Kind::kInt &&
        (range.low != std::floor(range.low) || range.high != std::floor(range.high)))
      throw Error("--range " + text, "has ends that are no whole numbers", kRangeExample);
    return range;
  }
  return range;
}

}  // namespace

std::vector<Trial> sweep_cells(const std::vector<std::string>& grid, const std::vector<std::string>& ranges,
                               int64_t n_random, uint64_t seed) {
  if (grid.empty() && ranges.empty()) throw Error("sweep", "has neither a grid nor ranges", kGridExample);
  if (ranges.empty() != (n_random == 0))
    throw Error("sweep",
                ranges.empty() ? "--random draws from ranges, and there is none"
                               : "--range is drawn from --random times, which is missing",
                "give --random 20 together with --range 'optimizer.sgd.lr=log(1e-4,1)'");
  std::vector<KeyValues> lists;
  std::vector<Range> drawn;
  for (const std::string& text : grid) lists.push_back(read_key_values("--grid", text, kGridExample));
  for (const std::string& text : ranges) drawn.push_back(read_range(text));
  std::set<std::string> keys;
  const auto check_key = [&](const std::string& key) {
    if (!keys.insert(key).second) throw Error("sweep", "changes " + key + " twice", "name each key once");
  };
  for (const KeyValues& list : lists) check_key(list.key);
  for (const Range& range : drawn) check_key(range.given.key);
  double n_all = static_cast<double>(std::max<int64_t>(1, n_random));
  for (const KeyValues& list : lists) n_all *= static_cast<double>(list.values.size());
  if (n_all > static_cast<double>(kMostCells))
    throw Error("sweep", fmt::format("{:.0f} cells are more than {}", n_all, kMostCells),
                "give fewer values, or draw at random: --random 50");
  std::vector<Trial> cells;
  std::vector<size_t> at(lists.size());
  for (bool goes_on = true; goes_on;) {
    for (int64_t draw = 0; draw < std::max<int64_t>(1, n_random); ++draw) {
      Trial cell;
      cell.name = fmt::format("cell-{}", cells.size() + 1);
      for (size_t l = 0; l < lists.size(); ++l)
        cell.assignments.push_back(lists[l].key + "=" + lists[l].values[at[l]]);
      for (size_t r = 0; r < drawn.size(); ++r) {
        const RandomStream random(seed ^ hash_name("sweep"), RandomPurpose::kSampling,
                                  static_cast<uint32_t>(r), static_cast<uint64_t>(draw));
        cell.assignments.push_back(drawn[r].given.key + "=" +
                                   drawn[r].value((random.bits(0) + 0.5) * 0x1p-32));
      }
      cells.push_back(std::move(cell));
    }
    goes_on = false;
    for (size_t l = lists.size(); l-- > 0 && !goes_on;) {
      goes_on = ++at[l] < lists[l].values.size();
      if (!goes_on) at[l] = 0;
    }
  }
  return cells;
}

}  // namespace lockstep
