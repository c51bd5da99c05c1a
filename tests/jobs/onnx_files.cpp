#include "tests/jobs/onnx_files.h"

#include <fmt/format.h>

#include <fstream>
#include <vector>

#include "io/files/checksum.h"
#include "io/files/metrics.h"
#include "kernels/random.h"
#include "src/network/onnx.h"
#include "src/plan/plan.h"

namespace lockstep {

namespace {

constexpr int64_t kOnnxSamples = 3;

struct Array {
  std::string name, dtype;
  Shape shape;  // with N
  std::vector<float> reals;
  std::vector<int32_t> ids;
  const void* data() const {
    return dtype == "float32" ? static_cast<const void*>(reals.data()) : ids.data();
  }
};

/// Numbers from N(0, 1), ids of the vocabulary, lengths from 1 to all.
Array made_up(const Graph& graph, int v, uint64_t stream) {
  const Vertex& vertex = graph.vertex(v);
  Array array{vertex.name,
              vertex.dtype == DType::kInt32 ? "int32" : "float32",
              vertex.shape.with_front(kOnnxSamples),
              {},
              {}};
  const RandomStream random(11, RandomPurpose::kSynthetic, stream, 0);
  const int64_t n = array.shape.n_elements();
  const int64_t n_steps = vertex.lengths_of >= 0 ? graph.vertex(vertex.lengths_of).shape[0] : 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<uint64_t>(i);
    if (array.dtype == "float32")
      array.reals.push_back(vertex.state_of >= 0 ? 0.0F : random.normal(at));
    else if (n_steps > 0)
      array.ids.push_back(
          static_cast<int32_t>(i == 0 ? n_steps : 1 + random.bits(at) % static_cast<uint64_t>(n_steps)));
    else
      array.ids.push_back(static_cast<int32_t>(random.bits(at) % static_cast<uint64_t>(vertex.n_ids)));
  }
  return array;
}

std::string write_array(const std::string& folder, const std::string& stem, const Array& array) {
  const std::string file = fmt::format("{}.{}.bin", stem, array.name);
  std::ofstream(folder + "/" + file, std::ios::binary)
      .write(static_cast<const char*>(array.data()), array.shape.n_elements() * 4);
  std::string extents;
  for (const int64_t extent : array.shape) extents += (extents.empty() ? "" : ", ") + std::to_string(extent);
  return fmt::format(R"({{"name": {}, "dtype": "{}", "shape": [{}], "file": {}}})", json_quote(array.name),
                     array.dtype, extents, json_quote(file));
}

/// Two steps leave the statistics of batch norm far from those of the weights; in evaluation a hundred of
/// them in a row would overflow.
void tame(const ParameterArena& arena) {
  for (const Segment& segment : arena.segments()) {
    if (segment.is_statistic() || segment.shape.rank() != 1 || !segment.name.ends_with("weight")) continue;
    float* weights = arena.weights_of(segment);
    for (int64_t i = 0; i < segment.n_elements(); ++i) weights[i] *= 0.25F;
  }
}

}  // namespace

std::string write_onnx_case(const std::string& folder, const std::string& stem, const std::string& model,
                            const Graph& graph, const ParameterArena& arena) {
  tame(arena);
  const OnnxNetwork network = to_onnx(graph, arena, {.name = "zoo", .producer_version = "0"});
  write_onnx(folder + "/" + stem + ".onnx", network.model);
  std::string inputs;
  std::vector<Array> arrays;
  for (int v = 0; v < graph.size(); ++v) {
    const Vertex& vertex = graph.vertex(v);
    if (vertex.layer || vertex.output > 0 || vertex.is_zero) continue;
    Array array = made_up(graph, v, static_cast<uint64_t>(v));
    inputs += (inputs.empty() ? "" : ", ") + write_array(folder, stem, array);
    if (vertex.state_of < 0) arrays.push_back(std::move(array));
  }
  PlanOptions options;
  options.config.training = false;
  options.micro_batch = kOnnxSamples;
  Plan plan(graph, arena, std::vector<LossSpec>{}, options);
  plan.refresh_weights();
  std::vector<const void*> data;
  for (const Array& array : arrays) data.push_back(array.data());
  const std::vector<int64_t> ids{0, 1, 2};
  BatchContext batch;
  batch.n_valid = kOnnxSamples;
  batch.sample_ids = ids.data();
  plan.stage(data, {}, batch);
  plan.wait_staged();
  plan.forward();
  Array output{"output", "float32", plan.output_shape(), {}, {}};
  output.reals.assign(plan.output(), plan.output() + output.shape.n_elements());
  std::ofstream(folder + "/cases.jsonl", std::ios::app)
      << fmt::format(R"({{"model": {}, "file": {}, "inputs": [{}], "output": {}}})", json_quote(model),
                     json_quote(stem + ".onnx"), inputs, write_array(folder, stem, output))
      << '\n';
  const std::string structure = onnx_structure(network.model);
  const Hash128 hash = hash128(structure.data(), static_cast<int64_t>(structure.size()));
  return fmt::format("{:016x}", hash.low);
}

}  // namespace lockstep
