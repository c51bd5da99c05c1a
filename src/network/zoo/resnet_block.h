// The residual blocks of He et al. 2016 (figure 5), for the ImageNet and the CIFAR networks.
#pragma once

#include <string>

#include "src/network/zoo/parts.h"

namespace lockstep {

struct ResidualBlock {
  int64_t channels = 0;     // of its 3x3 convolutions
  int64_t stride = 1;       // of the (first) 3x3 convolution
  bool bottleneck = false;  // 1x1, 3x3, 1x1 to four times the channels; else two of 3x3
  bool projection = true;   // where shapes change: 1x1 convolution with batch norm (option B),
                            // else every stride-th pixel and zeros in new channels (option A)
  BatchNormOptions norm;
};
/// Appends a block behind the last vertex. Names are torchvision's: NAME.conv1, NAME.bn1, …,
/// NAME.downsample.0; the sum is NAME.add and the block's value NAME.relu.
void append_residual_block(Graph& graph, const ResidualBlock& block, const std::string& name);

}  // namespace lockstep
