// Finds the first layer in a checkpoint and draws its filters.
#include "src/report/filters.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "kernels/error.h"
#include "src/report/html.h"

namespace lockstep {
namespace {

constexpr int64_t kMostFilters = 128, kMostDense = 64;

bool looks_late(const std::string& name) {
  std::string lower;
  for (const char c : name) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* word : {"decod", "transpos", "deconv", "upconv", "upsampl"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

bool comes_before(const CheckpointEntry& a, const CheckpointEntry& b) {
  if (looks_late(a.name) != looks_late(b.name)) return looks_late(b.name);
  return natural_less(a.name, b.name);
}

bool is_parameter(const CheckpointEntry& entry) {
  return entry.dtype == DType::kFloat32 && entry.name.find("parameters/") <= 1;
}

/// Weights (O, I) of a dense layer as (O, C, H, W), or rank 0 if I is no image.
Shape dense_as_images(const Shape& shape, const ImageInput& input) {
  const int64_t n = shape[1];
  if (input.channels * input.height * input.width > 0) {
    if (n != input.channels * input.height * input.width) return {};
    if (input.channels != 1 && input.channels != 3) return {};
    return {shape[0], input.channels, input.height, input.width};
  }
  for (const int64_t c : {int64_t{1}, int64_t{3}}) {
    const auto side =
        static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(n) / static_cast<double>(c))));
    if (side >= 4 && c * side * side == n) return {shape[0], c, side, side};
  }
  return {};
}

std::vector<int64_t> whole_numbers(const std::string& text) {
  std::vector<int64_t> numbers;
  bool inside = false;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (digit && !inside) numbers.push_back(0);
    if (digit) numbers.back() = numbers.back() * 10 + (c - '0');
    inside = digit;
  }
  return numbers;
}

YAML::Node child(const YAML::Node& node, const char* key) {
  return node.IsDefined() && node.IsMap() ? node[key] : YAML::Node(YAML::NodeType::Undefined);
}

std::string choose_checkpoint(const std::string& run_folder, double best_step) {
  const std::filesystem::path folder = std::filesystem::path(run_folder) / "checkpoints";
  if (!std::filesystem::is_directory(folder)) return {};
  if (std::isfinite(best_step)) {
    const auto best = folder / checkpoint_file_name(static_cast<int64_t>(best_step));
    if (std::filesystem::exists(best)) return best.string();
  }
  const std::vector<std::string> files = list_checkpoints(folder.string());
  if (files.empty()) return {};
  const std::filesystem::path last(files.back());
  return (last.has_parent_path() ? last : folder / last).string();
}

std::string grid_html(const CheckpointEntry& entry, const Shape& shape,
                      const std::vector<FilterImage>& filters, const std::string& file) {
  const int64_t longest = std::max(shape[2], shape[3]);
  const int64_t scale = std::max<int64_t>(1, (longest < 16 ? 48 : 72) / longest);
  std::string name = entry.name.substr(entry.name.find("parameters/") + 11);
  std::string out = "<section class=\"card\">\n<h2>First-layer filters</h2>\n<p class=\"note\">";
  out += fmt::format("{} {} of {}", html_escape(name), entry.shape.str(), html_escape(file));
  if (static_cast<int64_t>(filters.size()) < shape[0]) {
    out += fmt::format(", the first {} of {}", filters.size(), shape[0]);
  }
  out +=
      ". Each is scaled from its own smallest weight (black) to its largest (white).</p>\n<div "
      "class=\"filters\">\n";
  for (size_t k = 0; k < filters.size(); ++k) {
    const auto& f = filters[k];
    out += fmt::format(
        "<img alt=\"filter {0}\" title=\"filter {0}: {1} to {2}\" width=\"{3}\" height=\"{4}\" "
        "src=\"{5}\">\n",
        k, format_value(f.low), format_value(f.high), shape[3] * scale, shape[2] * scale,
        png_data_uri(f.image));
  }
  return out + "</div>\n</section>\n";
}

}  // namespace

ImageInput image_input_of(const CheckpointInfo& info, const std::string& job) {
  std::vector<int64_t> extents;
  if (const auto text = info.texts.find("input_shape"); text != info.texts.end()) {
    extents = whole_numbers(text->second);
  }
  ImageInput input;
  try {
    const YAML::Node root = YAML::Load(job);
    if (extents.empty()) {
      if (const YAML::Node shape = child(child(root, "model"), "input"); shape && shape.IsSequence()) {
        for (const YAML::Node& extent : shape) extents.push_back(extent.as<int64_t>());
      }
    }
    if (extents.size() < 2) {
      const YAML::Node name = child(child(child(root, "data"), "train"), "input");
      input.is_image = name && name.IsScalar() && name.as<std::string>().find("image") != std::string::npos;
    }
  } catch (const YAML::Exception&) {
    if (extents.empty()) return {};
  }
  if (extents.size() == 2 && extents[0] == extents[1]) extents.insert(extents.begin(), 1);
  if (extents.size() == 3) {
    const auto colours = [](int64_t n) { return n == 1 || n == 3; };
    if (!colours(extents[0]) && colours(extents[2]))
      std::rotate(extents.begin(), extents.end() - 1, extents.end());
    input = {true, extents[0], extents[1], extents[2]};
  }
  return input;
}

