// Puts the page together. It carries a content security policy that forbids every load, so
// a report can be mailed and opened anywhere, and holds no date or path, so that equal
// runs give equal pages.
#include "src/report/page.h"
#include "src/report/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <vector>

#include "io/files/files.h"
#include "kernels/error.h"
#include "src/report/confusion.h"
#include "src/report/explained.h"
#include "src/report/filters.h"
#include "src/report/html.h"
#include "src/report/report.h"
#include "src/report/style.h"

namespace lockstep {
namespace {

constexpr double kOneClass = 0.99;  // share of the predictions

std::string confusion_section(const std::string& run_folder) {
  try {
    const auto matrix = read_confusion((std::filesystem::path(run_folder) / "confusion.json").string());
    return matrix ? confusion_html(*matrix) : std::string();
  } catch (const Error& error) {
    return "<section class=\"card\">\n<h2>Confusion matrix</h2>\n<p class=\"note\">Not shown: " +
           html_escape(error.reason()) + ".</p>\n</section>\n";
  }
}

std::vector<PagePart> explained_section(const std::string& run_folder) {
  try {
    return explained_parts((std::filesystem::path(run_folder) / "explanation.json").string());
  } catch (const Error& error) {
    return {{"explained", "Explained",
             "<section class=\"card\">\n<h2>Explained</h2>\n<p class=\"note\">Not shown: " +
                 html_escape(error.reason()) + ".</p>\n</section>\n"}};
  }
}

/// A network that says one class whatever it sees is no good fit, however near its training and validation
/// are.
void judge_predictions(const std::string& run_folder, Verdict& verdict) {
  std::optional<ConfusionMatrix> matrix;
  try {
    matrix = read_confusion((std::filesystem::path(run_folder) / "confusion.json").string());
  } catch (const Error&) {
    return;  // its own section says so
  }
  if (!matrix) return;
  double all = 0;
  std::vector<double> predicted(matrix->n());
  size_t n_true = 0;
  for (size_t i = 0; i < matrix->n(); ++i) {
    n_true += matrix->row_sum(i) > 0;
    predicted[i] = matrix->column_sum(i);
    all += predicted[i];
  }
  const auto most = std::max_element(predicted.begin(), predicted.end());
  if (n_true < 2 || !(all > 0) || *most < kOneClass * all) return;
  const std::string& name = matrix->classes[static_cast<size_t>(most - predicted.begin())];
  verdict.headline = "Predicts one class";
  verdict.warns = true;
  verdict.sentences.insert(
      verdict.sentences.begin(),
      fmt::format(
          "{} of {} validation samples are taken for '{}', although they are of {} classes: the network "
          "has not learned to tell them apart. Look at the learning rate, the labels and the balance of "
          "the classes.",
          format_count(*most), format_count(all), name, n_true));
}

/// Which checkpoint to draw filters from: the end line's best, else the best validation.
double best_step(const RunData& run, const RunSummary& summary) {
  if (const double* step = run.end.number("best_step")) return *step;
  return std::isfinite(summary.best_accuracy_step) ? summary.best_accuracy_step : summary.best_loss_step;
}

}  // namespace

std::string page_head(const std::string& title) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>" +
      html_escape(title) + "</title>\n<style>";
  out += report_css();
  return out + "</style>\n</head>\n<body>\n<main>\n";
}

std::string page_end(const std::string& footer) {
  std::string out = "<footer>" + footer + "</footer>\n</main>\n<script>";
  out += report_script();
  return out + "</script>\n</body>\n</html>\n";
}

std::string with_links(const std::vector<PagePart>& parts) {
  std::string links, out;
  for (const PagePart& part : parts) {
    if (part.html.empty()) continue;
    links += fmt::format("<a href=\"#{}\">{}</a>\n", part.id, html_escape(part.title));
    out += fmt::format("<div id=\"{}\">\n{}</div>\n", part.id, part.html);
  }
  return "<nav>" + links + "</nav>\n" + out;
}

std::string verdict_html(const Verdict& verdict) {
  std::string out = fmt::format("<section class=\"card verdict\">\n<p><b{}>{}.</b>",
                                verdict.warns ? " class=\"warn\"" : "", html_escape(verdict.headline));
  for (const std::string& sentence : verdict.sentences) out.append(" ").append(html_escape(sentence));
  return out + "</p>\n</section>\n";
}

std::string time_split_html(const RunData& run, bool wide) {
  const double wall = run.wall_time_s(), wait = run.total_s("data_wait_s"),
               communication = run.total_s("communication_s");
  if (!(wall > 0) || (!std::isfinite(wait) && !std::isfinite(communication))) return {};
  struct Part {
    const char* name;
    double time_s;
    int color;
  };
  std::vector<Part> parts;
  if (std::isfinite(wait)) parts.push_back({"waiting for data", wait, 2});
  if (std::isfinite(communication)) parts.push_back({"waiting for communication", communication, 1});
  double measured = 0;
  for (const Part& part : parts) measured += part.time_s;
  const double all = std::max(wall, measured);
  parts.push_back({"the rest: computing, validation, checkpoints", all - measured, 0});

  std::string bar, keys;
  double left = 0;
  for (const Part& part : parts) {
    const double width = part.time_s / all * 1000;
    bar += fmt::format("<rect class=\"f{}\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" height=\"10\"/>",
                       part.color, left, width);
    left += width;
    keys += fmt::format(
        "<span class=\"key\"><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect class=\"f{}\" "
        "width=\"12\" "
        "height=\"12\" rx=\"2\"/></svg>{}: {:.1f} % ({})</span>\n",
        part.color, part.name, width / 10, format_duration(part.time_s));
  }
  return std::string("<section class=\"card") + (wide ? " wide" : "") +
         "\">\n<h2>Where the time went</h2>\n<svg class=\"split\" viewBox=\"0 0 1000 "
         "10\" "
         "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Time split\">" +
         bar + "</svg>\n<div class=\"splitkeys\">" + keys + "</div>\n</section>\n";
}

std::string report_page(const std::string& run_folder) {
  const RunData run = read_run(run_folder);
  const RunSummary summary = summarize(run);
  std::string out = page_head(run.name + " – Lockstep report");
  out += headline_html(run, summary);
  Verdict verdict = judge(run, summary);
  judge_predictions(run_folder, verdict);
  out += verdict_html(verdict);
  std::vector<PagePart> parts{{"charts", "Charts", charts_html(run, summary)},
                              {"confusion", "Confusion", confusion_section(run_folder)}};
  for (PagePart& part : explained_section(run_folder)) parts.push_back(std::move(part));
  parts.push_back({"attention", "Attention", attention_html(run_folder)});
  parts.push_back({"filters", "Filters", filters_html(run_folder, run.job, best_step(run, summary))});
  parts.push_back({"events", "Events", events_html(run)});
  parts.push_back({"job", "Set-up and job", job_html(run)});
  out += with_links(parts);
  const std::string version = run.text("version");
  return out + page_end(fmt::format("Made by Lockstep{}{}. Values as logged in metrics.jsonl.",
                                    version.empty() ? "" : " ", html_escape(version)));
}

void write_report(const std::string& run_folder) {
  write_text_file_atomically((std::filesystem::path(run_folder) / "report.html").string(),
                             report_page(run_folder));
}

}  // namespace lockstep
