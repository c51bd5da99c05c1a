// See over_time.h.
#include "kernels/over_time.h"

#include "kernels/error.h"

namespace lockstep {

namespace {

TensorDesc with_shape(const TensorDesc& desc, const Shape& shape) {
  return {shape, desc.dtype, desc.layout ? desc.layout->with_shape(shape, desc.dtype) : nullptr};
}

/// Hands all calls on; only the shapes of info() differ.
class OverTime : public Op {
 public:
  explicit OverTime(std::unique_ptr<Op> op) : op_(std::move(op)) {
    info_ = op_->info();
    for (auto* descs : {&info_.src, &info_.dst}) {
      for (TensorDesc& desc : *descs) {
        const Shape& s = desc.shape;
        if (s.rank() == 4) desc = with_shape(desc, Shape{s[0], s[1], s[3]});
      }
    }
  }
  void prepare(Stream& stream, std::span<const Tensor> params) override { op_->prepare(stream, params); }
  void forward(Stream& stream, const OpArgs& args) override { op_->forward(stream, args); }
  void backward(Stream& stream, const OpArgs& args) override { op_->backward(stream, args); }

 private:
  std::unique_ptr<Op> op_;
};

}  // namespace

TensorDesc as_image(const TensorDesc& sequence) {
  const Shape& s = sequence.shape;
  if (s.rank() != 3)
    throw Error("over time", "src must be (N, C, T), not " + s.str(), "reshape samples to [channels, time]");
  return with_shape(sequence, Shape{s[0], s[1], 1, s[2]});
}

std::unique_ptr<Op> over_time(std::unique_ptr<Op> op) { return std::make_unique<OverTime>(std::move(op)); }

}  // namespace lockstep
