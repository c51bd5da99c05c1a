#include "io/formats/onnx_file.h"

#include <fmt/format.h>

#include "io/files/files.h"
#include "io/files/protobuf.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kOnnxIrVersion = 8, kOnnxOpset = 17;
constexpr int64_t kMostProtobufBytes = (int64_t{1} << 31) - 1;

using Message = ProtobufMessage;

// Numbers of fields and of AttributeProto.AttributeType are those of onnx.proto.

Message attribute_message(const OnnxAttribute& attribute) {
  Message m;
  m.text(1, attribute.name);
  if (const auto* whole = std::get_if<int64_t>(&attribute.value)) {
    m.number(3, *whole);
    m.number(20, 2);
  } else if (const auto* real = std::get_if<float>(&attribute.value)) {
    m.real(2, *real);
    m.number(20, 1);
  } else if (const auto* text = std::get_if<std::string>(&attribute.value)) {
    m.text(4, *text);
    m.number(20, 3);
  } else if (const auto* wholes = std::get_if<std::vector<int64_t>>(&attribute.value)) {
    for (const int64_t value : *wholes) m.number(8, value);
    m.number(20, 7);
  } else {
    for (const std::string& value : std::get<std::vector<std::string>>(attribute.value)) m.text(9, value);
    m.number(20, 8);
  }
  return m;
}

Message node_message(const OnnxNode& node) {
  Message m;
  for (const std::string& input : node.inputs) m.text(1, input);
  for (const std::string& output : node.outputs) m.text(2, output);
  m.text(3, node.name);
  m.text(4, node.op);
  for (const OnnxAttribute& attribute : node.attributes) m.message(5, attribute_message(attribute));
  return m;
}

Message value_message(const OnnxValue& value) {
  Message shape, batch;
  batch.text(2, "N");
  shape.message(1, batch);
  for (const int64_t extent : value.shape) {
    Message dimension;
    dimension.number(1, extent);
    shape.message(1, dimension);
  }
  Message tensor, type, m;
  tensor.number(1, static_cast<int>(value.type));
  tensor.message(2, shape);
  type.message(1, tensor);
  m.text(1, value.name);
  m.message(2, type);
  return m;
}

/// The head of an initialiser, up to its data.
Message tensor_head(const OnnxTensor& tensor) {
  Message m;
  for (const int64_t extent : tensor.shape) m.number(1, extent);
  m.number(2, static_cast<int>(tensor.type));
  m.text(8, tensor.name);
  m.length(9, tensor.n_bytes());
  return m;
}

/// Parts of the file in order; the data of tensor i stands behind part i, what is behind all tensors last.
struct Parts {
  std::vector<std::string> before;
  std::string last;
  int64_t n_bytes = 0;
};

Parts parts_of(const OnnxModel& model) {
  Message nodes;
  for (const OnnxNode& node : model.nodes) nodes.message(1, node_message(node));
  nodes.text(2, model.name);
  Message values;
  for (const OnnxValue& input : model.inputs) values.message(11, value_message(input));
  for (const OnnxValue& output : model.outputs) values.message(12, value_message(output));
  std::vector<std::string> heads;
  auto n_graph = static_cast<int64_t>(nodes.bytes().size() + values.bytes().size());
  for (const OnnxTensor& tensor : model.tensors) {
    const Message head = tensor_head(tensor);
    Message field;
    field.length(5, static_cast<int64_t>(head.bytes().size()) + tensor.n_bytes());
    heads.push_back(field.bytes() + head.bytes());
    n_graph += static_cast<int64_t>(heads.back().size()) + tensor.n_bytes();
  }
  Message opset, front;
  opset.text(1, "");
  opset.number(2, kOnnxOpset);
  front.number(1, kOnnxIrVersion);
  front.text(2, "Lockstep");
  front.text(3, model.producer_version);
  front.message(8, opset);
  for (const auto& [key, value] : model.metadata) {
    Message entry;
    entry.text(1, key);
    entry.text(2, value);
    front.message(14, entry);
  }
  front.length(7, n_graph);
  Parts parts;
  parts.n_bytes = static_cast<int64_t>(front.bytes().size()) + n_graph;
  std::string pending = front.bytes() + nodes.bytes();
  for (std::string& head : heads) {
    parts.before.push_back(pending + head);
    pending.clear();
  }
  parts.last = pending + values.bytes();
  return parts;
}

}  // namespace

int64_t OnnxTensor::n_bytes() const {
  const int64_t n = shape.n_elements();
  return type == OnnxType::kBool ? n : type == OnnxType::kInt64 ? 8 * n : 4 * n;
}

std::string onnx_structure(const OnnxModel& model) {
  const Parts parts = parts_of(model);
  std::string all;
  for (const std::string& part : parts.before) all += part;
  return all + parts.last;
}

void write_onnx(const std::string& path, const OnnxModel& model) {
  const Parts parts = parts_of(model);
  if (parts.n_bytes > kMostProtobufBytes)
    throw Error(
        path,
        fmt::format("the network takes {} bytes, and an ONNX file holds less than 2 GiB", parts.n_bytes),
        "export a smaller network, or its weights alone to safetensors");
  write_file_atomically(path, [&](FileHandle& file) {
    file.reserve(parts.n_bytes);  // a full disk is met here
    int64_t at = 0;
    const auto write = [&](const void* data, int64_t n_bytes) {
      file.write_at(data, n_bytes, at);
      at += n_bytes;
    };
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      write(parts.before[i].data(), static_cast<int64_t>(parts.before[i].size()));
      write(model.tensors[i].data, model.tensors[i].n_bytes());
    }
    write(parts.last.data(), static_cast<int64_t>(parts.last.size()));
  });
}

}  // namespace lockstep
