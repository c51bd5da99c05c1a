// The report of a run: one self-contained HTML page made from the files of a run folder.
//
//   job.yaml          the resolved job, shown as text                           may be absent
//   metrics.jsonl     one JSON object per line; "kind" is start, train, validation,
//                     checkpoint, warning, resume or end                        needed
//   confusion.json    {"kind", "step", "classes": […], "matrix": [[…]]},
//                     rows are true classes                                     may be absent
//   explanation.json  pictures that `lockstep explain` made                     may be absent
//   checkpoints/*.h5  the first layer's weights are drawn from one of them      may be absent
//
// Within metrics.jsonl, "time_s" counts from the start of the process (it begins anew after
// a resume); "data_wait_s" and "communication_s" cover the lines' own interval.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

/// Writes run_folder/report.html, replacing an older one in a single rename. Equal files in
/// the folder give equal bytes. Needs no network to view. A part that is absent is left out,
/// an unreadable optional part is named on the page. Throws Error when metrics.jsonl is
/// missing, empty or broken, and when the page cannot be written.
void write_report(const std::string& run_folder);

/// Writes a page that shows two or more runs beside each other (comparison.h) to `path`, likewise.
void write_comparison(const std::vector<std::string>& run_folders, const std::string& path);

/// Writes a page of the pictures in a file that `lockstep explain` wrote, likewise.
void write_explanation(const std::string& json, const std::string& path);

}  // namespace lockstep
