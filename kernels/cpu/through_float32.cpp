#include "kernels/cpu/through_float32.h"

#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/cpu/channel_blocks.h"

namespace lockstep::cpu {

namespace {

int64_t padded(int64_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

/// One tensor of the inner op: its bfloat16 form outside, and where its float32 form lies in
/// the scratchpad.
struct Converted {
  bool converts = false;
  int64_t n_elements = 0;  // padding included
  int64_t offset = 0, diff_offset = 0;
};

class ThroughFloat32 : public Op {
 public:
  ThroughFloat32(std::unique_ptr<Op> op, Weights weights, uint32_t float32_src)
      : op_(std::move(op)), weights_(weights) {
    info_ = op_->info();
    // The inner op keeps what it needs; a view must not be converted twice.
    int64_t offset = 0;
    const auto convert = [&](std::vector<TensorDesc>& descs, std::vector<Converted>& converted,
                             uint32_t fixed) {
      for (size_t i = 0; i < descs.size(); ++i) {
        Converted entry;
        entry.converts = descs[i].dtype == DType::kFloat32 && (fixed >> i & 1) == 0;
        if (entry.converts) {
          const int64_t n_bytes = descs[i].n_bytes();
          entry.n_elements = n_bytes / 4;
          entry.offset = offset;
          entry.diff_offset = offset + padded(n_bytes);
          offset += 2 * padded(n_bytes);
          descs[i] = with_dtype(descs[i], DType::kBFloat16);
        }
        converted.push_back(entry);
      }
    };
    convert(info_.src, src_, float32_src);
    convert(info_.dst, dst_, 0);
    inner_scratchpad_ = offset;
    info_.scratchpad_bytes = offset + op_->info().scratchpad_bytes;
  }

  void prepare(Stream& stream, std::span<const Tensor> params) override {
    bind_params(params);
    for (size_t i = 0; i < params.size(); ++i) {
      if (params_[i].data != params[i].data) {
        round_to_bfloat16(params[i].desc.n_elements(), params[i].as<float>(), params_[i].as<float>());
      }
    }
    op_->prepare(stream, params_);
  }

  void forward(Stream& stream, const OpArgs& args) override {
    bind(args);
    widen(args.src, src_, src_t_);
    op_->forward(stream, inner_args(args));
    narrow(args.dst, dst_, dst_t_);
  }

  void backward(Stream& stream, const OpArgs& args) override {
    bind(args);
    if (op_->info().backward_needs_src) widen(args.src, src_, src_t_);
    if (op_->info().backward_needs_dst) widen(args.dst, dst_, dst_t_);
    widen(args.diff_dst, dst_, diff_dst_t_);
    op_->backward(stream, inner_args(args));
    narrow(args.diff_src, src_, diff_src_t_);
  }

 private:
  /// Points the float32 views of every tensor into the scratchpad (or at the tensor itself).
  void bind(const OpArgs& args) {
    const auto view = [&](std::span<const Tensor> tensors, const std::vector<TensorDesc>& descs,
                          const std::vector<Converted>& converted, bool diff, std::vector<Tensor>& views) {
      views.resize(tensors.size());
      for (size_t i = 0; i < tensors.size(); ++i) {
        const Converted& entry = converted[i];
        void* wide = args.scratchpad + (diff ? entry.diff_offset : entry.offset);
        views[i] = {tensors[i].empty() || !entry.converts ? tensors[i].data : wide, descs[i]};
      }
    };
    const OpInfo& inner = op_->info();
    view(args.src, inner.src, src_, false, src_t_);
    view(args.dst, inner.dst, dst_, false, dst_t_);
    view(args.diff_src, inner.src, src_, true, diff_src_t_);
    view(args.diff_dst, inner.dst, dst_, true, diff_dst_t_);
    if (params_.size() != args.params.size()) bind_params(args.params);
  }

  void bind_params(std::span<const Tensor> params) {
    if (params_.size() != params.size()) {
      rounded_.clear();
      params_.assign(params.begin(), params.end());
      for (Tensor& param : params_) {
        if (weights_ == Weights::kFloat32 || param.desc.shape.rank() < 2) continue;
        rounded_.emplace_back(Device{}, param.desc.n_bytes());
        param.data = rounded_.back().data();
      }
    }
  }

  OpArgs inner_args(const OpArgs& args) const {
    OpArgs inner = args;
    inner.src = src_t_;
    inner.dst = dst_t_;
    inner.params = params_;
    inner.diff_src = diff_src_t_;
    inner.diff_dst = diff_dst_t_;
    inner.scratchpad = args.scratchpad + inner_scratchpad_;
    return inner;
  }

  static void widen(std::span<const Tensor> from, const std::vector<Converted>& converted,
                    const std::vector<Tensor>& to) {
    for (size_t i = 0; i < from.size(); ++i) {
      if (converted[i].converts && !from[i].empty())
        convert_to_float32(converted[i].n_elements, from[i].as<BFloat16>(), to[i].as<float>());
    }
  }
  static void narrow(std::span<const Tensor> to, const std::vector<Converted>& converted,
                     const std::vector<Tensor>& from) {
    for (size_t i = 0; i < to.size(); ++i) {
      if (converted[i].converts && !to[i].empty())
        convert_to_bfloat16(converted[i].n_elements, from[i].as<float>(), to[i].as<BFloat16>());
    }
  }

  std::unique_ptr<Op> op_;
  Weights weights_;
  std::vector<Converted> src_, dst_;
  int64_t inner_scratchpad_ = 0;
  std::vector<Memory> rounded_;  // copies of the weights, rounded
  std::vector<Tensor> params_, src_t_, dst_t_, diff_src_t_, diff_dst_t_;
};

}  // namespace

OpConfig as_float32(const OpConfig& config) {
  OpConfig result = config;
  result.compute = DType::kFloat32;
  return result;
}

TensorDesc as_float32(const TensorDesc& desc) {
  return desc.dtype == DType::kBFloat16 ? with_dtype(desc, DType::kFloat32) : desc;
}

std::unique_ptr<Op> through_float32(std::unique_ptr<Op> op, Weights weights, uint32_t float32_src) {
  return std::make_unique<ThroughFloat32>(std::move(op), weights, float32_src);
}

}  // namespace lockstep::cpu
