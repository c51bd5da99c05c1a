// See convolution.h: one graph of cuDNN operations per pass. The engine is the first that cuDNN's own
// heuristic names within the rules of choose_plan (cudnn.h); where float32 is to be exact, tensor cores
// and transforms are passed over.
#include "kernels/cuda/convolution.h"

#include <fmt/format.h>

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/runtime.h"
#include "kernels/error.h"

namespace lockstep::cuda {

namespace {

using Pass = Convolution::Pass;

enum Uid : int64_t { kSrc = 1, kWeights, kDst, kBias, kSums, kBiased };

cudnnDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return CUDNN_DATA_FLOAT;
    case DType::kBFloat16: return CUDNN_DATA_BFLOAT16;
    case DType::kFloat16: return CUDNN_DATA_HALF;
    default: break;
  }
  throw Error("convolution", "no convolution of " + std::string(name_of(dtype)) + " on GPUs",
              "set `precision` to float32, tf32, bfloat16 or float16");
}

/// dims {n, c, h, w} with the channels innermost in memory.
CudnnDescriptor tensor(Uid uid, std::array<int64_t, 4> dims, cudnnDataType_t type, bool is_virtual = false) {
  const std::array<int64_t, 4> strides{dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
  CudnnDescriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set_all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, dims)
      .set_all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, strides)
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, static_cast<int64_t>(uid))
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16})
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual)
      .finalize();
  return descriptor;
}

CudnnDescriptor geometry(const ConvolutionDesc& d) {
  const std::array<int64_t, 2> before{d.padding[0], d.padding[2]}, after{d.padding[1], d.padding[3]};
  CudnnDescriptor descriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set_all<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, before)
      .set_all<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, after)
      .set_all<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, d.dilation)
      .set_all<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, d.stride)
      .finalize();
  return descriptor;
}

/// The operations of a pass, to be finalized in order; `tensors` keeps what they refer to.
class Operations {
 public:
  Operations(Pass pass, const ConvolutionDesc& d) : d_(d), type_(type_of(d.dtype)), geometry_(geometry(d)) {
    switch (pass) {
      case Pass::kForward: forward(false, false); break;
      case Pass::kForwardBias: forward(true, false); break;
      case Pass::kForwardBiasRelu: forward(true, true); break;
      case Pass::kForwardRelu: forward(false, true); break;
      case Pass::kBackwardData: backward_data(); break;
      case Pass::kBackwardWeights: backward_weights(type_); break;
      case Pass::kBackwardWeightsFloat32: backward_weights(CUDNN_DATA_FLOAT); break;
    }
  }

  /// Handles of all operations, or none if cuDNN refuses one.
  std::vector<cudnnBackendDescriptor_t> finalize() {
    std::vector<cudnnBackendDescriptor_t> handles;
    for (CudnnDescriptor& operation : operations_) {
      if (!operation.try_finalize()) return {};
      handles.push_back(operation.get());
    }
    return handles;
  }

 private:
  const CudnnDescriptor& keep(CudnnDescriptor descriptor) {
    return kept_.emplace_back(std::move(descriptor));
  }
  const CudnnDescriptor& src() { return keep(tensor(kSrc, {d_.n, d_.c, d_.h, d_.w}, type_)); }
  const CudnnDescriptor& weights(cudnnDataType_t type) {
    return keep(tensor(kWeights, {d_.k, d_.c / d_.groups, d_.kernel[0], d_.kernel[1]}, type));
  }
  const CudnnDescriptor& dst() { return keep(tensor(kDst, {d_.n, d_.k, d_.p, d_.q}, type_)); }
  const CudnnDescriptor& intermediate(Uid uid) {
    return keep(tensor(uid, {d_.n, d_.k, d_.p, d_.q}, CUDNN_DATA_FLOAT, true));
  }

  CudnnDescriptor& add(cudnnBackendDescriptorType_t type) { return operations_.emplace_back(type); }

