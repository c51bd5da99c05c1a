#include "jobs/contact_sheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "io/dataset/row_converter.h"
#include "io/dataset/stored_numbers.h"
#include "io/files/files.h"
#include "jobs/dataset_values.h"
#include "kernels/error.h"
#include "src/report/html.h"
#include "src/report/png.h"
#include "src/report/style.h"

namespace lockstep {

namespace {

constexpr int64_t kSheetClasses = 40, kSheetImages = 10, kSheetPixels = 160, kSheetEnlarged = 96;

/// Where the dimensions of an image stand.
struct SheetLayout {
  int64_t channels = 1, height = 0, width = 0;
  bool channels_last = false;

  bool read(const Field& field) {
    const Shape& s = field.shape;
    const auto counts_channels = [](int64_t extent) { return extent == 1 || extent == 3; };
    if (field.ragged || s.n_elements() == 0) return false;
    if (s.rank() == 3 && counts_channels(s[0])) {
      channels = s[0], height = s[1], width = s[2];
    } else if (s.rank() == 3 && counts_channels(s[2])) {
      channels = s[2], height = s[0], width = s[1], channels_last = true;
    } else if (s.rank() == 2) {
      height = s[0], width = s[1];
    } else {
      return false;
    }
    return true;
  }
  int64_t place(int64_t c, int64_t y, int64_t x) const {
    return channels_last ? (y * width + x) * channels + c : (c * height + y) * width + x;
  }
};

/// The images of one line of the sheet.
struct SheetLine {
  std::string name;
  int64_t n_all = 0;
  std::vector<int64_t> rows;
  std::vector<PngImage> images;
};

/// So many of `all`, spread evenly.
std::vector<int64_t> spread(const std::vector<int64_t>& all, int64_t n) {
  const auto n_all = static_cast<int64_t>(all.size());
  std::vector<int64_t> some;
  for (int64_t i = 0; i < std::min(n, n_all); ++i)
    some.push_back(all[static_cast<size_t>(i * n_all / std::min(n, n_all))]);
  return some;
}

std::vector<SheetLine> choose_rows(const Dataset& dataset) {
  std::vector<SheetLine> lines;
  const Field* label = find_class_field(dataset);
  std::map<int64_t, std::vector<int64_t>> by_class;
  if (label != nullptr) {
    const std::vector<int64_t> ids = read_whole_numbers(dataset, *label);
    for (size_t row = 0; row < ids.size(); ++row) by_class[ids[row]].push_back(static_cast<int64_t>(row));
  }
  if (label == nullptr || by_class.size() > static_cast<size_t>(dataset.n_samples()) / 2) {
    std::vector<int64_t> all(static_cast<size_t>(dataset.n_samples()));
    for (size_t row = 0; row < all.size(); ++row) all[row] = static_cast<int64_t>(row);
    all = spread(all, 8 * kSheetImages);
    for (size_t first = 0; first < all.size(); first += kSheetImages) {
      SheetLine line;
      for (size_t i = first; i < std::min(all.size(), first + kSheetImages); ++i) line.rows.push_back(all[i]);
      lines.push_back(std::move(line));
    }
    return lines;
  }
  const std::vector<std::string>& names = dataset.class_names();
  for (const auto& [id, rows] : by_class) {
    if (static_cast<int64_t>(lines.size()) == kSheetClasses) break;
    const bool is_named = id >= 0 && id < static_cast<int64_t>(names.size());
    lines.push_back({is_named ? names[static_cast<size_t>(id)] : std::to_string(id),
                     static_cast<int64_t>(rows.size()),
                     spread(rows, kSheetImages),
                     {}});
  }
  return lines;
}

void read_images(const Dataset& dataset, const Field& field, const SheetLayout& layout,
                 std::vector<SheetLine>& lines) {
  const RowConverter converter(field, DType::kFloat32, {}, {}, 0, dataset.path());
  const auto n = static_cast<size_t>(field.shape.n_elements());
  std::vector<std::byte> stored(n * static_cast<size_t>(size_of(field.dtype)));
  std::vector<std::vector<float>> values;
  float low = INFINITY, high = -INFINITY;
  for (const SheetLine& line : lines)
    for (const int64_t row : line.rows) {
      dataset.read(field.name, row, 1, stored.data());
      std::vector<float>& image = values.emplace_back(n);
      converter.convert(stored.data(), reinterpret_cast<std::byte*>(image.data()), row, dataset.path());
      for (const float value : image)
        if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
  if (field.dtype == DType::kUInt8) low = 0, high = 255;
  if (!(high > low)) high = low + 1;
  const int64_t step =
      std::max<int64_t>(1, (std::max(layout.height, layout.width) + kSheetPixels - 1) / kSheetPixels);
  auto next = values.begin();
  for (SheetLine& line : lines)
    for (size_t i = 0; i < line.rows.size(); ++i, ++next) {
      PngImage& image = line.images.emplace_back();
      image.height = static_cast<int>((layout.height + step - 1) / step);
      image.width = static_cast<int>((layout.width + step - 1) / step);
      image.channels = static_cast<int>(layout.channels);
      for (int64_t y = 0; y < image.height; ++y)
        for (int64_t x = 0; x < image.width; ++x)
          for (int64_t c = 0; c < layout.channels; ++c) {
            const float value = (*next)[static_cast<size_t>(layout.place(c, y * step, x * step))];
            const float share =
                std::isfinite(value) ? std::clamp((value - low) / (high - low), 0.0F, 1.0F) : 0;
            image.pixels.push_back(static_cast<uint8_t>(std::lround(255 * share)));
          }
    }
}

std::string sheet_html(const Dataset& dataset, const Field& field, const std::vector<SheetLine>& lines) {
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n<style>{1}\n"
      "section{{margin:0 0 1.2em}} h2{{font-size:1em;margin:0 0 .3em}} h2 "
      "span{{font-weight:normal;opacity:.7}}\n"
      "figure{{display:inline-block;margin:0 .5em .3em 0;text-align:center}} "
      "figcaption{{font-size:.7em;opacity:.7}}\n"
      "figure img{{height:{2}px;image-rendering:pixelated;display:block}}</style></head>\n"
      "<body><main><h1>{0}</h1>\n<p>{3} samples, {4} {5} {6}. Below each image: its row.</p>\n",
      html_escape(dataset.path()), report_css(), kSheetEnlarged,
      format_count(static_cast<double>(dataset.n_samples())), html_escape(field.name), name_of(field.dtype),
      field.shape.str());
  for (const SheetLine& line : lines) {
    page += "<section>";
    if (line.n_all > 0)
      page += fmt::format("<h2>{} <span>{} samples</span></h2>", html_escape(line.name),
                          format_count(static_cast<double>(line.n_all)));
    for (size_t i = 0; i < line.rows.size(); ++i)
      page += fmt::format("<figure><img alt=\"row {0}\" src=\"{1}\"><figcaption>{0}</figcaption></figure>\n",
                          line.rows[i], png_data_uri(line.images[i]));
    page += "</section>\n";
  }
  return page + "</main></body></html>\n";
}

std::string sheet_png(const std::vector<SheetLine>& lines) {
  constexpr int kBetween = 4;
  const PngImage& first = lines[0].images[0];
  const int enlarge = std::max(1, static_cast<int>(kSheetEnlarged) / std::max(first.height, first.width));
  const int height = first.height * enlarge + kBetween, width = first.width * enlarge + kBetween;
  size_t n_columns = 0;
  for (const SheetLine& line : lines) n_columns = std::max(n_columns, line.images.size());
  PngImage sheet;
  sheet.channels = 3;
  sheet.width = width * static_cast<int>(n_columns) + kBetween;
  sheet.height = height * static_cast<int>(lines.size()) + kBetween;
  sheet.pixels.assign(static_cast<size_t>(sheet.width) * static_cast<size_t>(sheet.height) * 3, 255);
  for (size_t l = 0; l < lines.size(); ++l)
    for (size_t i = 0; i < lines[l].images.size(); ++i) {
      const PngImage& image = lines[l].images[i];
      const int top = kBetween + height * static_cast<int>(l), left = kBetween + width * static_cast<int>(i);
      for (int y = 0; y < image.height * enlarge; ++y)
        for (int x = 0; x < image.width * enlarge; ++x)
          for (int c = 0; c < 3; ++c)
            sheet.pixels[(static_cast<size_t>(top + y) * static_cast<size_t>(sheet.width) +
                          static_cast<size_t>(left + x)) *
                             3 +
                         static_cast<size_t>(c)] =
                image.pixels[static_cast<size_t>((y / enlarge * image.width + x / enlarge) * image.channels +
                                                 (image.channels == 3 ? c : 0))];
    }
  return png_bytes(sheet);
}

}  // namespace

void write_contact_sheet(const Dataset& dataset, const std::string& path) {
  const bool is_html = path.ends_with(".html");
  if (!is_html && !path.ends_with(".png"))
    throw Error(path, "is neither FILE.html nor FILE.png", "write for instance --sheet sheet.html");
  SheetLayout layout;
  const Field* images = nullptr;
  for (const Field& field : dataset.fields())
    if (images == nullptr && layout.read(field)) images = &field;
  if (images == nullptr)
    throw Error(dataset.path(), "holds no images of 1 or 3 channels, so there is nothing to draw",
                "leave --sheet out; of tables, `lockstep inspect --values` shows the numbers");
  std::vector<SheetLine> lines = choose_rows(dataset);
  read_images(dataset, *images, layout, lines);
  write_text_file_atomically(path, is_html ? sheet_html(dataset, *images, lines) : sheet_png(lines));
}

}  // namespace lockstep
