#include "src/report/explained.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>

#include "io/files/base64.h"
#include "io/files/files.h"
#include "kernels/error.h"
#include "src/report/html.h"
#include "src/report/png.h"
#include "src/report/report.h"

namespace lockstep {

namespace {

constexpr int kLargestPicture = 4096;                  // pixels across
constexpr int kShownAtLeast = 64, kShownAtMost = 128;  // CSS pixels

/// Small pictures are enlarged by a whole number.
int shown_size(int pixels) {
  const int factor = std::max(1, kShownAtLeast / std::max(1, pixels));
  return std::min(kShownAtMost, pixels * factor);
}

std::string picture_html(const YAML::Node& node, const std::string& path) {
  PngImage image;
  image.width = node["width"].as<int>();
  image.height = node["height"].as<int>();
  image.channels = node["channels"].as<int>();
  image.pixels = from_base64(node["pixels"].as<std::string>(), path);
  const bool fits = image.width > 0 && image.height > 0 && image.width <= kLargestPicture &&
                    image.height <= kLargestPicture && (image.channels == 1 || image.channels == 3) &&
                    image.pixels.size() == static_cast<size_t>(image.width) *
                                               static_cast<size_t>(image.height) *
                                               static_cast<size_t>(image.channels);
  if (!fits) throw Error(path, "a picture has not as many pixels as it says", "run lockstep explain again");
  const std::string caption = html_escape(node["caption"].as<std::string>());
  return fmt::format(
      "<figure><img alt=\"{0}\" width=\"{1}\" height=\"{2}\" "
      "src=\"{3}\"><figcaption>{0}</figcaption></figure>\n",
      caption, shown_size(image.width), shown_size(image.height), png_data_uri(image));
}

}  // namespace

std::vector<PagePart> explained_parts(const std::string& path) {
  std::vector<PagePart> parts;
  if (!std::filesystem::exists(path)) return parts;
  try {
    const YAML::Node file = YAML::LoadFile(path);
    const std::string of =
        fmt::format("Checkpoint of step {}, data {}.", format_count(file["step"].as<double>()),
                    html_escape(file["data"].as<std::string>()));
    for (const YAML::Node& group : file["groups"]) {
      PagePart part{"explained-" + group["id"].as<std::string>(), group["title"].as<std::string>(), {}};
      const bool is_plain = std::all_of(part.id.begin(), part.id.end(), [](char c) {
        return c == '-' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
      });
      if (!is_plain) throw Error(path, "has a group without a plain id", "run lockstep explain again");
      part.html = "<section class=\"card long\">\n<h2>" + html_escape(part.title) +
                  "</h2>\n<p class=\"note\">" + html_escape(group["note"].as<std::string>()) + " " + of +
                  "</p>\n<div class=\"pictures\">\n";
      for (const YAML::Node& picture : group["pictures"]) {
        if (const auto row = picture["row"].as<std::string>(""); !row.empty())
          part.html += "<h3>" + html_escape(row) + "</h3>\n";
        part.html += picture_html(picture, path);
      }
      part.html += "</div>\n</section>\n";
      parts.push_back(std::move(part));
    }
  } catch (const YAML::Exception&) {
    throw Error(path, "is no file that lockstep explain wrote", "delete it, or run lockstep explain again");
  }
  return parts;
}

void write_explanation(const std::string& json, const std::string& path) {
  std::string out =
      page_head("Explained – Lockstep report") +
      "<header><h1>What the network does</h1><button type=\"button\" hidden>dark</button></header>\n";
  out += with_links(explained_parts(json)) + page_end("Made by Lockstep.");
  write_text_file_atomically(path, out);
}

}  // namespace lockstep
