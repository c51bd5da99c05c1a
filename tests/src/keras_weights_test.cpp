// Keras' names, axes and gates: every element of a parameter is the element of the file that Keras' layout
// says.
#include <gtest/gtest.h>

#include <numeric>

#include "src/network/weights_file.h"
#include "tests/src/network.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

/// Tensors whose element i is 1000 times the tensor's number plus i.
std::string write_file(const TemporaryFolder& folder,
                       const std::vector<std::pair<std::string, Shape>>& tensors) {
  std::vector<SafetensorsTensor> all;
  for (const auto& [name, shape] : tensors) all.push_back({name, shape, DType::kFloat32});
  const std::string path = folder.file("keras.safetensors");
  write_safetensors(path, all, [&](size_t i, void* data) {
    auto* const values = static_cast<float*>(data);
    std::iota(values, values + all[i].shape.n_elements(), 1000.0F * static_cast<float>(i));
  });
  return path;
}

class KerasWeights : public testing::Test {
 protected:
  void import(const std::string& layers, const std::vector<std::pair<std::string, Shape>>& tensors) {
    graph_ = std::make_unique<Graph>(graph_from(layers));
    arena_ = std::make_unique<ParameterArena>(*graph_, Device{});
    ImportRules rules;
    rules.layout = ImportRules::Layout::kKeras;
    import_weights(SafetensorsFile(write_file(folder_, tensors)), rules, *arena_);
  }
  /// By the indices of our parameter, as float64.
  float at(const std::string& name, std::vector<int64_t> indices) const {
    for (const Segment& segment : arena_->segments()) {
      if (segment.name != name) continue;
      int64_t place = 0;
      for (int d = 0; d < segment.shape.rank(); ++d)
        place = place * segment.shape[d] + indices[static_cast<size_t>(d)];
      return arena_->weights_of(segment)[place];
    }
    ADD_FAILURE() << name;
    return -1;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Graph> graph_;
  std::unique_ptr<ParameterArena> arena_;
};

TEST_F(KerasWeights, RecurrentLayers) {
  import(
      "{input: [5, 3], layers: [{lstm: {hidden: 2, direction: bidirectional, name: both}}, {gru: {hidden: 2, "
      "name: "
      "after}}, {gru: {hidden: 2, reset: before, name: before}}]}",
      {{"sequential.both.forward_lstm.lstm_cell.kernel",
        { 3,
          8 }},
       {"sequential.both.forward_lstm.lstm_cell.recurrent_kernel",
        { 2,
          8 }},
       {"sequential.both.forward_lstm.lstm_cell.bias",
        { 8 }},
       {"sequential.both.backward_lstm.lstm_cell.kernel",
        { 3,
          8 }},
       {"sequential.both.backward_lstm.lstm_cell.recurrent_kernel",
        { 2,
          8 }},
       {"sequential.both.backward_lstm.lstm_cell.bias",
        { 8 }},
       {"sequential.after.gru_cell.kernel",
        { 4,
          6 }},
       {"sequential.after.gru_cell.recurrent_kernel",
        { 2,
          6 }},
       {"sequential.after.gru_cell.bias",
        { 2,
          6 }},
       {"before.kernel",
        { 2,
          6 }},
       {"before.recurrent_kernel",
        { 2,
          6 }},
       { "before.bias",
         { 6 } }});
  for (int64_t row = 0; row < 8; ++row) {  // i, f, c, o stay
    for (int64_t d = 0; d < 3; ++d) {
      EXPECT_EQ(at("both.weight_ih_l0", {row, d}), static_cast<float>(d * 8 + row));
      EXPECT_EQ(at("both.weight_ih_l0_reverse", {row, d}), static_cast<float>(3000 + d * 8 + row));
    }
    EXPECT_EQ(at("both.weight_hh_l0", {row, 1}), static_cast<float>(1000 + 8 + row));
    EXPECT_EQ(at("both.bias_ih_l0_reverse", {row}), static_cast<float>(5000 + row));
    EXPECT_EQ(at("both.bias_hh_l0_reverse", {row}), 0);
  }
  const int64_t keras_row[] = {2, 3, 0, 1, 4, 5};  // r, z, n of z, r, h
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t d = 0; d < 4; ++d)
      EXPECT_EQ(at("after.weight_ih_l0", {row, d}), static_cast<float>(6000 + d * 6 + keras_row[row]));
    EXPECT_EQ(at("after.weight_hh_l0", {row, 1}), static_cast<float>(7000 + 6 + keras_row[row]));
    EXPECT_EQ(at("after.bias_ih_l0", {row}), static_cast<float>(8000 + keras_row[row]));
    EXPECT_EQ(at("after.bias_hh_l0", {row}), static_cast<float>(8000 + 6 + keras_row[row]));
    EXPECT_EQ(at("before.bias_ih_l0", {row}), static_cast<float>(11000 + keras_row[row]));
    EXPECT_EQ(at("before.bias_hh_l0", {row}), 0);
  }
}

