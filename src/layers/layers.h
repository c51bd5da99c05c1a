// Makers of the built-in layers, for the zoo and for C++ users. Options as in job files.
#pragma once

#include <array>

#include "kernels/activation.h"
#include "kernels/pool2d.h"
#include "src/layer.h"

namespace lockstep {

std::shared_ptr<const Layer> activation_layer(Activation activation);

/// (I) -> (O); an input of higher rank must be flattened first.
std::shared_ptr<const Layer> affine_layer(int64_t out_features, bool bias = true);

struct Conv2dOptions {
  int64_t channels = 0;  // K
  std::array<int64_t, 2> kernel{3, 3}, stride{1, 1}, dilation{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right
  int64_t groups = 1;
  bool bias = true;
};
/// (C, H, W) -> (K, P, Q)
std::shared_ptr<const Layer> conv2d_layer(const Conv2dOptions& options);

struct Pool2dOptions {
  Pooling pooling = Pooling::kMax;
  std::array<int64_t, 2> kernel{2, 2}, stride{2, 2};
  std::array<int64_t, 4> padding{0, 0, 0, 0};
};
/// (C, H, W) -> (C, P, Q)
std::shared_ptr<const Layer> pool2d_layer(const Pool2dOptions& options);

/// Any shape -> (number of elements)
std::shared_ptr<const Layer> flatten_layer();

/// Reads options that are one number or one per axis: {kernel: 5} or {kernel: [5, 3]}.
std::array<int64_t, 2> read_pair(const Config& options, const std::string& key,
                                 std::array<int64_t, 2> fallback);
/// Reads padding: one number, [vertical, horizontal] or [top, bottom, left, right].
std::array<int64_t, 4> read_padding(const Config& options);

}  // namespace lockstep
