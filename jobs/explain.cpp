// lockstep explain CHECKPOINT --data PATH: pictures of what a network of images does with its data.
#include "src/run/explain/explain.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>

#include "io/files/files.h"
#include "jobs/command.h"
#include "src/report/report.h"

namespace lockstep {

namespace po = boost::program_options;
namespace fs = std::filesystem;

/// The run whose folder of checkpoints holds that file; "" where it lies elsewhere.
static std::string run_of(const std::string& checkpoint) {
  const fs::path folder = fs::absolute(checkpoint).lexically_normal().parent_path();
  const fs::path run = folder.parent_path();
  return folder.filename() == "checkpoints" && fs::exists(run / "metrics.jsonl")
             ? run.lexically_relative(fs::current_path()).string()
             : "";
}

static int explain_command(const Words& words) {
  CommandLine line(
      "explain CHECKPOINT --data PATH [--out FILE.html]",
      "Pictures of what a network of images does with a dataset: the largest losses, examples of its\nmost "
      "frequent mistakes, what a decision depends on, feature maps, and what outputs and units answer\nto. A "
      "checkpoint of a run: they become a part of the run's report.html. Else, or with --out: a page.",
      {"CHECKPOINT"});
  line.add()("data", po::value<std::string>(), "dataset: a folder of HDF5 files, or one file (needed)")(
      "out", po::value<std::string>(), "a page of its own")(
      "sample", po::value<int64_t>(), "to look at closely, from 0 (default: the one with the largest loss)")(
      "layer", po::value<Words>()->composing(),
      "LAYER: show its feature maps; may be repeated (default: three convolutions)")(
      "unit", po::value<Words>()->composing(),
      "LAYER:CHANNEL: what it answers to; may be repeated (default: outputs, and six of the last "
      "convolution)")("samples", po::value<int64_t>()->default_value(10000),
                      "look at so many samples, spread over the data by chance")(
      "input", po::value<std::string>(), "field of the inputs")("target", po::value<std::string>(),
                                                                "field of the targets")(
      "layout", po::value<std::string>(), "of images: NCHW or NHWC (default: as in training)")(
      "average", "the running averages of the weights (the job's key average) in their place");
  if (!line.parse(words)) return 0;
  if (!line.has("data"))
    throw UsageError("--data PATH is missing",
                     "name the dataset to look at, for instance --data data/mnist/test");
  ExplainOptions options;
  options.checkpoint = line.text("CHECKPOINT");
  options.data = line.text("data");
  options.input = line.text("input");
  options.target = line.text("target");
  options.layout = line.text("layout");
  options.average = line.has("average");
  options.most_samples = line.get<int64_t>("samples");
  if (options.most_samples < 1)
    throw UsageError("--samples is at least 1", "write for instance --samples 1000");
  if (line.has("sample")) options.sample = line.get<int64_t>("sample");
  if (line.has("sample") && options.sample < 0)
    throw UsageError("--sample counts from 0", "write for instance --sample 17");
  if (line.has("layer")) options.layers = line.get<Words>("layer");
  if (line.has("unit")) options.units = line.get<Words>("unit");
  const std::string run = run_of(options.checkpoint), out = line.text("out");
  if (run.empty() && out.empty())
    throw UsageError("--out FILE.html is missing: the checkpoint lies in no run's folder",
                     "name the page to write");

  const auto start = std::chrono::steady_clock::now();
  const Explanation explanation = explain(options);
  const std::string json = pictures_json(explanation.step, options.data, explanation.groups);
  std::string written = out;
  if (out.empty()) {
    write_text_file_atomically((fs::path(run) / "explanation.json").string(), json);
    write_report(run);
    written = (fs::path(run) / "report.html").string();
  } else {
    const std::string beside = out + ".json";
    write_text_file_atomically(beside, json);
    write_explanation(beside, out);
    fs::remove(beside);
  }
  size_t n_pictures = 0;
  for (const PictureGroup& group : explanation.groups) n_pictures += group.pictures.size();
  fmt::print("{}: {} pictures in {} groups, {:.1f} s\n", written, n_pictures, explanation.groups.size(),
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return 0;
}

namespace {
const bool explain_registered = commands().add(
    "explain", {.summary = "pictures of what a network of images does with its data", .run = explain_command},
    10);
}

}  // namespace lockstep
