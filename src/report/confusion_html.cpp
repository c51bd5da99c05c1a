// Shows a confusion matrix: as a table with numbers for few classes, else as a picture with
// the most confused pairs and the weakest classes. Cells are shaded by the share of their
// row, blue where right and red-orange where wrong; the square root makes rare mistakes visible.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "src/report/confusion.h"
#include "src/report/html.h"
#include "src/report/png.h"

namespace lockstep {
namespace {

constexpr size_t kPairs = 10, kWeakest = 10;
constexpr size_t kPixels = 1000;  // across the picture of a matrix
constexpr size_t kListed = 2000;  // classes with a line of their own
constexpr size_t kDense = 20;     // classes; more are shown in small type
constexpr size_t kRoomy = 6;      // classes; as many or fewer are shown in large cells

std::string share(double fraction) {
  return std::isfinite(fraction) ? fmt::format("{:.1f} %", fraction * 100) : "–";
}

double shade(double count, double row_sum) { return row_sum > 0 ? std::sqrt(count / row_sum) : 0; }

using Rgb = std::array<double, 3>;

/// Relative luminance of a colour (WCAG 2.2) that covers `under` with opacity `alpha`.
double luminance(const Rgb& over, const Rgb& under, double alpha) {
  double sum = 0;
  const Rgb weights{0.2126, 0.7152, 0.0722};
  for (size_t c = 0; c < 3; ++c) {
    const double v = (alpha * over[c] + (1 - alpha) * under[c]) / 255;
    sum += weights[c] * (v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
  }
  return sum;
}

/// Black has a contrast of 4.5 on everything above a luminance of 0.175, white on everything below 0.183.
bool takes_white(const Rgb& over, const Rgb& under, double alpha) {
  return luminance(over, under, alpha) < 0.179;
}

/// Classes of a cell: white digits on the light page (lw) and on the dark one (dw). Colours as in style.cpp.
std::string digits_of(bool right, double alpha) {
  const Rgb light = right ? Rgb{0, 114, 178} : Rgb{213, 94, 0};
  const Rgb dark = right ? Rgb{60, 150, 215} : Rgb{235, 130, 50};
  std::string classes = takes_white(light, {255, 255, 255}, alpha) ? " lw" : "";
  return takes_white(dark, {26, 30, 36}, alpha) ? classes + " dw" : classes;
}

std::string percent_number(double fraction) {
  return std::isfinite(fraction) ? fmt::format("{:.1f}", fraction * 100) : "–";
}

void append_table(std::string& out, const ConfusionMatrix& m) {
  const bool dense = m.n() > kDense;
  const bool tilt = std::any_of(m.classes.begin(), m.classes.end(),
                                [](const std::string& name) { return name.size() > 5; });
  out += fmt::format("<div class=\"scroll\"><table class=\"confusion{}{}\">\n<thead><tr><td></td>",
                     tilt ? " tilt" : "",
                     dense             ? " dense"
                     : m.n() <= kRoomy ? " roomy"
                                       : "");
  for (const std::string& name : m.classes)
    out += "<th scope=\"col\"><span>" + html_escape(name) + "</span></th>";
  out += "<th scope=\"col\" class=\"rate\"><span>recall, %</span></th></tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < m.n(); ++i) {
    out += "<tr><th scope=\"row\">" + html_escape(m.classes[i]) + "</th>";
    const double sum = m.row_sum(i);
    for (size_t j = 0; j < m.n(); ++j) {
      const double count = m.at(i, j), alpha = shade(count, sum);
      if (count == 0) {
        out += "<td class=\"zero\">·</td>";
        continue;
      }
      out += fmt::format("<td class=\"{}{}\" style=\"--a:{:.3f}\">{}</td>", i == j ? "right" : "wrong",
                         digits_of(i == j, alpha), alpha,
                         dense ? fmt::format("{:.0f}", count) : format_count(count));
    }
    out += "<td class=\"rate\">" + percent_number(m.recall(i)) + "</td></tr>\n";
  }
  out += "</tbody>\n<tfoot><tr><th scope=\"row\">precision, %</th>";
  for (size_t j = 0; j < m.n(); ++j) out += "<td class=\"rate\">" + percent_number(m.precision(j)) + "</td>";
  out += "<td></td></tr></tfoot></table></div>\n";
}

/// One pixel per cell in the table's colours, opacity as shade, so that it suits both themes. Of more than
/// kPixels classes neighbours share a pixel.
PngImage heat_map(const ConfusionMatrix& m) {
  const size_t per_pixel = (m.n() + kPixels - 1) / kPixels, n = (m.n() + per_pixel - 1) / per_pixel;
  std::vector<double> counts(n * n), sums(n);
  for (const auto& cell : m.cells()) {
    counts[cell.truth / per_pixel * n + cell.predicted / per_pixel] += cell.count;
    sums[cell.truth / per_pixel] += cell.count;
  }
  PngImage image{static_cast<int>(n), static_cast<int>(n), 4, {}};
  image.pixels.reserve(counts.size() * 4);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const auto alpha = static_cast<uint8_t>(std::lround(255 * shade(counts[i * n + j], sums[i])));
      const uint8_t right[] = {0, 114, 178}, wrong[] = {213, 94, 0};
      image.pixels.insert(image.pixels.end(), i == j ? right : wrong, (i == j ? right : wrong) + 3);
      image.pixels.push_back(alpha);
    }
  }
  return image;
}

