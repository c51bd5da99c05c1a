// local_response_norm: normalisation across neighbouring channels (Krizhevsky et al. 2012).
#include "kernels/local_response_norm.h"

#include <fmt/format.h>

#include "src/network/layers/layers.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class LocalResponseNormLayer : public Layer {
 public:
  explicit LocalResponseNormLayer(const LocalResponseNormOptions& options) : o_(options) {}
  std::string type() const override { return "local_response_norm"; }
  Shape infer(std::span<const Shape> src) const override {
    if (src[0].rank() < 1)
      throw Error("", "needs at least one dimension per sample", "give the data or the model a shape");
    return src[0];
  }
  void to_onnx(OnnxVertex& vertex) const override {
    if (o_.size % 2 == 0)
      vertex.refuse(
          fmt::format("a window of {} channels reaches farther back, and ONNX's farther ahead", o_.size),
          "use an odd size");
    vertex.set_output(vertex.add("LRN", {vertex.input()},
                                 {{"size", o_.size},
                                  {"alpha", static_cast<float>(o_.alpha)},
                                  {"beta", static_cast<float>(o_.beta)},
                                  {"bias", static_cast<float>(o_.k)}}));
  }
  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    return make_local_response_norm(
        context.config,
        {.src = context.src[0], .size = o_.size, .alpha = o_.alpha, .beta = o_.beta, .k = o_.k});
  }

 private:
  LocalResponseNormOptions o_;
};

const bool local_response_norm_layer_registered = register_layer("local_response_norm", [](Config& options) {
  LocalResponseNormOptions o;
  o.size = options.get_int("size", o.size);
  o.alpha = options.get_double("alpha", o.alpha);
  o.beta = options.get_double("beta", o.beta);
  o.k = options.get_double("k", o.k);
  if (o.size < 1)
    throw options.error_at("size", fmt::format("must be at least 1, found {}", o.size),
                           "it counts channels: the usual one is 5");
  if (!(o.alpha >= 0))
    throw options.error_at("alpha", fmt::format("must not be negative, found {}", o.alpha),
                           "the usual one is 1e-4");
  if (!(o.k > 0))
    throw options.error_at("k", fmt::format("must be positive, found {}", o.k), "the usual ones are 1 and 2");
  return local_response_norm_layer(o);
});

}  // namespace

std::shared_ptr<const Layer> local_response_norm_layer(const LocalResponseNormOptions& options) {
  return std::make_shared<LocalResponseNormLayer>(options);
}

}  // namespace lockstep
