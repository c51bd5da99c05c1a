#include "io/convert/split_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "io/loader/sampler.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

constexpr const char* kSplitExample = "write for instance --into train=0.8,validation=0.1,test=0.1";

/// The sizes of parts of n rows: the whole numbers below, and one more for those with the largest rests, the
/// earlier of equal ones.
std::vector<int64_t> whole_sizes(const std::vector<SplitPart>& parts, int64_t n) {
  std::vector<int64_t> sizes;
  std::vector<std::pair<double, size_t>> rests;
  for (size_t p = 0; p < parts.size(); ++p) {
    const double exact = parts[p].share * static_cast<double>(n);
    sizes.push_back(parts[p].share > 0 ? static_cast<int64_t>(std::floor(exact + 1e-9)) : parts[p].count);
    rests.emplace_back(-(exact - static_cast<double>(sizes[p])), p);
  }
  if (parts[0].share == 0) return sizes;
  std::sort(rests.begin(), rests.end());
  int64_t left = n - std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  for (size_t i = 0; left > 0; ++i, --left) ++sizes[rests[i % rests.size()].second];
  return sizes;
}

using PartRows = std::vector<std::vector<int64_t>>;

PartRows cut_order(const std::vector<int64_t>& order, const std::vector<int64_t>& sizes) {
  PartRows rows;
  auto at = order.begin();
  for (const int64_t size : sizes) {
    rows.emplace_back(at, at + size);
    at += size;
  }
  return rows;
}

/// Class by class: of each part the whole rows of its share, and the rows that are left over, one at most to
/// a part, where most is missing by then over all classes so far. So no part is rounded up in every class.
PartRows cut_classes(const SplitRules& rules, const std::vector<int64_t>& order,
                     const std::vector<int64_t>& sizes) {
  const auto n = static_cast<double>(order.size());
  std::vector<double> shares;  // the last one: of rows that are in no part
  for (const int64_t size : sizes) shares.push_back(static_cast<double>(size) / n);
  if (rules.parts[0].share > 0)
    for (size_t p = 0; p < sizes.size(); ++p) shares[p] = rules.parts[p].share;
  shares.push_back(std::max(0.0, 1 - std::accumulate(shares.begin(), shares.end(), 0.0)));
  if (shares.back() < 1e-9) shares.back() = 0;
  std::map<int64_t, std::vector<int64_t>> members;
  for (const int64_t row : order) members[rules.labels[static_cast<size_t>(row)]].push_back(row);
  PartRows rows(shares.size());
  double n_seen = 0;
  for (const auto& [label, in_class] : members) {
    const auto n_class = static_cast<int64_t>(in_class.size());
    n_seen += static_cast<double>(n_class);
    std::vector<int64_t> take;
    std::vector<std::pair<double, size_t>> missing;
    for (size_t p = 0; p < shares.size(); ++p) {
      take.push_back(static_cast<int64_t>(std::floor(shares[p] * static_cast<double>(n_class) + 1e-9)));
      const double exact = shares[p] * static_cast<double>(n_class);
      if (exact - static_cast<double>(take[p]) > 1e-9)  // where nothing is left over, none is added
        missing.emplace_back(
            static_cast<double>(rows[p].size()) + static_cast<double>(take[p]) - shares[p] * n_seen, p);
    }
    std::sort(missing.begin(), missing.end());
    int64_t left = n_class - std::accumulate(take.begin(), take.end(), int64_t{0});
    for (size_t i = 0; i < missing.size() && left > 0; ++i, --left) ++take[missing[i].second];
    take[0] += left;  // rounding of shares that sum to one within 1e-9
    auto at = in_class.begin();
    for (size_t p = 0; p < shares.size(); ++p) {
      rows[p].insert(rows[p].end(), at, at + take[p]);
      at += take[p];
    }
  }
  rows.pop_back();
  return rows;
}

/// Large groups first, each to the part that lacks most; equal ones in the order of the permutation.
PartRows cut_groups(const SplitRules& rules, const std::vector<int64_t>& order,
                    std::vector<int64_t> lacking) {
  const auto n = static_cast<int64_t>(order.size());
  lacking.push_back(n - std::accumulate(lacking.begin(), lacking.end(), int64_t{0}));
  std::map<int64_t, std::vector<int64_t>> members;
  std::vector<int64_t> groups;  // as met
  for (const int64_t row : order) {
    std::vector<int64_t>& rows = members[rules.groups[static_cast<size_t>(row)]];
    if (rows.empty()) groups.push_back(rules.groups[static_cast<size_t>(row)]);
    rows.push_back(row);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [&](int64_t a, int64_t b) { return members[a].size() > members[b].size(); });
  PartRows rows(lacking.size());
  for (const int64_t group : groups) {
    const auto part = static_cast<size_t>(std::max_element(lacking.begin(), lacking.end()) - lacking.begin());
    rows[part].insert(rows[part].end(), members[group].begin(), members[group].end());
    lacking[part] -= static_cast<int64_t>(members[group].size());
  }
  rows.pop_back();
  return rows;
}