void append_pairs(std::string& out, const ConfusionMatrix& m) {
  const auto pairs = m.most_confused(kPairs);
  out += "<div><h3>Most confused</h3>\n";
  if (pairs.empty()) {
    out += "<p>No sample is in the wrong class.</p></div>\n";
    return;
  }
  out +=
      "<table><thead><tr><th>true class</th><th>predicted as</th><th class=\"num\">samples</th>"
      "<th class=\"num\">of its class</th></tr></thead><tbody>\n";
  for (const auto& pair : pairs) {
    out += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td></tr>\n",
                       html_escape(m.classes[pair.truth]), html_escape(m.classes[pair.predicted]),
                       format_count(pair.count), share(pair.count / m.row_sum(pair.truth)));
  }
  out += "</tbody></table></div>\n";
}

void append_class_rows(std::string& out, const ConfusionMatrix& m, const std::vector<size_t>& order) {
  out +=
      "<table><thead><tr><th>class</th><th class=\"num\">samples</th><th class=\"num\">recall</th>"
      "<th class=\"num\">precision</th></tr></thead><tbody>\n";
  for (const size_t c : order) {
    out += fmt::format(
        "<tr><td>{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td></tr>\n",
        html_escape(m.classes[c]), format_count(m.row_sum(c)), share(m.recall(c)), share(m.precision(c)));
  }
  out += "</tbody></table>";
}

void append_picture(std::string& out, const ConfusionMatrix& m) {
  std::vector<size_t> all, weakest;
  for (size_t c = 0; c < m.n(); ++c) {
    const bool occurs = m.row_sum(c) > 0;
    if (m.n() <= kListed || ((occurs || m.column_sum(c) > 0) && all.size() < kListed)) all.push_back(c);
    if (occurs) weakest.push_back(c);
  }
  std::stable_sort(weakest.begin(), weakest.end(),
                   [&](size_t a, size_t b) { return m.recall(a) < m.recall(b); });
  if (weakest.size() > kWeakest) weakest.resize(kWeakest);

  out += fmt::format(
      "<div class=\"halves\">\n<div class=\"heat\"><span class=\"side\">true class</span><img "
      "alt=\"Confusion matrix of {0} classes: "
      "rows "
      "are true classes, columns predicted ones\" src=\"{1}\" width=\"{2}\" height=\"{2}\">"
      "<span class=\"below\">predicted class</span></div>\n",
      m.n(), png_data_uri(heat_map(m)), std::min(m.n(), kPixels));
  out += "<div>\n";
  append_pairs(out, m);
  out += "<h3>Lowest recall</h3>\n";
  append_class_rows(out, m, weakest);
  out +=
      "</div></div>\n<details><summary>Recall and precision of every class</summary>\n<div class=\"scroll "
      "tall\">";
  append_class_rows(out, m, all);
  out += "</div></details>\n";
}

}  // namespace

std::string confusion_html(const ConfusionMatrix& m) {
  double right = 0, all = 0, recalls = 0;
  size_t counted = 0;
  for (size_t i = 0; i < m.n(); ++i) {
    const double sum = m.row_sum(i);
    right += m.at(i, i);
    all += sum;
    if (sum == 0) continue;
    recalls += m.recall(i);
    ++counted;
  }
  std::string out = "<section class=\"card\">\n<h2>Confusion matrix</h2>\n<p class=\"note\">";
  if (std::isfinite(m.step)) out += "Validation at step " + format_count(m.step) + ": ";
  out += fmt::format("{} of {} samples right", format_count(right), format_count(all));
  if (all > 0) {
    out += fmt::format(" ({}), mean recall over {} classes {}", format_percent(right / all),
                       format_count(static_cast<double>(counted)),
                       format_percent(recalls / static_cast<double>(counted)));
  }
  out +=
      ". Rows are true classes, columns predicted ones. Shade: share of the row, <span class=\"swatch "
      "right\"></span> right, "
      "<span class=\"swatch wrong\"></span> wrong (square root, so that rare mistakes show).</p>\n";
  if (m.n() <= kConfusionTable) {
    out += "<div class=\"halves\">\n";
    append_table(out, m);
    if (m.n() > 2) append_pairs(out, m);
    out += "</div>\n";
  } else {
    append_picture(out, m);
  }
  return out + "</section>\n";
}

}  // namespace lockstep
