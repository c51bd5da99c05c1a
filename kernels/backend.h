// The two siblings behind every op: cpu/ (oneDNN and own loops) and cuda/ (in a build without
// CUDA: no_cuda.cpp, which throws). The files next to this one check their arguments once
// and switch here; nothing outside kernels/ includes it.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "kernels/activation.h"
#include "kernels/additive_attention.h"
#include "kernels/affine.h"
#include "kernels/arithmetic.h"
#include "kernels/attention.h"
#include "kernels/augment.h"
#include "kernels/batch_norm.h"
#include "kernels/concat.h"
#include "kernels/conv2d.h"
#include "kernels/conv_transpose2d.h"
#include "kernels/device.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/local_conv2d.h"
#include "kernels/local_response_norm.h"
#include "kernels/loss.h"
#include "kernels/nonlinearity.h"
#include "kernels/one_hot.h"
#include "kernels/op.h"
#include "kernels/optimizer_update.h"
#include "kernels/pad2d.h"
#include "kernels/permute.h"
#include "kernels/pool2d.h"
#include "kernels/positions.h"
#include "kernels/prelu.h"
#include "kernels/recurrent.h"
#include "kernels/softmax.h"
#include "kernels/steps.h"
#include "kernels/sum.h"

namespace lockstep {

namespace cpu {
std::unique_ptr<Stream> make_stream();
std::string device_name();
bool has_bfloat16();

std::unique_ptr<Op> make_activation(const OpConfig&, const ActivationDesc&);
std::unique_ptr<Op> make_additive_attention(const OpConfig&, const AdditiveAttentionDesc&);
std::unique_ptr<Op> make_affine(const OpConfig&, const AffineDesc&);
std::unique_ptr<Op> make_attention(const OpConfig&, const AttentionDesc&);
std::unique_ptr<Op> make_augment(const OpConfig&, const AugmentDesc&);
std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig&, const BatchNormDesc&);
std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig&, const BinaryCrossEntropyDesc&);
std::unique_ptr<Op> make_binary(const OpConfig&, const BinaryDesc&);
std::unique_ptr<Op> make_concat(const OpConfig&, const ConcatDesc&);
std::unique_ptr<Op> make_conv2d(const OpConfig&, const Conv2dDesc&);
std::unique_ptr<Op> make_conv_transpose2d(const OpConfig&, const ConvTranspose2dDesc&);
std::unique_ptr<Op> make_dropout(const OpConfig&, const DropoutDesc&);
std::unique_ptr<Op> make_embedding(const OpConfig&, const EmbeddingDesc&);
std::unique_ptr<Op> make_hinge_loss(const OpConfig&, const HingeLossDesc&);
std::unique_ptr<Op> make_join_steps(const OpConfig&, const TensorDesc& step, int64_t n_steps);
std::unique_ptr<Op> make_l1_loss(const OpConfig&, const L1LossDesc&);
std::unique_ptr<Op> make_l2_loss(const OpConfig&, const L2LossDesc&);
std::unique_ptr<Op> make_layer_norm(const OpConfig&, const LayerNormDesc&);
std::unique_ptr<Op> make_local_conv2d(const OpConfig&, const LocalConv2dDesc&);
std::unique_ptr<Op> make_local_response_norm(const OpConfig&, const LocalResponseNormDesc&);
std::unique_ptr<Op> make_nonlinearity(const OpConfig&, const NonlinearityDesc&);
std::unique_ptr<Op> make_perceptron_loss(const OpConfig&, const PerceptronLossDesc&);
std::unique_ptr<Op> make_map(const OpConfig&, const MapDesc&);
std::unique_ptr<Op> make_mean_steps(const OpConfig&, const MeanStepsDesc&);
std::unique_ptr<Op> make_one_hot(const OpConfig&, const OneHotDesc&);
std::unique_ptr<Op> make_pad2d(const OpConfig&, const Pad2dDesc&);
std::unique_ptr<Op> make_permute(const OpConfig&, const TensorDesc& src, const std::vector<int>& axes);
std::unique_ptr<Op> make_pick_step(const OpConfig&, const PickStepDesc&);
std::unique_ptr<Op> make_pool2d(const OpConfig&, const Pool2dDesc&);
std::unique_ptr<Op> make_positions(const OpConfig&, const PositionsDesc&);
std::unique_ptr<Op> make_prelu(const OpConfig&, const PreluDesc&);
std::unique_ptr<Op> make_recurrent(const OpConfig&, const RecurrentDesc&);
std::unique_ptr<Op> make_reorder(const OpConfig&, const TensorDesc& src, const TensorDesc& dst);
std::unique_ptr<Op> make_reverse_steps(const OpConfig&, const ReverseStepsDesc&);
std::unique_ptr<Op> make_select_rows(const OpConfig&, const SelectRowsDesc&);
std::unique_ptr<Op> make_softmax(const OpConfig&, const TensorDesc& src);
std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig&, const SoftmaxCrossEntropyDesc&);
std::unique_ptr<Op> make_slice(const OpConfig&, const SliceDesc&);
std::unique_ptr<Op> make_split_steps(const OpConfig&, const TensorDesc& src);
std::unique_ptr<Op> make_sum(const OpConfig&, const SumDesc&);

