// Made-up training states for the checkpoint tests. Element i of tensor t is a fixed function
// of (name of t, i), so that any process can say what a loaded value must be.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"

namespace lockstep {

/// splitmix64 of a position in the stream of a tensor's name.
inline uint64_t test_bits(const std::string& name, int64_t i) {
  uint64_t x = 0x9E3779B97F4A7C15u * (static_cast<uint64_t>(i) + 1);
  for (const char c : name) x = (x ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// A tensor with its memory.
struct TestTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::kFloat32;
  std::vector<char> bytes;

  TestTensor(std::string name_, Shape shape_, DType dtype_ = DType::kFloat32)
      : name(std::move(name_)), shape(shape_), dtype(dtype_) {
    bytes.resize(static_cast<size_t>(shape.n_elements() * size_of(dtype)));
  }
  void fill() {
    const int64_t n = shape.n_elements(), width = size_of(dtype);
    for (int64_t i = 0; i < n; ++i) {
      // float32 in [-1, 1); other types are any bits.
      const uint64_t bits = test_bits(name, i);
      const float value = static_cast<float>(static_cast<int64_t>(bits >> 40) - (1 << 23)) / (1 << 23);
      if (dtype == DType::kFloat32) {
        std::memcpy(&bytes[static_cast<size_t>(i * width)], &value, sizeof value);
      } else {
        std::memcpy(&bytes[static_cast<size_t>(i * width)], &bits, static_cast<size_t>(width));
      }
    }
  }
};

struct TestState {
  CheckpointInfo info;
  std::vector<TestTensor> storage;

  std::vector<CheckpointTensor> tensors() {
    std::vector<CheckpointTensor> list;
    for (TestTensor& t : storage) list.push_back({t.name, t.shape, t.dtype, t.bytes.data()});
    return list;
  }
};

/// `kind` as in checkpoint_writer.cpp. Filled.
inline TestState make_state(const std::string& kind) {
  TestState state;
  state.info.step = 1000;
  state.info.epoch = 3;
  state.info.step_in_epoch = 17;
  state.info.seed = 0xFEDCBA9876543210u;
  state.info.job = "name: test\nseed: 1 # \xC3\xA9\n";
  state.info.numbers = {{"best_accuracy", 0.1}, {"patience/left", -0.0}, {"tiny", 5e-324}};
  state.info.texts = {{"onednn", "2.6.3"}, {"empty", ""}};
  auto& s = state.storage;
  if (kind == "odd") {
    s.emplace_back("/parameters/scalar", Shape{});
    s.emplace_back("/parameters/one", Shape{1});
    s.emplace_back("/parameters/conv.weight", Shape{3, 1, 5, 5});
    s.emplace_back("/parameters/empty", Shape{0});
    s.emplace_back("/parameters/none.weight", Shape{4, 0, 3});
    s.emplace_back("/parameters/long", Shape{1000003});
    s.emplace_back("/parameters/rows", Shape{7, 11, 13, 601});
    s.emplace_back("/parameters/eight", Shape{2, 3, 2, 3, 2, 3, 2, 4099});
    s.emplace_back("/buffers/bn.running_mean", Shape{64});
    s.emplace_back("/buffers/bn.num_batches_tracked", Shape{}, DType::kInt64);
    s.emplace_back("/optimizer/m/conv.weight", Shape{3, 1, 5, 5});
    s.emplace_back("/optimizer/velocity/deep/er.x", Shape{5, 7}, DType::kFloat64);
    s.emplace_back("/extra/half", Shape{33, 3}, DType::kFloat16);
    s.emplace_back("/extra/bfloat", Shape{33, 3}, DType::kBFloat16);
    s.emplace_back("/extra/bytes", Shape{1 << 20, 3}, DType::kUInt8);
    s.emplace_back("/extra/ints", Shape{9}, DType::kInt32);
  } else if (kind == "many") {
    for (int i = 0; i < 200; ++i) {
      s.emplace_back("/parameters/layer" + std::to_string(i) + ".weight", Shape{i % 7 + 1, 1 + 3 * i});
    }
  } else if (kind == "large") {
    s.emplace_back("/parameters/table", Shape{10, 1000000});
  } else if (kind == "small") {
    s.emplace_back("/parameters/fc.weight", Shape{10, 30});
    s.emplace_back("/parameters/fc.bias", Shape{10});
    s.emplace_back("/optimizer/velocity/fc.weight", Shape{10, 30});
  }
  for (TestTensor& t : s) t.fill();
  return state;
}

}  // namespace lockstep
