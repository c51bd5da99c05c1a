// The sections of the page, in reading order.
#pragma once

#include <string>
#include <vector>

#include "src/report/run_data.h"
#include "src/report/verdict.h"

namespace lockstep {

/// The beginning of a document, up to <main>, and its end with the script; both hold a page's whole style.
std::string page_head(const std::string& title);
/// footer: HTML.
std::string page_end(const std::string& footer);

struct PagePart {
  std::string id, title, html;
};
/// The parts that are not empty, each as a target of a link in the row before them.
std::string with_links(const std::vector<PagePart>& parts);

std::string headline_html(const RunData& run, const RunSummary& summary);
std::string verdict_html(const Verdict& verdict);
/// The charts, and the time split as the last of them.
std::string charts_html(const RunData& run, const RunSummary& summary);
/// Data wait, communication and the rest of the wall time; empty when not measured. `wide`: over
/// both columns of the charts.
std::string time_split_html(const RunData& run, bool wide);
std::string events_html(const RunData& run);
std::string job_html(const RunData& run);

/// The whole document. Reads confusion.json and checkpoints/ of the folder as well.
std::string report_page(const std::string& run_folder);

}  // namespace lockstep
