#include "src/job/class_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

std::string list_of_names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 30;
  const std::vector<std::string> shown(names.begin(), names.begin() + long(std::min(kShown, names.size())));
  return printable(fmt::format("{} ({}", names.size(), fmt::join(shown, ", "))) +
         (names.size() > kShown ? ", …)" : ")");
}

void check_distinct(const std::string& path, const std::vector<std::string>& names) {
  std::map<std::string, size_t> first;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto [at, is_new] = first.emplace(names[i], i);
    if (!is_new)
      throw Error(path,
                  fmt::format("classes {} and {} are both called '{}'", at->second, i,
                              printable(names[i].substr(0, 60))),
                  "give each class a name of its own in class_names, or leave the attribute out");
  }
}

void check_class_names(const std::string& path, const std::vector<std::string>& names,
                       const std::vector<std::string>& trained) {
  if (names.empty() || trained.empty()) return;
  if (names.size() <= trained.size() && std::equal(names.begin(), names.end(), trained.begin())) return;
  throw Error(
      path,
      fmt::format("its class numbers mean other classes than those of training: {}, trained {}",
                  list_of_names(names), list_of_names(trained)),
      "convert it so that it has the classes of training in the same order (a CSV table: one conversion of "
      "both parts, with --skip and --limit), or correct its class_names");
}

}  // namespace lockstep