void add(Stream&, int64_t n, const float* a, const float* b, float* dst);
void add_chain(Stream&, int64_t n, std::span<const float* const> partials, const float* last, float* dst);
void add_chain_bfloat16(Stream&, int64_t n, std::span<const float* const> partials, const float* last,
                        float* dst);
void add_packed_bfloat16(Stream&, int64_t n, const uint16_t* packed, float* values);
void average_update(Stream&, float scale, const UpdateRanges&, float* sums, float* averages);
void fill(Stream&, int64_t n, float value, float* dst);
void pack_bfloat16(Stream&, int64_t n, const float* values, uint16_t* packed);
void round_to_wire(Stream&, int64_t n, float* values, float* residual);
void sum_gradients(Stream&, DType, int64_t n_elements, std::span<void* const> partials);
double sum_of_squares(Stream&, int64_t n, const float* src);
void clip_norm(Stream&, int64_t n, float* values, double scale, double most, double* norm);
void clip_values(Stream&, int64_t n, float* values, float most);
void unpack_bfloat16(Stream&, int64_t n, const uint16_t* packed, float* values);
void sgd_update(Stream&, const SgdUpdate&, const UpdateRanges&, const float* grad, float* weights,
                float* velocity);
void adam_update(Stream&, const AdamUpdate&, const UpdateRanges&, const float* grad, float* weights, float* m,
                 float* v);
}  // namespace cpu

