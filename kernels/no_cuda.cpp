// The CUDA side of a build without CUDA: no device is found, and whoever asks for one is told
// how to get it. The same names as kernels/cuda, so that no other file knows the difference.
#include "kernels/backend.h"
#include "kernels/element_update.h"
#include "kernels/error.h"
#include "kernels/library_versions.h"
#include "kernels/norm_update.h"

namespace lockstep::cuda {

namespace {
[[noreturn]] void refuse() {
  throw Error("device cuda", "this build of Lockstep has no CUDA support",
              "use `device: cpu`, or configure with -DLOCKSTEP_CUDA=ON where a CUDA toolkit is installed");
}
}  // namespace

std::unique_ptr<Stream> make_stream(int) { refuse(); }
std::string device_name(int) { refuse(); }
std::vector<Version> library_versions() { return {}; }
int device_count() { return 0; }
std::string why_no_device() { return "this build of Lockstep has no CUDA support"; }
std::string device_address(int) { refuse(); }
std::byte* allocate(int, int64_t) { refuse(); }
void release(int, std::byte*) noexcept {}
std::byte* allocate_on_host(int, int64_t) { refuse(); }
void release_on_host(std::byte*) noexcept {}
int64_t free_bytes(int) { refuse(); }
void copy(Stream&, void*, const void*, int64_t) { refuse(); }
std::unique_ptr<Event> make_event(int) { refuse(); }
std::unique_ptr<RecordedWork> record_work(Stream&, const std::function<void()>&) { refuse(); }

std::unique_ptr<Op> make_activation(const OpConfig&, const ActivationDesc&) { refuse(); }
std::unique_ptr<Op> make_additive_attention(const OpConfig&, const AdditiveAttentionDesc&) { refuse(); }
std::unique_ptr<Op> make_affine(const OpConfig&, const AffineDesc&) { refuse(); }
std::unique_ptr<Op> make_attention(const OpConfig&, const AttentionDesc&) { refuse(); }
std::unique_ptr<Op> make_augment(const OpConfig&, const AugmentDesc&) { refuse(); }
std::unique_ptr<BatchNorm> make_batch_norm(const OpConfig&, const BatchNormDesc&) { refuse(); }
std::unique_ptr<Op> make_binary_cross_entropy(const OpConfig&, const BinaryCrossEntropyDesc&) { refuse(); }
std::unique_ptr<Op> make_binary(const OpConfig&, const BinaryDesc&) { refuse(); }
std::unique_ptr<Op> make_concat(const OpConfig&, const ConcatDesc&) { refuse(); }
std::unique_ptr<Op> make_conv2d(const OpConfig&, const Conv2dDesc&) { refuse(); }
std::unique_ptr<Op> make_conv_transpose2d(const OpConfig&, const ConvTranspose2dDesc&) { refuse(); }
std::unique_ptr<Op> make_dropout(const OpConfig&, const DropoutDesc&) { refuse(); }
std::unique_ptr<Op> make_embedding(const OpConfig&, const EmbeddingDesc&) { refuse(); }
std::unique_ptr<Op> make_hinge_loss(const OpConfig&, const HingeLossDesc&) { refuse(); }
std::unique_ptr<Op> make_join_steps(const OpConfig&, const TensorDesc&, int64_t) { refuse(); }
std::unique_ptr<Op> make_l1_loss(const OpConfig&, const L1LossDesc&) { refuse(); }
std::unique_ptr<Op> make_l2_loss(const OpConfig&, const L2LossDesc&) { refuse(); }
std::unique_ptr<Op> make_layer_norm(const OpConfig&, const LayerNormDesc&) { refuse(); }
std::unique_ptr<Op> make_local_conv2d(const OpConfig&, const LocalConv2dDesc&) { refuse(); }
std::unique_ptr<Op> make_local_response_norm(const OpConfig&, const LocalResponseNormDesc&) { refuse(); }
std::unique_ptr<Op> make_nonlinearity(const OpConfig&, const NonlinearityDesc&) { refuse(); }
std::unique_ptr<Op> make_perceptron_loss(const OpConfig&, const PerceptronLossDesc&) { refuse(); }
std::unique_ptr<Op> make_map(const OpConfig&, const MapDesc&) { refuse(); }
std::unique_ptr<Op> make_mean_steps(const OpConfig&, const MeanStepsDesc&) { refuse(); }
std::unique_ptr<Op> make_one_hot(const OpConfig&, const OneHotDesc&) { refuse(); }
std::unique_ptr<Op> make_pad2d(const OpConfig&, const Pad2dDesc&) { refuse(); }
std::unique_ptr<Op> make_permute(const OpConfig&, const TensorDesc&, const std::vector<int>&) { refuse(); }
std::unique_ptr<Op> make_pick_step(const OpConfig&, const PickStepDesc&) { refuse(); }
std::unique_ptr<Op> make_pool2d(const OpConfig&, const Pool2dDesc&) { refuse(); }
std::unique_ptr<Op> make_positions(const OpConfig&, const PositionsDesc&) { refuse(); }
std::unique_ptr<Op> make_prelu(const OpConfig&, const PreluDesc&) { refuse(); }
std::unique_ptr<Op> make_recurrent(const OpConfig&, const RecurrentDesc&) { refuse(); }
std::unique_ptr<Op> make_reorder(const OpConfig&, const TensorDesc&, const TensorDesc&) { refuse(); }
std::unique_ptr<Op> make_reverse_steps(const OpConfig&, const ReverseStepsDesc&) { refuse(); }
std::unique_ptr<Op> make_select_rows(const OpConfig&, const SelectRowsDesc&) { refuse(); }
std::unique_ptr<Op> make_softmax(const OpConfig&, const TensorDesc&) { refuse(); }
std::unique_ptr<Op> make_softmax_cross_entropy(const OpConfig&, const SoftmaxCrossEntropyDesc&) { refuse(); }
std::unique_ptr<Op> make_slice(const OpConfig&, const SliceDesc&) { refuse(); }
std::unique_ptr<Op> make_split_steps(const OpConfig&, const TensorDesc&) { refuse(); }
std::unique_ptr<Op> make_sum(const OpConfig&, const SumDesc&) { refuse(); }

void add(Stream&, int64_t, const float*, const float*, float*) { refuse(); }
void add_chain(Stream&, int64_t, std::span<const float* const>, const float*, float*) { refuse(); }
void add_chain_bfloat16(Stream&, int64_t, std::span<const float* const>, const float*, float*) { refuse(); }
void add_packed_bfloat16(Stream&, int64_t, const uint16_t*, float*) { refuse(); }
void average_update(Stream&, float, const UpdateRanges&, float*, float*) { refuse(); }
void fill(Stream&, int64_t, float, float*) { refuse(); }
void pack_bfloat16(Stream&, int64_t, const float*, uint16_t*) { refuse(); }
void round_to_wire(Stream&, int64_t, float*, float*) { refuse(); }
void sum_gradients(Stream&, DType, int64_t, std::span<void* const>) { refuse(); }
double sum_of_squares(Stream&, int64_t, const float*) { refuse(); }
void clip_norm(Stream&, int64_t, float*, double, double, double*) { refuse(); }
void clip_values(Stream&, int64_t, float*, float) { refuse(); }
void unpack_bfloat16(Stream&, int64_t, const uint16_t*, float*) { refuse(); }
void sgd_update(Stream&, const SgdUpdate&, const UpdateRanges&, const float*, float*, float*) { refuse(); }
void adam_update(Stream&, const AdamUpdate&, const UpdateRanges&, const float*, float*, float*, float*) {
  refuse();
}
#define LOCKSTEP_REFUSE_UPDATE(FORMULA)                                                                 \
  void element_update(Stream&, const ElementUpdate&, const FORMULA&, const UpdateRanges&, const float*, \
                      float*, std::span<float* const>) {                                                \
    refuse();                                                                                           \
  }
LOCKSTEP_FOR_EACH_FORMULA(LOCKSTEP_REFUSE_UPDATE)
void add_sign(Stream&, float, const UpdateRanges&, const float*, float*) { refuse(); }
void norm_update(Stream&, const NormUpdate&, const LambFormula&, int64_t, const float*, float*,
                 std::span<float* const>, double*) {
  refuse();
}
void norm_update(Stream&, const NormUpdate&, const LarsFormula&, int64_t, const float*, float*,
                 std::span<float* const>, double*) {
  refuse();
}
void limit_row_norms(Stream&, int64_t, int64_t, float, float*) { refuse(); }

#undef LOCKSTEP_REFUSE_UPDATE

}  // namespace lockstep::cuda
