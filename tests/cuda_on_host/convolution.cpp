// Convolution (kernels/cuda/convolution.h) as naive loops on the host, summed in float32 over taps and
// channels in order. As cuDNN may, it refuses some passes, so that ops show how they do without:
// float32 has no fused epilogue, float16 no gradient of weights in float32.
#include "kernels/cuda/convolution.h"

#include <cuda_runtime.h>

#include <functional>
#include <vector>

#include "kernels/cuda/runtime.h"
#include "kernels/error.h"
#include "tests/cuda_on_host/numbers.h"

namespace lockstep::cuda {

namespace {

using cuda_on_host::add_product;
using cuda_on_host::number_at;
using cuda_on_host::numbers;
using cuda_on_host::set_number;
using Pass = Convolution::Pass;
constexpr int64_t kWorkspaceBytes = 192;

class NaiveConvolution : public Convolution {
 public:
  NaiveConvolution(Pass pass, const ConvolutionDesc& desc)
      : pass_(pass),
        d_(desc),
        taps_(desc.kernel[0] * desc.kernel[1]),
        group_in_(desc.c / desc.groups),
        group_out_(desc.k / desc.groups) {}

  int64_t workspace_bytes() const override { return kWorkspaceBytes; }

  void run(Stream& stream, void* src, void* weights, const void* bias, void* dst, void* workspace) override {
    check(cuda_on_host::submit(handle_of(stream),
                               [=, self = *this] {
                                 cuda_on_host::spoil(workspace, kWorkspaceBytes);
                                 switch (self.pass_) {
                                   case Pass::kBackwardData: return self.backward_data(src, weights, dst);
                                   case Pass::kBackwardWeights:
                                     return self.backward_weights(src, weights, dst, self.d_.dtype);
                                   case Pass::kBackwardWeightsFloat32:
                                     return self.backward_weights(src, weights, dst, DType::kFloat32);
                                   default: return self.forward(src, weights, bias, dst);
                                 }
                               }),
          "Convolution::run");
  }

 private:
  /// visit(first channel of src, tap of the kernel, first channel of dst) for each tap that lies on the
  /// image.
  template <typename Visit>
  void for_taps(const Visit& visit) const {
    for (int64_t n = 0; n < d_.n; ++n)
      for (int64_t p = 0; p < d_.p; ++p)
        for (int64_t q = 0; q < d_.q; ++q)
          for (int64_t i = 0; i < d_.kernel[0]; ++i)
            for (int64_t j = 0; j < d_.kernel[1]; ++j) {
              const int64_t y = p * d_.stride[0] + i * d_.dilation[0] - d_.padding[0];
              const int64_t x = q * d_.stride[1] + j * d_.dilation[1] - d_.padding[2];
              if (y < 0 || y >= d_.h || x < 0 || x >= d_.w) continue;
              visit(((n * d_.h + y) * d_.w + x) * d_.c, i * d_.kernel[1] + j,
                    ((n * d_.p + p) * d_.q + q) * d_.k);
            }
  }

  // The innermost loops run over neighbours, each with a sum of its own, so that they become vector code.

  void forward(const void* src, const void* weights, const void* bias, void* dst) const {
    const std::vector<float> from = numbers(d_.dtype, src, d_.n * d_.h * d_.w * d_.c),
                             given = numbers(d_.dtype, weights, d_.k * taps_ * group_in_);
    std::vector<float> turned(given.size());  // (tap, c of the group, k)
    for (int64_t k = 0; k < d_.k; ++k)
      for (int64_t tc = 0; tc < taps_ * group_in_; ++tc)
        turned[static_cast<size_t>(tc * d_.k + k)] = given[static_cast<size_t>(k * taps_ * group_in_ + tc)];
    std::vector<float> sums(static_cast<size_t>(d_.n * d_.p * d_.q * d_.k));
    for_taps([&](int64_t x, int64_t tap, int64_t y) {
      for (int64_t g = 0; g < d_.groups; ++g)
        for (int64_t c = 0; c < group_in_; ++c)
          add_product(group_out_, from[static_cast<size_t>(x + g * group_in_ + c)],
                      turned.data() + ((tap * group_in_ + c) * d_.k + g * group_out_),
                      sums.data() + (y + g * group_out_));
    });
    const bool has_bias = pass_ == Pass::kForwardBias || pass_ == Pass::kForwardBiasRelu;
    const bool relu = pass_ == Pass::kForwardRelu || pass_ == Pass::kForwardBiasRelu;
    for (size_t i = 0; i < sums.size(); ++i) {
      const int64_t element = static_cast<int64_t>(i);
      const float value = sums[i] + (has_bias ? number_at(d_.dtype, bias, element % d_.k) : 0.0f);
      set_number(d_.dtype, dst, element, relu && value < 0 ? 0.0f : value);
    }
  }

  void backward_data(void* diff_src, const void* weights, const void* diff_dst) const {
    const std::vector<float> diff = numbers(d_.dtype, diff_dst, d_.n * d_.p * d_.q * d_.k),
                             from = numbers(d_.dtype, weights, d_.k * taps_ * group_in_);
    std::vector<float> sums(static_cast<size_t>(d_.n * d_.h * d_.w * d_.c));
    for_taps([&](int64_t x, int64_t tap, int64_t y) {
      for (int64_t k = 0; k < d_.k; ++k)
        add_product(group_in_, diff[static_cast<size_t>(y + k)],
                    from.data() + ((k * taps_ + tap) * group_in_),
                    sums.data() + (x + k / group_out_ * group_in_));
    });
    for (size_t i = 0; i < sums.size(); ++i) set_number(d_.dtype, diff_src, static_cast<int64_t>(i), sums[i]);
  }

  void backward_weights(const void* src, void* diff_weights, const void* diff_dst, DType to) const {
    const std::vector<float> diff = numbers(d_.dtype, diff_dst, d_.n * d_.p * d_.q * d_.k),
                             from = numbers(d_.dtype, src, d_.n * d_.h * d_.w * d_.c);
    std::vector<float> sums(static_cast<size_t>(d_.k * taps_ * group_in_));
    for_taps([&](int64_t x, int64_t tap, int64_t y) {
      for (int64_t k = 0; k < d_.k; ++k)
        add_product(group_in_, diff[static_cast<size_t>(y + k)],
                    from.data() + (x + k / group_out_ * group_in_),
                    sums.data() + ((k * taps_ + tap) * group_in_));
    });
    for (size_t i = 0; i < sums.size(); ++i) set_number(to, diff_weights, static_cast<int64_t>(i), sums[i]);
  }

  Pass pass_;
  ConvolutionDesc d_;
  int64_t taps_, group_in_, group_out_;  // of the kernel; channels of one group
};

bool refuses(Pass pass, const ConvolutionDesc& d) {
  switch (pass) {
    case Pass::kForward:
    case Pass::kBackwardData:
    case Pass::kBackwardWeights: return false;
    case Pass::kBackwardWeightsFloat32: return d.dtype == DType::kFloat16;
    default: return d.dtype == DType::kFloat32;
  }
}

}  // namespace

std::unique_ptr<Convolution> Convolution::make(Device, Pass pass, const ConvolutionDesc& desc) {
  if (refuses(pass, desc)) return nullptr;
  return std::make_unique<NaiveConvolution>(pass, desc);
}

void no_engine(Pass, const ConvolutionDesc&) { throw Error("convolution", "no engine"); }

std::string convolution_library_version() { return "naive loops of the tests"; }

}  // namespace lockstep::cuda
