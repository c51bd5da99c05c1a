// lockstep export CHECKPOINT --out W.safetensors: the weights of a checkpoint for other programs.
#include <fmt/format.h>

#include "io/files/files.h"
#include "jobs/command.h"
#include "src/network/weights_file.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace po = boost::program_options;

static int export_command(const Words& words) {
  CommandLine line("export CHECKPOINT --out WEIGHTS.safetensors",
                   "Writes the parameters and statistics of a checkpoint, float32, under their own names.",
                   {"CHECKPOINT"});
  line.add()("out", po::value<std::string>(), "file to write (needed)")("overwrite",
                                                                        "replace the file --out")(
      "average", "the running averages of the weights (the job's key average) in their place");
  if (!line.parse(words)) return 0;
  if (!line.has("out"))
    throw UsageError("--out WEIGHTS.safetensors is missing",
                     "name the file to write, for instance --out weights.safetensors");
  check_output_file(line.text("out"), line.has("overwrite"), {line.text("CHECKPOINT")});
  const TrainedModel model = describe_model(line.text("CHECKPOINT"));
  const int64_t n_tensors = export_weights(line.text("CHECKPOINT"), line.text("out"), line.has("average"),
                                           names_transposed_outside(model.graph));
  fmt::print("{}: {} tensors of {}\n", line.text("out"), n_tensors, line.text("CHECKPOINT"));
  return 0;
}

namespace {
const bool export_registered = commands().add(
    "export", {.summary = "write a checkpoint's weights to a safetensors file", .run = export_command}, 6);
}

}  // namespace lockstep
