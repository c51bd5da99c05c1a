// Makers of the built-in layers, for the zoo and for C++ users. Options as in job files.
#pragma once

#include <array>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/activation.h"
#include "kernels/arithmetic.h"
#include "kernels/pad2d.h"
#include "kernels/pool2d.h"
#include "kernels/recurrent.h"
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

/// (I) -> (O); an input of higher rank must be flattened first. each_step: (…, I) -> (…, O), the last axis of
/// each place.
struct AffineOptions {
  int64_t features = 0;  // O
  bool bias = true, each_step = false;
  std::optional<double> deviation = std::nullopt;  // of the first weights, where the job names no `init`
  bool is_transposed_outside = false;              // files of other programs have the weight as (I, O)
};
std::shared_ptr<const Layer> affine_layer(const AffineOptions& options);
std::shared_ptr<const Layer> affine_layer(int64_t out_features, bool bias = true, bool each_step = false);

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

/// Ids (…) -> rows of a table (…, width). Parameter weight (vocabulary, width).
struct EmbeddingOptions {
  int64_t width = 0, vocabulary = 0;
  std::optional<int64_t> padding_id = std::nullopt;  // its row is never trained
  std::optional<double> deviation = std::nullopt;    // of the first rows, where the job names no `init`
};
std::shared_ptr<const Layer> embedding_layer(const EmbeddingOptions& options);
/// Ids (…) -> (…, classes), 1 at the id and 0 elsewhere.
std::shared_ptr<const Layer> one_hot_layer(int64_t classes);

/// (T, D) -> (T, H), and h_n (H), for LSTMs c_n (H) too: states behind the last valid step. Reads the
/// sequence, then, where they do not start at zero, the states of each layer and direction: h_0, for LSTMs
/// c_0. Parameters by PyTorch's names: weight_ih_l0 (G H, D), weight_hh_l0 (G H, H), bias_ih_l0, bias_hh_l0
/// (G H), the gates in its order, `_reverse` behind those of the backward direction; and peephole_l0 (3 H).
struct RecurrentOptions {
  RecurrentCell cell = RecurrentCell::kLstm;
  int64_t hidden = 0;  // H
  int64_t layers = 1;
  bool bidirectional = false;  // (T, 2 H): forward, then backward
  bool reversed = false;       // backward alone
  bool bias = true;
  double dropout = 0;                            // between layers
  bool reset_after = true, update_keeps = true;  // GRU: see RecurrentDesc
  bool carries_state = false;                    // from one step of training to the next, cut for gradients
};
std::shared_ptr<const Layer> recurrent_layer(const RecurrentOptions& options);

/// (T, …) -> (…): the last valid step, or step 0; the mean over the valid steps.
std::shared_ptr<const Layer> pick_step_layer(bool first = false);
std::shared_ptr<const Layer> mean_steps_layer();
/// (T, …) -> T values (…): its first is step 0, its further output "t" step t.
std::shared_ptr<const Layer> split_steps_layer(int64_t n_steps);
/// T values (…) -> (T, …)
std::shared_ptr<const Layer> join_steps_layer();
/// {(…), a sequence (T, …)} -> (T, …): the first value at every step.
std::shared_ptr<const Layer> repeat_steps_layer();
/// {new (…), old (…), lengths}: new where step t is valid, else old.
std::shared_ptr<const Layer> select_rows_layer(int64_t step);
/// (T, …) -> (T, …): valid steps in reverse, then zeros.
std::shared_ptr<const Layer> reverse_steps_layer();

/// {query (A), keys (S, A), values (S, E)} -> (E), and the weights (S) as its further output "weights":
/// v . tanh(query + key), softmax over the valid steps, weighted sum (Bahdanau et al. 2015). Parameter v (A).
std::shared_ptr<const Layer> additive_attention_layer();

/// softmax(q k^T / sqrt(D / heads)) v of each head (Vaswani et al. 2017): {queries (T, D), keys (S, D),
/// values (S, D)}, or packed a sequence (T, 3 D) of all three side by side -> (T, D), and the weights (heads,
/// T, S) as its further output "weights". Steps behind the keys' lengths are not seen.
struct AttentionOptions {
  int64_t heads = 1;
  bool packed = false;
  bool causal = false;  // step t sees steps up to t
  bool self = false;    // keys are of the queries' sequence: steps behind the lengths give 0
  double dropout = 0;   // of the weights
};
std::shared_ptr<const Layer> attention_layer(const AttentionOptions& options);
/// (T, D) -> (T, D): adds what stands for each place. Parameter weight (max_steps, D), or sines and cosines.
struct PositionsOptions {
  enum class Kind { kLearned, kSinusoidal, kSinesThenCosines } kind = Kind::kLearned;
  int64_t max_steps = 0;
  std::optional<double> deviation = std::nullopt;  // of the first weights, where the job names no `init`
};
std::shared_ptr<const Layer> positions_layer(const PositionsOptions& options);

/// {sequence (T, D)} or {queries (T, D), what they look at (S, D)} -> (T, D): projections NAME.q_proj,
/// k_proj, v_proj, then attention_layer as NAME.heads, then NAME.out_proj.
struct MultiHeadAttentionOptions {
  int64_t heads = 1;
  bool causal = false;
  double dropout = 0;                              // of the weights
  std::optional<double> deviation = std::nullopt;  // of the first weights, where the job names no `init`
};
std::shared_ptr<const Layer> multi_head_attention_layer(const MultiHeadAttentionOptions& options);

/// Any shape -> (number of elements)
std::shared_ptr<const Layer> flatten_layer();

/// A size that must be given: at least 1.
int64_t read_size(const Config& options, const std::string& key);
/// Below 1; 0 where it is not given.
double read_probability(const Config& options, const std::string& key);
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
