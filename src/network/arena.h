// ParameterArena: all weights in one flat float32 array; gradients and optimizer states are
// parallel arrays with the same layout.
//
// Tensors stand in the order in which backward makes their gradients final (reverse of
// forward), so a bucket is one contiguous range. Offsets are aligned to 256 bytes; the
// padding depends on the job only, never on the number of ranks, and stays zero.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "src/network/graph.h"

namespace lockstep {

struct Segment {
  std::string name;  // "conv1.weight"
  Shape shape;
  int64_t offset = 0;         // elements
  int vertex = 0, index = 0;  // the graph's vertex and which of its parameters
  ParameterSpec spec;

  int64_t n_elements() const { return shape.n_elements(); }
  bool is_statistic() const { return spec.role == ParameterSpec::Role::kStatistic; }
};

class ParameterArena {
 public:
  static constexpr int64_t kAlignment = 64;  // elements of 4 bytes

  ParameterArena(const Graph& graph, Device device);
  ParameterArena(const ParameterArena&) = delete;
  ParameterArena& operator=(const ParameterArena&) = delete;

  const std::vector<Segment>& segments() const { return segments_; }
  /// The parameters that a vertex uses, in the layer's order; its own unless it shares another's. The graph
  /// is that of the arena, or one with the same parameters, for sequences of another length.
  std::vector<const Segment*> of_vertex(const Graph& graph, int vertex) const;
  int64_t n_elements() const { return n_elements_; }       // padding included
  int64_t n_parameters() const;                            // padding and statistics excluded
  float* weights() const { return weights_.as<float>(); }  // on the device
  float* weights_of(const Segment& segment) const {
    return reinterpret_cast<float*>(weights_.at(segment.offset * int64_t{sizeof(float)}));
  }
  /// The weights as the host sees them.
  HostMirror& host() const { return *host_; }
  Device device() const { return weights_.device(); }
  /// A zeroed array of the same layout, or of so many of its elements.
  Memory make_parallel() const { return make_array(device(), n_elements_); }
  Memory make_parallel(int64_t n_elements) const { return make_array(device(), n_elements); }
  /// Borders at which buckets may be cut: 0, every segment's end (aligned), n_elements().
  std::vector<int64_t> borders() const;
  /// Elements of the front, up to the border from which on all parameters are of the graph's frozen trunk.
  int64_t n_before_trunk(const Graph& graph) const;

 private:
  static Memory make_array(Device device, int64_t n_elements);

  std::vector<Segment> segments_;
  std::map<std::string, int> by_name_;  // segment indices
  int64_t n_elements_ = 0;
  Memory weights_;
  std::unique_ptr<HostMirror> host_;
};

}  // namespace lockstep
