// A layer of the tests, registered as `combine`: 0.5 * a - 0.25 * b - 0.125 * c …, so that a test
// needs no layer of the product to join values, and swapped inputs show.
#include "src/network/layer.h"

namespace lockstep {
namespace {

class CombineOp : public Op {
 public:
  CombineOp(const std::vector<TensorDesc>& src) {
    for (const TensorDesc& desc : src) info_.src.push_back({desc.shape, DType::kFloat32, nullptr});
    info_.dst = {info_.src[0]};
    info_.backward_needs_src = info_.backward_needs_dst = false;
  }
  static float factor(size_t slot) { return slot == 0 ? 0.5f : -0.25f / static_cast<float>(slot); }
  void forward(Stream&, const OpArgs& args) override {
    for (int64_t i = 0; i < info_.dst[0].n_elements(); ++i) {
      float sum = 0;
      for (size_t slot = 0; slot < args.src.size(); ++slot)
        sum += factor(slot) * args.src[slot].as<float>()[i];
      args.dst[0].as<float>()[i] = sum;
    }
  }
  void backward(Stream&, const OpArgs& args) override {
    for (size_t slot = 0; slot < args.src.size(); ++slot) {
      if (args.diff_src[slot].empty()) continue;
      for (int64_t i = 0; i < info_.dst[0].n_elements(); ++i)
        args.diff_src[slot].as<float>()[i] = factor(slot) * args.diff_dst[0].as<float>()[i];
    }
  }
};

class CombineLayer : public Layer {
 public:
  std::string type() const override { return "combine"; }
  int min_inputs() const override { return 2; }
  int max_inputs() const override { return 8; }
  Shape infer(std::span<const Shape> src) const override { return src[0]; }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return std::make_unique<CombineOp>(context.src);
  }
};

const bool registered = register_layer("combine", [](Config&) { return std::make_shared<CombineLayer>(); });

}  // namespace
}  // namespace lockstep
