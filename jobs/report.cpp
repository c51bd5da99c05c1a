// lockstep report RUN_DIR: one self-contained HTML page.
#include "src/report/report.h"

#include <iostream>

#include "jobs/command.h"

namespace lockstep {

static int report_command(const Words& words) {
  CommandLine line("report RUN_DIR", "Writes RUN_DIR/report.html from the run folder's files.", {"RUN_DIR"});
  if (!line.parse(words)) return 0;
  const std::string folder = line.get<std::string>("RUN_DIR");
  write_report(folder);
  std::cout << folder << "/report.html\n";
  return 0;
}

namespace {
const bool report_registered =
    commands().add("report", {.summary = "write report.html of a run folder", .run = report_command}, 10);
}

}  // namespace lockstep
