// Makers of the built-in layers, for the zoo and for C++ users. Options as in job files.
#pragma once

#include <array>
#include <limits>
#include <vector>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/pad2d.h"
#include "kernels/pool2d.h"
#include "src/network/layer.h"

namespace lockstep {

/// relu, relu6, tanh, sigmoid; kNone is the identity.
std::shared_ptr<const Layer> activation_layer(Activation activation);
std::shared_ptr<const Layer> leaky_relu_layer(double slope = 0.01);
std::shared_ptr<const Layer> elu_layer(double alpha = 1);
/// x Phi(x); `tanh`: its usual approximation (GPT-2).
std::shared_ptr<const Layer> gelu_layer(bool tanh = false);
/// 1 or -1, and `at_zero` for 0 (1: course text 004; 0: PyTorch). Its gradient is 0.
std::shared_ptr<const Layer> sign_layer(double at_zero = 1);
/// Parameter weight (1), or (C) with `per_channel`.
std::shared_ptr<const Layer> prelu_layer(bool per_channel = false, double initial = 0.25);
/// Over the last axis of a sample.
std::shared_ptr<const Layer> softmax_layer();

/// (I) -> (O); an input of higher rank must be flattened first.
std::shared_ptr<const Layer> affine_layer(int64_t out_features, bool bias = true);

struct Conv2dOptions {
  int64_t channels = 0;  // K
  std::array<int64_t, 2> kernel{3, 3}, stride{1, 1}, dilation{1, 1};
  std::array<int64_t, 4> padding{0, 0, 0, 0};  // top, bottom, left, right
  int64_t groups = 1;
  bool bias = true;
  PaddingMode padding_mode = PaddingMode::kZeros;  // conv and conv1d: what the padding is made of
};
/// (C, H, W) -> (K, P, Q)
std::shared_ptr<const Layer> conv2d_layer(const Conv2dOptions& options);

struct Pool2dOptions {
  Pooling pooling = Pooling::kMax;
  std::array<int64_t, 2> kernel{2, 2}, stride{2, 2};
  std::array<int64_t, 4> padding{0, 0, 0, 0};
  bool count_padding = false;       // average: divide by the whole window at the border too
  bool ceil = false;                // a last window may hang over the edge (PyTorch's ceil_mode)
  std::vector<float> weights = {};  // kWeighted: of the window, row by row
  bool normalize = true;            // kWeighted: divide by the sum of the weights inside the image
};
/// (C, H, W) -> (C, P, Q)
std::shared_ptr<const Layer> pool2d_layer(const Pool2dOptions& options);

/// (C, H, W) -> (C, 1, 1) or (C, T) -> (C, 1): global average pooling, or the average over `extents` windows
/// per axis that cover the image (PyTorch's adaptive average pooling).
std::shared_ptr<const Layer> adaptive_average_pool_layer(std::array<int64_t, 2> extents = {1, 1});

/// Transposed convolution, (C, H, W) -> (K, P, Q), P = (H - 1) stride - pads + dilation (kernel - 1)
/// + output_padding + 1. Weights (C, K/groups, kh, kw).
struct ConvTranspose2dOptions : Conv2dOptions {
  std::array<int64_t, 2> output_padding{0, 0};
};
std::shared_ptr<const Layer> conv_transpose2d_layer(const ConvTranspose2dOptions& options);

/// A convolution with its own weights at every place, (C, H, W) -> (K, P, Q); no groups or dilation.
/// Weights (P * Q, K, C * kh * kw), bias (K, P, Q).
std::shared_ptr<const Layer> local_conv2d_layer(const Conv2dOptions& options);
/// A convolution whose weights (K, C/groups, kh, kw) are constants: nothing to train. No bias.
std::shared_ptr<const Layer> fixed_conv2d_layer(const Conv2dOptions& options, std::vector<float> weights);

/// One-dimensional convolution and pooling over (C, T); only the second entries of kernel, stride and
/// dilation and the last two of padding (left, right) count.
std::shared_ptr<const Layer> conv1d_layer(const Conv2dOptions& options);
std::shared_ptr<const Layer> pool1d_layer(const Pool2dOptions& options);

struct BatchNormOptions {
  double momentum = 0.1, epsilon = 1e-5;
  bool affine = true;         // learned weight and bias per channel
  bool synchronized = false;  // statistics over the whole batch of a step, not per micro-batch
};
/// (C, …) -> (C, …). Parameters weight, bias, running_mean, running_var (C).
std::shared_ptr<const Layer> batch_norm_layer(const BatchNormOptions& options = {});

/// Normalises the last `axes` dimensions of a sample. Parameters weight, bias of their shape.
std::shared_ptr<const Layer> layer_norm_layer(int axes = 1, double epsilon = 1e-5, bool affine = true);

struct LocalResponseNormOptions {
  int64_t size = 5;
  double alpha = 1e-4, beta = 0.75, k = 1;  // denominators (k + alpha / size * sum of squares)^beta
};
std::shared_ptr<const Layer> local_response_norm_layer(const LocalResponseNormOptions& options = {});

/// Drops elements with probability p. `test_time_scaling`: training leaves the kept ones as they
/// are and evaluation multiplies by 1 - p (the course); else training divides by 1 - p.
std::shared_ptr<const Layer> dropout_layer(double p, bool test_time_scaling = false);

/// Sum of two to eight values of equal shapes.
std::shared_ptr<const Layer> add_layer();
/// a + b, a - b, a · b, a / b of two values that may broadcast (kernels/arithmetic.h).
std::shared_ptr<const Layer> arithmetic_layer(Arithmetic arithmetic);
/// A function of each element; the parameter is that of scale, shift and power.
std::shared_ptr<const Layer> map_layer(Map map, double parameter = 1);
/// Joins values along `axis` of the sample (0: channels; negative: from the last).
std::shared_ptr<const Layer> concat_layer(int axis = 0);
/// Elements [begin, end) along `axis` of the sample; negative ones count from the end.
constexpr int64_t kToTheEnd = std::numeric_limits<int64_t>::max();
std::shared_ptr<const Layer> slice_layer(int axis, int64_t begin, int64_t end = kToTheEnd);
/// The same elements in row-major order under another sample shape; one extent may be -1.
std::shared_ptr<const Layer> reshape_layer(const std::vector<int64_t>& extents);
/// Axis i of the result is axis axes[i] of the sample, as numpy.transpose.
std::shared_ptr<const Layer> permute_layer(const std::vector<int64_t>& axes);

/// Any shape -> (number of elements)
std::shared_ptr<const Layer> flatten_layer();

/// Reads options that are one number or one per axis: {kernel: 5} or {kernel: [5, 3]}.
std::array<int64_t, 2> read_pair(const Config& options, const std::string& key,
                                 std::array<int64_t, 2> fallback);
/// Windows that slide along one axis.
struct WindowAxis {
  int64_t kernel = 1, stride = 1, dilation = 1;
  int64_t before = 0, after = 0;  // padding
  bool ceil = false;              // see pool_output_extent
};
/// How many there are along `axis` of the sample. Throws Error where none fits.
int64_t window_extent(const WindowAxis& window, int axis, const Shape& sample);
/// The axis of a sample that `axis` means; negative ones count from the last. Throws Error.
int sample_axis(int axis, const Shape& sample);
/// Reads padding: one number, [vertical, horizontal] or [top, bottom, left, right].
std::array<int64_t, 4> read_padding(const Config& options);

}  // namespace lockstep
