// lockstep report RUN_DIR…: one self-contained HTML page, of a run or of several beside each other.
#include "src/report/report.h"

#include <iostream>

#include "jobs/command.h"

namespace lockstep {

static int report_command(const Words& words) {
  CommandLine line(
      "report RUN_DIR… [--out FILE.html]",
      "Writes RUN_DIR/report.html from the run folder's files. Of several runs: one page that shows them "
      "beside\neach other, what differs in their settings, and their curves over each other.",
      {"RUN_DIR…"});
  line.add()("out", boost::program_options::value<std::string>(),
             "the page of several runs (default: comparison.html)");
  if (!line.parse(words)) return 0;
  const std::vector<std::string> folders = line.texts("RUN_DIR…");
  std::string path = folders[0] + "/report.html";
  if (folders.size() > 1) {
    path = line.has("out") ? line.text("out") : "comparison.html";
    write_comparison(folders, path);
  } else if (line.has("out")) {
    throw UsageError("--out is for several runs; the page of one run lies in its folder",
                     "name more runs, or leave --out away");
  } else {
    write_report(folders[0]);
  }
  std::cout << path << "\n";
  return 0;
}

namespace {
const bool report_registered = commands().add(
    "report",
    {.summary = "write report.html of a run folder, or compare several runs", .run = report_command}, 10);
}

}  // namespace lockstep
