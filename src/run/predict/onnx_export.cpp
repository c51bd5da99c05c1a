#include "src/run/predict/onnx_export.h"

#include <fmt/format.h>

#include "io/files/metrics.h"
#include "src/network/onnx.h"
#include "src/run/trained_model.h"

namespace lockstep {

namespace {

std::string as_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ",") + json_quote(name);
  return "[" + text + "]";
}

}  // namespace

int64_t export_onnx(const std::string& checkpoint, const std::string& path, bool average) {
  const TrainedModel model = load_model(checkpoint, average);
  OnnxOptions options;
  options.name = model.job.name;
  options.producer_version = LOCKSTEP_VERSION;
  options.mean = model.contract.normalization.mean;
  options.stddev = model.contract.normalization.stddev;
  options.metadata = {{"job", model.job.name}, {"step", std::to_string(model.info.step)}};
  if (!model.contract.class_names.empty())
    options.metadata.emplace_back("class_names", as_list(model.contract.class_names));
  for (const auto& [input, tokens] : model.contract.vocabularies)
    options.metadata.emplace_back("vocabulary" + (input.empty() ? "" : "." + input), as_list(tokens));
  for (const auto& [input, tokenizer] : model.contract.tokenizers)
    options.metadata.emplace_back("tokenizer" + (input.empty() ? "" : "." + input), tokenizer);
  const OnnxNetwork network = to_onnx(model.graph, *model.arena, options);
  write_onnx(path, network.model);
  return static_cast<int64_t>(network.model.nodes.size());
}

}  // namespace lockstep