void check_classes(const SplitRules& rules, const PartRows& rows) {
  std::map<int64_t, std::vector<int64_t>> counts;  // per part
  for (const int64_t label : rules.labels) counts[label].assign(rows.size(), 0);
  for (size_t p = 0; p < rows.size(); ++p)
    for (const int64_t row : rows[p]) ++counts[rules.labels[static_cast<size_t>(row)]][p];
  for (const auto& [label, of_parts] : counts) {
    if (std::find(of_parts.begin(), of_parts.end(), 0) == of_parts.end()) continue;
    std::string text;
    for (size_t p = 0; p < rows.size(); ++p)
      text += fmt::format("{}{} {}", p ? ", " : "", rules.parts[p].name, of_parts[p]);
    const bool is_named = label >= 0 && label < static_cast<int64_t>(rules.class_names.size());
    const std::string name = is_named ? "'" + printable(rules.class_names[static_cast<size_t>(label)]) + "'"
                                      : std::to_string(label);
    throw Error("split", fmt::format("class {} would have no sample in a part: {}", name, text),
                rules.rule == SplitRule::kRandom
                    ? "add --stratify, give larger parts, or say --may-be-empty"
                    : "give larger parts or more samples of the class, or say --may-be-empty");
  }
}

}  // namespace

std::vector<SplitPart> read_split_parts(const std::string& text) {
  std::vector<SplitPart> parts;
  std::set<std::string> names;
  double sum = 0;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size()), equal = std::min(text.find('=', at), end);
    SplitPart part;
    part.name = text.substr(at, equal - at);
    const std::string size = equal < end ? text.substr(equal + 1, end - equal - 1) : "";
    double value = 0;
    const auto read = std::from_chars(size.data(), size.data() + size.size(), value);
    if (part.name.empty() || read.ec != std::errc{} || read.ptr != size.data() + size.size() ||
        !(value > 0) || (value >= 1 && (value != std::floor(value) || value > 1e15)))
      throw Error("--into " + printable(text),
                  "is no list of NAME=SHARE (below 1) or NAME=COUNT (whole numbers)", kSplitExample);
    if (part.name.find_first_of("/\\") != std::string::npos || part.name[0] == '.' ||
        part.name != printable(part.name))
      throw Error("--into " + printable(text), "names a part that cannot be a folder's name", kSplitExample);
    if (!names.insert(part.name).second)
      throw Error("--into " + text, "names '" + part.name + "' twice", "give each part a name of its own");
    if (value < 1)
      part.share = value;
    else
      part.count = static_cast<int64_t>(value);
    sum += part.share;
    parts.push_back(part);
    at = end + 1;
  }
  if (parts.size() < 2) throw Error("--into " + text, "names one part only", kSplitExample);
  const bool has_shares = std::any_of(parts.begin(), parts.end(), [](const auto& p) { return p.share > 0; });
  const bool has_counts = std::any_of(parts.begin(), parts.end(), [](const auto& p) { return p.count > 0; });
  if (has_shares && has_counts)
    throw Error("--into " + text, "mixes shares and counts",
                "give either shares below 1 or numbers of samples");
  if (has_shares && std::abs(sum - 1) > 1e-9)
    throw Error("--into " + text, fmt::format("has shares that sum to {:.6g}, not 1", sum), kSplitExample);
  return parts;
}

std::vector<std::vector<int64_t>> split_rows(const SplitRules& rules, int64_t n_rows) {
  const std::vector<int64_t> sizes = whole_sizes(rules.parts, n_rows);
  const int64_t n_asked = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  if (n_asked > n_rows)
    throw Error("split", fmt::format("the parts ask for {} samples of {}", n_asked, n_rows),
                "give smaller counts, or shares");
  std::vector<int64_t> order(static_cast<size_t>(n_rows));
  Sampler(n_rows, rules.seed, {rules.rule != SplitRule::kInOrder}).samples_at(0, 0, n_rows, order.data());
  PartRows rows = rules.rule == SplitRule::kStratified ? cut_classes(rules, order, sizes)
                  : rules.rule == SplitRule::kGrouped  ? cut_groups(rules, order, sizes)
                                                       : cut_order(order, sizes);
  for (size_t p = 0; p < rows.size(); ++p) {
    if (rows[p].empty())
      throw Error("split", fmt::format("part '{}' of {} samples would be empty", rules.parts[p].name, n_rows),
                  rules.rule == SplitRule::kGrouped ? "give a larger share, or data of more groups"
                                                    : "give a larger share, or more data");
    std::sort(rows[p].begin(), rows[p].end());
  }
  if (!rules.labels.empty() && !rules.may_be_empty) check_classes(rules, rows);
  return rows;
}

}  // namespace lockstep
