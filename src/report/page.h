// The sections of the page, in reading order.
#pragma once

#include <string>

#include "src/report/run_data.h"
#include "src/report/verdict.h"

namespace lockstep {

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
