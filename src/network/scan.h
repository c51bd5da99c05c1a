// scan: any graph over time, (carry, x_t) -> (carry, y_t), unrolled into the graph around it. Each step's
// layers use the parameters of step 0; what does not depend on the carry is computed for all steps at once.
#pragma once

#include <string>
#include <vector>

#include "src/network/graph.h"

namespace lockstep {

/// One step. Its graph's inputs are the x_t, the constants and the carries, by their names.
struct ScanBody {
  Graph graph;
  std::vector<int> sequences;  // inputs that hold step t of a sequence
  std::vector<int> constants;  // inputs that are the same at every step
  struct Carry {
    int input = 0;            // what it is before the step
    int next = 0;             // the vertex that it becomes
    bool is_carried = false;  // it goes on into the next step of training, cut for gradients
  };
  std::vector<Carry> carries;
  std::vector<int> outputs;  // what a step gives; the first is the value of the scan
};

/// What the body's inputs are in the graph around it, in their order.
struct ScanInputs {
  std::vector<int> sequences, constants;
  std::vector<int> initial;  // of the carries; -1: zeros
  bool reversed = false;     // from the last valid step to the first; outputs stay in the order of the input
  bool hoists = true;        // false: everything step by step
};

/// Returns the vertex of the first output (T, …), which is called `name`; further ones are NAME.VERTEX and
/// shown. Where the sequences have lengths, carries stay at the end of a row, and outputs are 0 behind it.
/// Throws Error: sequences of other lengths, a carry that changes its shape, running averages in the body.
int add_scan(Graph& graph, const std::string& name, const ScanBody& body, const ScanInputs& inputs);

}  // namespace lockstep
