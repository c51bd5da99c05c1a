// Layouts by channels that a test forces on an op, whatever this machine's vectors would choose,
// and inputs that bfloat16 and float16 hold exactly.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#ifdef LOCKSTEP_TEST_CUDA
#include "kernels/cuda/layouts.h"
#else
#include "kernels/cpu/onednn.h"
#endif
#include "tests/support/op_test.h"

namespace lockstep {

enum class Form { kDense, kBlocked16, kBlocked8, kChannelsLast, kBlockedSamples };

#ifdef LOCKSTEP_TEST_CUDA

/// The layouts and types of activations that ops of this device take.
inline constexpr Form kForms[] = {Form::kDense, Form::kChannelsLast};
/// And of ops that treat every element alike.
inline constexpr const auto& kElementForms = kForms;
inline constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};

inline TensorDesc in_form(const Shape& shape, Form form, DType dtype = DType::kFloat32) {
  const TensorDesc desc{shape, dtype, nullptr};
  return form == Form::kChannelsLast ? cuda::channels_last(desc) : desc;
}

#else

inline constexpr Form kForms[] = {Form::kDense, Form::kBlocked16, Form::kBlocked8, Form::kChannelsLast};
inline constexpr Form kElementForms[] = {Form::kDense, Form::kBlocked16, Form::kBlocked8, Form::kChannelsLast,
                                         Form::kBlockedSamples};
inline constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16};

/// A tensor (N, C, W) or (N, C, H, W) in this form; others are dense.
inline TensorDesc in_form(const Shape& shape, Form form, DType dtype = DType::kFloat32) {
  using Tag = dnnl::memory::format_tag;
  const bool is_image = shape.rank() == 4;
  if (form == Form::kDense || (!is_image && shape.rank() != 3)) return {shape, dtype, nullptr};
  const Tag tag = form == Form::kBlocked16        ? (is_image ? Tag::nChw16c : Tag::nCw16c)
                  : form == Form::kBlocked8       ? (is_image ? Tag::nChw8c : Tag::nCw8c)
                  : form == Form::kBlockedSamples ? (is_image ? Tag::Abcd16a : Tag::Abc16a)
                                                  : (is_image ? Tag::nhwc : Tag::nwc);
  return cpu::from_onednn(cpu::MemoryDesc({shape.begin(), shape.end()}, cpu::onednn_type(dtype), tag), shape,
                          dtype);
}

#endif

inline OpConfig config_of(DType dtype) {
  OpConfig config = test_config();
  config.compute = dtype;
  return config;
}

/// Uniform in [low, high) with the 8 significant bits of bfloat16 and no smaller than float16's normal
/// numbers, so that every type holds them exactly.
inline Values short_values(int64_t n, uint64_t seed, double low = -1.0, double high = 1.0) {
  Values values = random_values(n, seed, low, high);
  for (double& v : values) {
    v = std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(v)) & 0xFFFF0000u);
    v = std::copysign(std::max(std::abs(v), 0x1p-14), v);
  }
  return values;
}
inline DenseTensor short_tensor(const Shape& shape, uint64_t seed, DType dtype, double low = -1.0,
                                double high = 1.0) {
  return {shape, short_values(shape.n_elements(), seed, low, high), dtype};
}

/// Relative error of a result that is rounded once to bfloat16 or float16, with room for float32 sums; for
/// results in float32, `wide`.
inline double tolerance_of(DType dtype, double wide) {
  return dtype == DType::kBFloat16 ? 0x1p-8 : dtype == DType::kFloat16 ? 0x1p-10 : wide;
}

}  // namespace lockstep
