#include "src/report/attention.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "kernels/error.h"
#include "src/report/html.h"

namespace lockstep {

namespace {

constexpr int kCell = 18, kLabel = 7;         // pixels: of a weight, and of a letter
constexpr int kSmallCell = 5, kCaption = 18;  // where there is no room for tokens
constexpr size_t kMostSteps = 200, kMostNamedSteps = 30;

struct Map {
  std::string name;
  std::vector<std::string> rows, columns;
  std::vector<std::vector<double>> weights;
};

/// Spaces and line ends as signs that can be seen.
std::string visible(const std::string& token) {
  if (token == " ") return "␣";
  if (token == "\n") return "⏎";
  return token;
}

/// Letters, not bytes.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::vector<Map> parse_maps(const std::string& path) {
  std::vector<Map> maps;
  try {
    for (const YAML::Node& node : YAML::LoadFile(path)["maps"]) {
      Map map{node["name"].as<std::string>(), node["rows"].as<std::vector<std::string>>(),
              node["columns"].as<std::vector<std::string>>(),
              node["weights"].as<std::vector<std::vector<double>>>()};
      bool fits = map.weights.size() == map.rows.size();
      for (const std::vector<double>& row : map.weights) fits = fits && row.size() == map.columns.size();
      if (!fits) throw Error(path, "its weights are not as many as its tokens", "delete the file");
      if (map.rows.size() <= kMostSteps && map.columns.size() <= kMostSteps) maps.push_back(std::move(map));
    }
  } catch (const YAML::Exception&) {
    throw Error(path, "is no attention.json of a run", "delete the file, or evaluate the run again");
  }
  return maps;
}

std::string map_cells(const Map& map, int left, int top, int cell) {
  std::string out;
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const int y = top + static_cast<int>(r) * cell;
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const double weight = std::clamp(map.weights[r][c], 0.0, 1.0);
      if (weight < 0.0005) continue;
      out += fmt::format(
          "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill-opacity=\"{:.3f}\"><title>{} → {}: {:.3f}"
          "</title></rect>",
          left + static_cast<int>(c) * cell, y, cell - 1, cell - 1, weight, html_escape(visible(map.rows[r])),
          html_escape(visible(map.columns[c])), weight);
    }
  }
  return out;
}

std::string svg_begin(int width, int height) {
  return fmt::format(
      "<svg class=\"attention\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" "
      "aria-label=\"Attention weights\">",
      width, height);
}

/// Of long sequences, of which there is one for each head: small cells under the head's name, no tokens but
/// those that the pointer shows.
std::string small_map_svg(const Map& map) {
  const int width = std::max(static_cast<int>(map.columns.size()) * kSmallCell,
                             static_cast<int>(width_of(map.name) + 1) * kLabel);
  const int height = kCaption + static_cast<int>(map.rows.size()) * kSmallCell;
  return svg_begin(width, height) + fmt::format("<text x=\"0\" y=\"12\">{}</text>", html_escape(map.name)) +
         map_cells(map, 0, kCaption, kSmallCell) + "</svg>\n";
}

std::string map_svg(const Map& map) {
  if (std::max(map.rows.size(), map.columns.size()) > kMostNamedSteps) return small_map_svg(map);
  size_t longest_row = 1, longest_column = 1;
  for (const std::string& token : map.rows) longest_row = std::max(longest_row, width_of(token));
  for (const std::string& token : map.columns) longest_column = std::max(longest_column, width_of(token));
  const int left = static_cast<int>(longest_row) * kLabel + 12;
  const int top = longest_column > 1 ? static_cast<int>(longest_column) * kLabel + 8 : 18;
  std::string out = svg_begin(left + static_cast<int>(map.columns.size()) * kCell,
                              top + static_cast<int>(map.rows.size()) * kCell);
  for (size_t c = 0; c < map.columns.size(); ++c) {
    const int x = left + static_cast<int>(c) * kCell + kCell / 2;
    const std::string turn =
        longest_column > 1 ? fmt::format(" transform=\"rotate(-90 {} {})\"", x + 4, top - 4) : "";
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\"{}>{}</text>",
                       longest_column > 1 ? x + 4 : x, top - 4, longest_column > 1 ? "start" : "middle", turn,
                       html_escape(visible(map.columns[c])));
  }
  for (size_t r = 0; r < map.rows.size(); ++r)
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", left - 6,
                       top + static_cast<int>(r) * kCell + kCell - 5, html_escape(visible(map.rows[r])));
  return out + map_cells(map, left, top, kCell) + "</svg>\n";
}

}  // namespace

std::string attention_html(const std::string& run_folder) {
  const std::string path = (std::filesystem::path(run_folder) / "attention.json").string();
  if (!std::filesystem::exists(path)) return "";
  const std::vector<Map> maps = parse_maps(path);
  if (maps.empty()) return "";
  std::string out =
      "<section class=\"card\">\n<h2>What it looked at</h2>\n<p class=\"note\">Attention weights of "
      "validation "
      "samples: a row for each token that was to be written, a column for each token that was read; each row "
      "adds up "
      "to 1.</p>\n<div class=\"attentions\">\n";
  for (const Map& map : maps) out += map_svg(map);
  return out + "</div>\n</section>\n";
}

}  // namespace lockstep
