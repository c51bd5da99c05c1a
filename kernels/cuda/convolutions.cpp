// See convolutions.h.
#include "kernels/cuda/convolutions.h"

#include "kernels/cuda/pack_weights.h"
#include "kernels/cuda/scratch.h"

namespace lockstep::cuda {

namespace {
using Pass = Convolution::Pass;

int64_t taps_of(const ConvolutionDesc& d) { return d.kernel[0] * d.kernel[1]; }
}  // namespace

bool is_depthwise(const ConvolutionDesc& d) { return d.groups == d.c && d.groups > 1; }

bool is_pointwise(const ConvolutionDesc& d) {
  constexpr std::array<int64_t, 2> kOne{1, 1};
  constexpr std::array<int64_t, 4> kNone{0, 0, 0, 0};
  return d.kernel == kOne && d.stride == kOne && d.padding == kNone && d.groups == 1;
}

std::unique_ptr<Convolution> make_convolution(Device device, Pass pass, const ConvolutionDesc& desc) {
  if (is_depthwise(desc)) return make_depthwise(pass, desc);
  if (is_pointwise(desc)) return make_pointwise(device, pass, desc);
  auto made = Convolution::make(device, pass, desc);
  const bool must = pass == Pass::kForward || pass == Pass::kBackwardData || pass == Pass::kBackwardWeights;
  if (!made && must) no_engine(pass, desc);
  return made;
}

ConvolutionWeights::ConvolutionWeights(const OpConfig& config, const ConvolutionDesc& desc)
    : dtype_(desc.dtype),
      outer_(is_depthwise(desc) ? 1 : desc.k),
      channels_(is_depthwise(desc) ? desc.k : desc.c / desc.groups),
      taps_(taps_of(desc)),
      swaps_(channels_ > 1 && taps_ > 1) {
  const int64_t n = outer_ * channels_ * taps_;
  if (swaps_ || dtype_ != DType::kFloat32) copy_ = Memory(config.device, n * size_of(dtype_));
}

void ConvolutionWeights::prepare(Stream& stream, const Tensor& weights) {
  if (copies())
    pack_weights(stream, dtype_, outer_, channels_, taps_, weights.as<const float>(), copy_.data());
}

WeightsGradient::WeightsGradient(Device device, const ConvolutionDesc& desc,
                                 const ConvolutionWeights& weights)
    : pass_(make_convolution(device, Pass::kBackwardWeightsFloat32, desc)),
      dtype_(DType::kFloat32),
      outer_(weights.outer_),
      channels_(weights.channels_),
      taps_(weights.taps_),
      swaps_(weights.swaps_) {
  if (!pass_) {
    pass_ = make_convolution(device, Pass::kBackwardWeights, desc);
    dtype_ = desc.dtype;
  }
  const bool direct = dtype_ == DType::kFloat32 && !swaps_;
  packed_bytes_ = direct ? 0 : outer_ * channels_ * taps_ * size_of(dtype_);
}

int64_t WeightsGradient::scratch_bytes() const {
  Scratch scratch;
  scratch.take(packed_bytes_);
  scratch.take(pass_->workspace_bytes());
  return scratch.n_bytes();
}

void WeightsGradient::run(Stream& stream, void* src, void* diff_dst, float* diff_weights,
                          std::byte* scratch) {
  Scratch parts;
  std::byte* packed = scratch + parts.take(packed_bytes_);
  std::byte* workspace = scratch + parts.take(pass_->workspace_bytes());
  void* result = packed_bytes_ > 0 ? static_cast<void*>(packed) : diff_weights;
  pass_->run(stream, src, result, nullptr, diff_dst, workspace);
  if (packed_bytes_ > 0) unpack_weights(stream, dtype_, outer_, channels_, taps_, packed, diff_weights);
}

}  // namespace lockstep::cuda
