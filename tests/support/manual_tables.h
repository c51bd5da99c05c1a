// The tables of the manual, for tests that hold them against what the program knows.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace lockstep {

/// The text of docs/NAME.
inline std::string read_manual(const std::string& name) {
  std::ifstream file(std::string(LOCKSTEP_SOURCE_DIR) + "/docs/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The lines under a heading: "## batch", or the page's own, "# The model zoo", up to the next one.
inline std::vector<std::string> section(const std::string& page, const std::string& heading) {
  std::stringstream text(page);
  std::vector<std::string> lines;
  bool inside = false;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("# ") || line.starts_with("## ")) inside = line == heading;
    if (inside) lines.push_back(line);
  }
  EXPECT_GT(lines.size(), 4u) << heading;
  return lines;
}

/// What stands in `backticks` in the given column of a section's tables; a.b counts as a, and behind " with "
/// follow options.
inline std::set<std::string> names_in(const std::string& page, const std::string& heading, int column) {
  std::set<std::string> names;
  for (const std::string& line : section(page, heading)) {
    if (!line.starts_with("| ")) continue;
    std::stringstream cells(line.substr(1));
    std::string cell;
    for (int i = 0; i <= column; ++i) std::getline(cells, cell, '|');
    cell = cell.substr(0, cell.find(" with "));
    for (size_t at = 0; (at = cell.find('`', at)) != std::string::npos;) {
      const size_t end = cell.find('`', at + 1);
      if (end == std::string::npos) break;
      const std::string name = cell.substr(at + 1, end - at - 1);
      names.insert(name.substr(0, name.find('.')));
      at = end + 1;
    }
  }
  return names;
}

/// The names of a table and those that are known are the same. And it is seen that a row less and a row more
/// would be found.
inline void expect_table(const std::string& page, const std::string& heading, int column,
                         const std::set<std::string>& known) {
  EXPECT_GT(known.size(), 1u) << heading;
  EXPECT_EQ(names_in(page, heading, column), known) << heading;
  const std::string last = *known.rbegin();
  std::string lacking = page, surplus = page;
  for (size_t at = 0; (at = lacking.find('`' + last, at)) != std::string::npos; ++at)
    lacking.replace(at + 1, last.size(), "zzzz");
  EXPECT_NE(names_in(lacking, heading, column), known) << heading << ": `" << last << "` is not missed";
  const size_t rule = surplus.find("\n|---|", surplus.find(heading + "\n")),
               end = surplus.find('\n', rule + 1);
  ASSERT_NE(rule, std::string::npos) << heading;
  std::string row = "\n";
  for (int i = 0; i <= column; ++i) row += "| `zzzz` ";
  surplus.insert(end, row + "|");
  EXPECT_NE(names_in(surplus, heading, column), known) << heading << ": `zzzz` is not found";
}

}  // namespace lockstep
