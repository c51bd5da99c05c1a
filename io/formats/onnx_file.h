// ONNX files: a graph of operators with its weights, which onnxruntime and others run. The format is Protocol
// Buffers' encoding of onnx.proto (opset 17, IR version 8); of it only what a network needs is written.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/shape.h"

namespace lockstep {

/// TensorProto.DataType.
enum class OnnxType : int { kFloat = 1, kInt32 = 6, kInt64 = 7, kBool = 9 };

struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<std::string>> value;
};

struct OnnxNode {
  std::string op, name;
  std::vector<std::string> inputs, outputs;  // an empty name: left out
  std::vector<OnnxAttribute> attributes;
};

/// Values that the file holds; `data` must live until it is written.
struct OnnxTensor {
  std::string name;
  Shape shape;
  OnnxType type = OnnxType::kFloat;
  const void* data = nullptr;
  int64_t n_bytes() const;
};

/// An input or output of the graph: (N, shape) with a batch of any size.
struct OnnxValue {
  std::string name;
  OnnxType type = OnnxType::kFloat;
  Shape shape;
};

struct OnnxModel {
  std::string name, producer_version;
  std::vector<OnnxNode> nodes;  // in an order in which they can run
  std::vector<OnnxTensor> tensors;
  std::vector<OnnxValue> inputs, outputs;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// The bytes of the file without the tensors' data: what tests compare.
std::string onnx_structure(const OnnxModel& model);

/// Writes the file; readers see the old or the new one. Throws Error on a file of 2 GiB or more, which
/// Protocol Buffers cannot hold.
void write_onnx(const std::string& path, const OnnxModel& model);

}  // namespace lockstep