namespace cuda {
std::unique_ptr<Stream> make_stream(int index);
std::string device_name(int index);
int device_count();
std::string why_no_device();
std::string device_address(int index);
std::byte* allocate(int index, int64_t n_bytes);  // zeroed, aligned to 256 bytes; null: no room
void release(int index, std::byte* data) noexcept;
std::byte* allocate_on_host(int index, int64_t n_bytes);  // page-locked; null: no room
void release_on_host(std::byte* data) noexcept;
int64_t free_bytes(int index);
void copy(Stream&, void* dst, const void* src, int64_t n_bytes);
std::unique_ptr<Event> make_event(int index);
std::unique_ptr<RecordedWork> record_work(Stream&, const std::function<void()>& submit);

std::unique_ptr<Op> make_activation(const OpConfig&, const ActivationDesc&);
std::unique_ptr<Op> make_additive_attention(const OpConfig&, const AdditiveAttentionDesc&);
std::unique_ptr<Op> make_affine(const OpConfig&, const AffineDesc&);
std::unique_ptr<Op> make_attention(const OpConfig&, const AttentionDesc&);
std::unique_ptr<Op> make_augment(const OpConfig&, const AugmentDesc&);
std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig&, const BatchNormDesc&);
std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig&, const BinaryCrossEntropyDesc&);
std::unique_ptr<Op> make_binary(const OpConfig&, const BinaryDesc&);
std::unique_ptr<Op> make_concat(const OpConfig&, const ConcatDesc&);
std::unique_ptr<Op> make_conv2d(const OpConfig&, const Conv2dDesc&);
std::unique_ptr<Op> make_conv_transpose2d(const OpConfig&, const ConvTranspose2dDesc&);
std::unique_ptr<Op> make_dropout(const OpConfig&, const DropoutDesc&);
std::unique_ptr<Op> make_embedding(const OpConfig&, const EmbeddingDesc&);
std::unique_ptr<Op> make_hinge_loss(const OpConfig&, const HingeLossDesc&);
std::unique_ptr<Op> make_join_steps(const OpConfig&, const TensorDesc& step, int64_t n_steps);
std::unique_ptr<Op> make_l1_loss(const OpConfig&, const L1LossDesc&);
std::unique_ptr<Op> make_l2_loss(const OpConfig&, const L2LossDesc&);
std::unique_ptr<Op> make_layer_norm(const OpConfig&, const LayerNormDesc&);
std::unique_ptr<Op> make_local_conv2d(const OpConfig&, const LocalConv2dDesc&);
std::unique_ptr<Op> make_local_response_norm(const OpConfig&, const LocalResponseNormDesc&);
std::unique_ptr<Op> make_nonlinearity(const OpConfig&, const NonlinearityDesc&);
std::unique_ptr<Op> make_perceptron_loss(const OpConfig&, const PerceptronLossDesc&);
std::unique_ptr<Op> make_map(const OpConfig&, const MapDesc&);
std::unique_ptr<Op> make_mean_steps(const OpConfig&, const MeanStepsDesc&);
std::unique_ptr<Op> make_one_hot(const OpConfig&, const OneHotDesc&);
std::unique_ptr<Op> make_pad2d(const OpConfig&, const Pad2dDesc&);
std::unique_ptr<Op> make_permute(const OpConfig&, const TensorDesc& src, const std::vector<int>& axes);
std::unique_ptr<Op> make_pick_step(const OpConfig&, const PickStepDesc&);
std::unique_ptr<Op> make_pool2d(const OpConfig&, const Pool2dDesc&);
std::unique_ptr<Op> make_positions(const OpConfig&, const PositionsDesc&);
std::unique_ptr<Op> make_prelu(const OpConfig&, const PreluDesc&);
std::unique_ptr<Op> make_recurrent(const OpConfig&, const RecurrentDesc&);
std::unique_ptr<Op> make_reorder(const OpConfig&, const TensorDesc& src, const TensorDesc& dst);
std::unique_ptr<Op> make_reverse_steps(const OpConfig&, const ReverseStepsDesc&);
std::unique_ptr<Op> make_select_rows(const OpConfig&, const SelectRowsDesc&);
std::unique_ptr<Op> make_softmax(const OpConfig&, const TensorDesc& src);
std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig&, const SoftmaxCrossEntropyDesc&);
std::unique_ptr<Op> make_slice(const OpConfig&, const SliceDesc&);
std::unique_ptr<Op> make_split_steps(const OpConfig&, const TensorDesc& src);
std::unique_ptr<Op> make_sum(const OpConfig&, const SumDesc&);

void add(Stream&, int64_t n, const float* a, const float* b, float* dst);
void add_chain(Stream&, int64_t n, std::span<const float* const> partials, const float* last, float* dst);
void add_chain_bfloat16(Stream&, int64_t n, std::span<const float* const> partials, const float* last,
                        float* dst);
void add_packed_bfloat16(Stream&, int64_t n, const uint16_t* packed, float* values);
void average_update(Stream&, float scale, const UpdateRanges&, float* sums, float* averages);
void fill(Stream&, int64_t n, float value, float* dst);
void pack_bfloat16(Stream&, int64_t n, const float* values, uint16_t* packed);
void round_to_wire(Stream&, int64_t n, float* values, float* residual);
void sum_gradients(Stream&, DType, int64_t n_elements, std::span<void* const> partials);
double sum_of_squares(Stream&, int64_t n, const float* src);
void clip_norm(Stream&, int64_t n, float* values, double scale, double most, double* norm);
void clip_values(Stream&, int64_t n, float* values, float most);
void unpack_bfloat16(Stream&, int64_t n, const uint16_t* packed, float* values);
void sgd_update(Stream&, const SgdUpdate&, const UpdateRanges&, const float* grad, float* weights,
                float* velocity);
void adam_update(Stream&, const AdamUpdate&, const UpdateRanges&, const float* grad, float* weights, float* m,
                 float* v);
}  // namespace cuda

}  // namespace lockstep