  void forward(bool has_bias, bool relu) {
    const CudnnDescriptor* last = has_bias || relu ? &intermediate(kSums) : &dst();
    add(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, src())
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weights(type_))
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, *last)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, geometry_)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
    if (has_bias) {
      const CudnnDescriptor& biased = relu ? intermediate(kBiased) : dst();
      pointwise(CUDNN_POINTWISE_ADD, *last, biased)
          .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, keep(tensor(kBias, {1, d_.k, 1, 1}, type_)));
      last = &biased;
    }
    if (relu) pointwise(CUDNN_POINTWISE_RELU_FWD, *last, dst());
  }

  CudnnDescriptor& pointwise(cudnnPointwiseMode_t mode, const CudnnDescriptor& from,
                             const CudnnDescriptor& to) {
    CudnnDescriptor function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    function.set(CUDNN_ATTR_POINTWISE_MODE, mode)
        .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT)
        .finalize();
    return add(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, keep(std::move(function)))
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to);
  }

  void backward_data() {
    add(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, src())
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, weights(type_))
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dst())
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, geometry_)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
  }

  void backward_weights(cudnnDataType_t type) {
    add(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, src())
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, weights(type))
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dst())
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, geometry_)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0f)
        .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0f);
  }

  ConvolutionDesc d_;
  cudnnDataType_t type_;
  CudnnDescriptor geometry_;
  std::deque<CudnnDescriptor> kept_, operations_;  // a deque: references stay good
};

bool reads_bias(Pass pass) { return pass == Pass::kForwardBias || pass == Pass::kForwardBiasRelu; }

class CudnnConvolution : public Convolution {
 public:
  CudnnConvolution(Device device, Pass pass, Operations operations, CudnnPlan plan)
      : handle_(cudnn_handle(device)),
        has_bias_(reads_bias(pass)),
        operations_(std::move(operations)),
        plan_(std::move(plan)) {}

  int64_t workspace_bytes() const override { return plan_.workspace_bytes; }

  void run(Stream& stream, void* src, void* weights, const void* bias, void* dst, void* workspace) override {
    const std::array<void*, 5> bound{src, weights, dst, const_cast<void*>(bias), workspace};
    if (!pack_ || bound != bound_) bind(bound);
    check_cudnn(cudnnSetStream(handle_, handle_of(stream)), "cudnnSetStream");
    check_cudnn(cudnnBackendExecute(handle_, plan_.plan.get(), pack_->get()), "cudnnBackendExecute");
  }

 private:
  /// Tensors are bound for the life of a plan: this happens once.
  void bind(const std::array<void*, 5>& bound) {
    const std::array<int64_t, 4> uids{kSrc, kWeights, kDst, kBias};
    const size_t n = has_bias_ ? 4 : 3;
    pack_.emplace(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack_->set_all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span(uids).first(n))
        .set_all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span(bound).first(n))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, bound[4])
        .finalize();
    bound_ = bound;
  }

  cudnnHandle_t handle_;
  bool has_bias_;
  Operations operations_;
  CudnnPlan plan_;
  std::optional<CudnnDescriptor> pack_;
  std::array<void*, 5> bound_{};
};

}  // namespace

std::unique_ptr<Convolution> Convolution::make(Device device, Pass pass, const ConvolutionDesc& desc) {
  Operations operations(pass, desc);
  const std::vector<cudnnBackendDescriptor_t> handles = operations.finalize();
  if (handles.empty()) return nullptr;
  const bool exact_float32 = desc.dtype == DType::kFloat32 && !desc.tf32;
  std::optional<CudnnPlan> plan = choose_plan(device, handles, exact_float32, desc.workspace_limit);
  if (!plan) return nullptr;
  return std::make_unique<CudnnConvolution>(device, pass, std::move(operations), *std::move(plan));
}

void no_engine(Pass pass, const ConvolutionDesc& d) {
  const char* what = pass == Pass::kBackwardData      ? "the gradient of src of"
                     : pass >= Pass::kBackwardWeights ? "the gradient of weights of"
                                                      : "";
  const auto text = [](auto... extents) {
    std::string all;
    ((all += (all.empty() ? "(" : ", ") + std::to_string(extents)), ...);
    return all + ")";
  };
  throw Error(
      "convolution",
      "cuDNN " + std::to_string(cudnnGetVersion()) + " has no reproducible engine for " + what + " src " +
          text(d.n, d.c, d.h, d.w) + ", weights " + text(d.k, d.c / d.groups, d.kernel[0], d.kernel[1]) +
          ", stride " + text(d.stride[0], d.stride[1]) + ", dilation " + text(d.dilation[0], d.dilation[1]) +
          ", padding " + text(d.padding[0], d.padding[1], d.padding[2], d.padding[3]) + ", groups " +
          std::to_string(d.groups) + " in " + std::string(name_of(d.dtype)) + " with " +
          std::to_string(d.workspace_limit >> 20) + " MiB of workspace",
      "raise convolution_workspace_mb, or use another `precision`, equal padding on both sides or a newer "
      "cuDNN");
}

std::string convolution_library_version() {
  const size_t code = cudnnGetVersion(), major = code / (code < 90000 ? 1000 : 10000);
  return fmt::format("{}.{}.{}", major, code / 100 % (code < 90000 ? 10 : 100), code % 100);
}

}  // namespace lockstep::cuda
