// Graphs written in job files: names, blocks, repetition, any order, and what must be refused.
#include <gtest/gtest.h>

#include "src/network/loss_place.h"
#include "src/network/model.h"
#include "tests/src/expect_error.h"
#include "tests/src/network.h"

namespace lockstep {
namespace {

std::vector<std::string> reads(const Graph& graph, const std::string& name) {
  std::vector<std::string> names;
  for (int i : graph.vertex(graph.find(name)).inputs) names.push_back(graph.vertex(i).name);
  return names;
}
using Names = std::vector<std::string>;

void refuses(const std::string& model, const std::vector<std::string>& parts) {
  expect_error([&] { graph_from(model); }, parts);
}

TEST(LayerList, ALayerReadsTheOneBeforeItUnlessItSaysWhat) {
  const Graph graph = graph_from(
      "{input: [4], graph: [{affine: {features: 4, name: a}}, relu, {affine: {features: 4, from: a, name: "
      "b}},"
      " {combine: {from: [relu1, b], name: sum}}, {affine: {features: 2}}]}");
  EXPECT_EQ(reads(graph, "a"), Names{"input"});
  EXPECT_EQ(reads(graph, "relu1"), Names{"a"});
  EXPECT_EQ(reads(graph, "b"), Names{"a"});
  EXPECT_EQ(reads(graph, "sum"), (Names{"relu1", "b"}));
  EXPECT_EQ(reads(graph, "affine3"), Names{"sum"});
  EXPECT_EQ(graph.vertex(graph.output()).name, "affine3");
}

TEST(LayerList, LayersMayStandInAnyOrder) {
  const Graph graph = graph_from(
      "{input: [4], graph: [{affine: {features: 3, from: hidden, name: head}},"
      " {affine: {features: 6, from: input, name: hidden}}], output: head}");
  EXPECT_EQ(graph.vertex(1).name, "hidden");
  EXPECT_EQ(graph.vertex(2).name, "head");
  EXPECT_EQ(graph.output(), 2);
  EXPECT_EQ(graph.vertex(2).shape, Shape{3});
}

TEST(LayerList, BlocksRepeatUnderTheirOwnNames) {
  const Graph graph = graph_from(
      "{input: [4], layers: [{block: [{affine: {features: 4, name: fc}}, tanh, {combine: [tanh1, input]}],"
      " repeat: 3, name: stage}, {affine: 2}, {affine: {features: 1, from: stage.1, name: side}},"
      " {combine: {from: [affine1, affine1]}}], output: combine1}");
  EXPECT_EQ(reads(graph, "stage.0.fc"), Names{"input"});
  EXPECT_EQ(reads(graph, "stage.0.combine1"), (Names{"stage.0.tanh1", "input"}));
  EXPECT_EQ(reads(graph, "stage.1.fc"), Names{"stage.0.combine1"});
  EXPECT_EQ(reads(graph, "stage.2.combine1"), (Names{"stage.2.tanh1", "stage.1.combine1"}));
  EXPECT_EQ(reads(graph, "affine1"), Names{"stage.2.combine1"});
  EXPECT_EQ(reads(graph, "side"), Names{"stage.1.combine1"});
  EXPECT_EQ(graph.n_parameters(), 3 * 20 + 10 + 5);
}

TEST(LayerList, BlocksStandInBlocksAndReadWhatIsAroundThem) {
  const Graph graph = graph_from(
      "{input: [4], layers: [{affine: {features: 4, name: first}},"
      " {block: [{affine: {features: 4, name: fc}}, {block: [{combine: {from: [fc, input, first], name: "
      "sum}}],"
      " name: inner}], name: outer, from: first}]}");
  EXPECT_EQ(reads(graph, "outer.fc"), Names{"first"});
  EXPECT_EQ(reads(graph, "outer.inner.sum"), (Names{"outer.fc", "outer.fc", "first"}));
}

TEST(LayerList, RecomputeMarksEachRepetitionAsABlockOfItsOwn) {
  const Graph graph = graph_from(
      "{input: [4], layers: [{affine: 4}, {block: [{affine: 4}, relu], repeat: 2, recompute: true, name: b}, "
      "{affine: 2}]}");
  EXPECT_EQ(graph.vertex(graph.find("affine1")).recompute, -1);
  const int first = graph.vertex(graph.find("b.0.affine1")).recompute;
  EXPECT_GE(first, 0);
  EXPECT_EQ(graph.vertex(graph.find("b.0.relu1")).recompute, first);
  EXPECT_EQ(graph.vertex(graph.find("b.1.relu1")).recompute, first + 1);
  const Graph named = graph_from("{zoo: mlp, input: [4], hidden: [5, 5], classes: 2, recompute: [fc1, fc2]}");
  EXPECT_GE(named.vertex(named.find("fc2")).recompute, 0);
  EXPECT_EQ(named.vertex(named.find("fc3")).recompute, -1);
}

TEST(LayerList, ParametersAreShared) {
  const Graph graph = graph_from(
      "{inputs: {left: [4], right: [4]}, graph: [{affine: {features: 3, name: a, from: left}},"
      " {affine: {features: 3, name: b, from: right, shares: a}}, {combine: [a, b]}]}");
  EXPECT_EQ(graph.n_parameters(), 15);
  EXPECT_EQ(graph.vertex(graph.find("b")).parameters_of, graph.find("a"));
  refuses(
      "{input: [4], graph: [{affine: {features: 3, name: a}}, {affine: {features: 3, name: b, shares: a}}]}",
      {"layer 'b'", "cannot use the parameters of 'a'"});
}

TEST(LayerList, MistakesNameTheLayerAndTheRemedy) {
  refuses(
      "{input: [4], graph: [{affine: {features: 4, name: a, from: b}}, {affine: {features: 4, name: b, from: "
      "a}}]}",
      {"cycle", "'a' reads 'b' reads 'a'", "change a `from`"});
  refuses("{input: [4], graph: [{affine: {features: 4, name: first}}, {relu: {from: frist}}]}",
          {"layer 'relu1' reads 'frist', which does not exist", "did you mean 'first'?"});
  refuses("{input: [4], graph: [{affine: {features: 4, name: a}}, {affine: {features: 4, name: a}}]}",
          {"model:1", "the name 'a' is used twice"});
  refuses("{input: [4], graph: [{affine: {features: 4, name: input}}]}", {"the name 'input' is used twice"});
  refuses("{input: [4], graph: [{combine: {name: sum}}]}",
          {"layer 'sum' (combine)", "reads at least 2 inputs, not 1"});
  refuses("{input: [4], graph: [{relu: {from: [input, input]}}]}", {"reads one input, not 2"});
  refuses("{input: [4], layers: [{block: [], name: b}]}", {"the list is empty"});
  refuses("{input: [4], layers: [{block: [relu], repeat: 0}]}", {"repeat", "must be at least 1"});
  refuses("{input: [4], layers: [{block: [relu], repaet: 2}]}", {"repaet", "did you mean 'repeat'"});
  refuses("{input: [4], layers: [{affine: 4}], output: afine1}", {"output", "did you mean 'affine1'?"});
  refuses("{input: [4], layers: [{affine: 4}], recompute: stage}",
          {"recompute", "no layer is called 'stage'"});
  refuses("{input: [1, 4, 4], layers: [{conv: {channels: 2, kernel: 5}}]}",
          {"model:1", "layer 'conv1' (conv) after 'input'", "kernel of extent 5 does not fit"});
}

TEST(LayerList, HugeModelsAreMistakes) {
  refuses("{input: [4], layers: [{block: [relu], repeat: 1000000000000}]}",
          {"more than 10000 layers", "repeat"});
  std::string backwards = "{input: [4], layers: [";
  for (int i = 0; i < 2000; ++i)
    backwards += "{relu: {name: a" + std::to_string(i) + ", from: a" + std::to_string(i + 1) + "}}, ";
  refuses(backwards + "{relu: {name: a2000, from: input}}]}", {"stand before what they read"});
  refuses("{input: [1, 1, 1, 1, 1, 1, 1, 1, 1], layers: [relu]}", {"input", "1 to 7 extents"});
  refuses("{input: [4294967296, 4294967296], layers: [relu]}", {"(4294967296, 4294967296)", "elements"});
  refuses("{input: [4], layers: [{affine: 9223372036854775807}]}", {"affine1", "elements"});
  refuses("{input: [100000], layers: [{affine: 100000}]}", {"affine1", "'weight'", "elements"});
  refuses("{input: [3, 8, 8], layers: [{conv: {channels: 1, kernel: 9223372036854775807}}]}",
          {"kernel", "at most 32768"});
  refuses("{input: [4], layers: [{reshape: [4611686018427387904, 4]}]}", {"reshape1", "too many elements"});
}

TEST(LayerList, AValueThatNobodyReadsIsAMistake) {
  const Graph graph = graph_from(
      "{input: [4], graph: [{affine: {features: 3, name: a}}, {affine: {features: 2, name: b, from: "
      "input}}]}");
  expect_error([&] { check_all_read(graph, {loss_from("l2")}); }, {"layer 'a'", "nothing reads it", "`of`"});
  check_all_read(graph, {loss_from("l2"), loss_from("{l2: {of: a}}")});
  expect_error([&] { loss_vertex(graph, loss_from("{l2: {of: aa}}")); },
               {"no layer 'aa'", "did you mean 'a'?"});
}

}  // namespace
}  // namespace lockstep
