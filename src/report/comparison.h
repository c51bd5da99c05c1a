// Several runs beside each other on one page: results, settings that differ, curves over each other.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// Runs that a page can tell apart by colour and dashes.
inline constexpr size_t kMostCompared = 16;

/// The whole document. run_folders: two or more. Links lead to each run's own report.html, relative to
/// `folder`, where the page will lie. Throws Error for a folder without metrics, the same folder twice, and
/// more runs than kMostCompared.
std::string comparison_page(const std::vector<std::string>& run_folders, const std::string& folder);

}  // namespace lockstep
