// From the layers of a job file to vertices of a graph.
//
//   layers:                                     each reads the one before it
//     - {conv: {channels: 16, kernel: 3, padding: 1}}
//     - {block: [{conv: …}, batch_norm, relu, {add: [relu1, input]}], repeat: 8, name: stage1}
//     - {affine: {features: 10, from: stage1, name: head}}
//
// `from` names what a layer reads: a layer of its own block, the block's `input`, or a layer of
// a block around it. Layers may stand in any order; the graph's order follows what they read.
// A layer of block `stage1` is called stage1.NAME, in the third repetition stage1.2.NAME.
#pragma once

#include "src/config/config.h"
#include "src/network/graph.h"

namespace lockstep {

/// Adds the layers of a list (`layers` or `graph`) behind the graph's inputs; the last one listed
/// becomes the output. Throws Error at the layer's line: unknown, double or circular names,
/// shapes that do not fit.
void add_layers(Graph& graph, const Config& list);

}  // namespace lockstep