bool natural_less(const std::string& a, const std::string& b) {
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      const auto number = [&](const std::string& s, size_t& at) {
        while (at + 1 < s.size() && s[at] == '0' && digit(s[at + 1])) ++at;
        const size_t begin = at;
        while (at < s.size() && digit(s[at])) ++at;
        return s.substr(begin, at - begin);
      };
      const std::string m = number(a, i), n = number(b, j);
      if (m.size() != n.size()) return m.size() < n.size();
      if (m != n) return m < n;
      continue;
    }
    if (a[i] != b[j]) return a[i] < b[j];
    ++i;
    ++j;
  }
  return a.size() - i < b.size() - j;
}

std::optional<CheckpointEntry> choose_first_layer(const std::vector<CheckpointEntry>& entries,
                                                  const ImageInput& input) {
  bool any_conv = false;
  std::optional<CheckpointEntry> best, dense;
  for (const CheckpointEntry& entry : entries) {
    if (!is_parameter(entry)) continue;
    const Shape& s = entry.shape;
    if (s.rank() == 2 && input.is_image && dense_as_images(s, input).rank() == 4 &&
        (!dense || comes_before(entry, *dense))) {
      dense = entry;
    }
    if (s.rank() != 4) continue;
    any_conv = true;
    if ((s[1] != 1 && s[1] != 3) || s[2] * s[3] < 4) continue;
    if (input.channels > 0 && s[1] != input.channels) continue;
    if (best && best->shape[1] > s[1]) continue;
    if (!best || best->shape[1] < s[1] || comes_before(entry, *best)) best = entry;
  }
  if (any_conv) return best;
  return dense;
}

std::vector<FilterImage> filter_images(const std::vector<float>& weights, const Shape& shape, int64_t most) {
  const int64_t n_channels = shape[1], area = shape[2] * shape[3];
  std::vector<FilterImage> filters;
  for (int64_t k = 0; k < std::min(shape[0], most); ++k) {
    const float* w = weights.data() + k * n_channels * area;
    FilterImage filter;
    filter.image = {static_cast<int>(shape[3]), static_cast<int>(shape[2]), static_cast<int>(n_channels), {}};
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n_channels * area; ++i) {
      if (!std::isfinite(w[i])) continue;
      low = std::min(low, w[i]);
      high = std::max(high, w[i]);
    }
    if (!(low <= high)) low = high = 0;  // nothing but NaN
    for (int64_t p = 0; p < area; ++p) {
      for (int64_t c = 0; c < n_channels; ++c) {
        const double value = w[c * area + p];
        const double unit = high > low ? (value - low) / (static_cast<double>(high) - low) : 0.5;
        filter.image.pixels.push_back(
            std::isfinite(unit) ? static_cast<uint8_t>(std::lround(255 * std::clamp(unit, 0.0, 1.0))) : 0);
      }
    }
    filter.low = low;
    filter.high = high;
    filters.push_back(std::move(filter));
  }
  return filters;
}

std::string filters_html(const std::string& run_folder, const std::string& job, double best_step) {
  std::string file;
  try {
    file = choose_checkpoint(run_folder, best_step);
    if (file.empty()) return {};
    const ImageInput input = image_input_of(read_checkpoint_info(file), job);
    const auto entry = choose_first_layer(list_checkpoint(file), input);
    if (!entry) return {};
    std::vector<float> weights(static_cast<size_t>(entry->shape.n_elements()));
    load_checkpoint(file, {{entry->name, entry->shape, DType::kFloat32, weights.data()}});
    const bool dense = entry->shape.rank() == 2;
    const Shape shape = dense ? dense_as_images(entry->shape, input) : entry->shape;
    return grid_html(*entry, shape, filter_images(weights, shape, dense ? kMostDense : kMostFilters),
                     std::filesystem::path(file).filename().string());
  } catch (const Error& error) {
    return "<section class=\"card\">\n<h2>First-layer filters</h2>\n<p class=\"note\">Not shown: " +
           html_escape(error.reason()) + ".</p>\n</section>\n";
  }
}

}  // namespace lockstep
