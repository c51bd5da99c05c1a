// lockstep export CHECKPOINT --out FILE: the weights of a checkpoint for other programs, or its network.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "io/files/files.h"
#include "jobs/command.h"
#include "src/network/weights_file.h"
#include "src/run/predict/onnx_export.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// By --to, else by the name of the file.
std::string export_kind(const CommandLine& line, const std::string& path) {
  const std::vector<std::string> kinds{"safetensors", "onnx", "npz"};
  if (!line.has("to"))
    return path.ends_with(".onnx") ? "onnx" : path.ends_with(".npz") ? "npz" : "safetensors";
  const std::string kind = line.text("to");
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
    throw UsageError(
        fmt::format("--to {} is none of {}", kind, fmt::join(kinds, ", ")),
        "onnx is the network with its weights, safetensors and npz (of NumPy) are the weights alone");
  return kind;
}

int export_command(const Words& words) {
  CommandLine line(
      "export CHECKPOINT --out WEIGHTS.safetensors|WEIGHTS.npz|NETWORK.onnx",
      "Writes the parameters and statistics of a checkpoint, float32, under their own names; or the whole\n"
      "network as an ONNX file, which onnxruntime and others run without Lockstep.",
      {"CHECKPOINT"});
  line.add()("out", po::value<std::string>(), "file to write (needed)")(
      "to", po::value<std::string>(), "safetensors, npz or onnx; else the name of the file says it")(
      "overwrite", "replace the file --out")(
      "average", "the running averages of the weights (the job's key average) in their place");
  if (!line.parse(words)) return 0;
  if (!line.has("out"))
    throw UsageError("--out WEIGHTS.safetensors is missing",
                     "name the file to write, for instance --out weights.safetensors or --out network.onnx");
  const std::string checkpoint = line.text("CHECKPOINT"), out = line.text("out");
  const std::string kind = export_kind(line, out);
  check_output_file(out, line.has("overwrite"), {checkpoint});
  if (kind == "onnx") {
    fmt::print("{}: {} operators (ONNX opset 17) of {}\n", out,
               export_onnx(checkpoint, out, line.has("average")), checkpoint);
    return 0;
  }
  const TrainedModel model = describe_model(checkpoint);
  const int64_t n_tensors =
      export_weights(checkpoint, out, line.has("average"), names_transposed_outside(model.graph),
                     kind == "npz" ? WeightsFormat::kNpz : WeightsFormat::kSafetensors);
  fmt::print("{}: {} tensors of {}\n", out, n_tensors, checkpoint);
  return 0;
}

const bool export_registered = commands().add(
    "export",
    {.summary = "write a checkpoint's weights to a safetensors or npz file, or its network to an ONNX file",
     .run = export_command},
    6);

}  // namespace

}  // namespace lockstep