TEST_F(KerasWeights, ConvolutionsAndNorms) {
  import(
      "{input: [3, 9, 8], layers: [{conv: {channels: 4, kernel: [3, 2], name: c}}, {batch_norm: {name: n}}, "
      "{conv: "
      "{channels: 8, kernel: 3, groups: 4, name: d}}, {conv_transpose: {channels: 5, kernel: [2, 3], name: "
      "t}}, "
      "flatten, {affine: {features: 2, name: f}}]}",
      {{"c.kernel",
        { 3,
          2,
          3,
          4 }},
       {"c.bias",
        { 4 }},
       {"n.gamma",
        { 4 }},
       {"n.beta",
        { 4 }},
       {"n.moving_mean",
        { 4 }},
       {"n.moving_variance",
        { 4 }},
       {"d.kernel",
        { 3,
          3,
          4,
          2 }},
       {"d.bias",
        { 8 }},
       {"t.kernel",
        { 2,
          3,
          5,
          8 }},
       {"t.bias",
        { 5 }},
       {"f.kernel",
        { 5 * 6 * 7,
          2 }},
       { "f.bias",
         { 2 } }});
  EXPECT_EQ(at("c.weight", {3, 1, 2, 0}), static_cast<float>(((2 * 2 + 0) * 3 + 1) * 4 + 3));
  EXPECT_EQ(at("n.weight", {2}), 2002);
  EXPECT_EQ(at("n.bias", {2}), 3002);
  EXPECT_EQ(at("n.running_mean", {1}), 4001);
  EXPECT_EQ(at("n.running_var", {1}), 5001);
  EXPECT_EQ(at("d.weight", {5, 0, 1, 2}),
            static_cast<float>(6000 + ((1 * 3 + 2) * 4 + 2) * 2 + 1));  // channel 2, copy 1
  EXPECT_EQ(at("t.weight", {7, 4, 1, 2}), static_cast<float>(8000 + ((1 * 3 + 2) * 5 + 4) * 8 + 7));
  EXPECT_EQ(at("f.weight", {1, 9}), 10000 + 9 * 2 + 1);
}

TEST_F(KerasWeights, WhatDoesNotFitIsNamedByBothNames) {
  try {
    import("{input: [5, 3], layers: [{gru: {hidden: 2, name: g}}]}", {{"model.g.gru_cell.kernel",
                                                                       { 3,
                                                                         6 }},
                                                                      {"model.g.gru_cell.recurrent_kernel",
                                                                       { 2,
                                                                         6 }},
                                                                      { "model.g.gru_cell.bias",
                                                                        { 3,
                                                                          6 } }});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(
        error.reason().find("g.bias_ih_l0 (in the file: model.g.gru_cell.bias): (3, 6), the model needs (6)"),
        std::string::npos)
        << error.reason();
  }
}

}  // namespace
}  // namespace lockstep
