// Pooling layers: max_pool, average_pool.
#include "kernels/pool2d.h"

#include <fmt/format.h>

#include "kernels/conv2d.h"
#include "src/layers/layers.h"

namespace lockstep {

namespace {

class Pool2dLayer : public Layer {
 public:
  explicit Pool2dLayer(const Pool2dOptions& options) : o_(options) {}
  std::string type() const override { return o_.pooling == Pooling::kMax ? "max_pool" : "average_pool"; }

  Shape infer(std::span<const Shape> src) const override {
    const Shape& s = src[0];
    if (s.rank() != 3) {
      throw Error("", fmt::format("needs an image (C, H, W) per sample, got shape {}", s.str()),
                  "give the data or the model an image shape");
    }
    Shape dst = s;
    for (int axis = 0; axis < 2; ++axis) {
      const int64_t before = o_.padding[2 * axis], after = o_.padding[2 * axis + 1];
      if (o_.kernel[axis] > s[1 + axis] + before + after) {
        throw Error("",
                    fmt::format("window of {} does not fit into {} (input {})", o_.kernel[axis],
                                s[1 + axis] + before + after, s.str()),
                    "use a smaller window or fewer pooling layers before it");
      }
      if (before >= o_.kernel[axis] || after >= o_.kernel[axis]) {
        throw Error("",
                    fmt::format("padding {} is not smaller than the window {}", std::max(before, after),
                                o_.kernel[axis]),
                    "a window must cover at least one pixel");
      }
      dst[1 + axis] = conv_output_extent(s[1 + axis], o_.kernel[axis], o_.stride[axis], 1, before, after);
    }
    return dst;
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    Pool2dDesc desc;
    desc.src = context.src[0];
    desc.pooling = o_.pooling;
    desc.kernel = o_.kernel;
    desc.stride = o_.stride;
    desc.padding = o_.padding;
    return make_pool2d(context.config, desc);
  }

 private:
  Pool2dOptions o_;
};

std::shared_ptr<const Layer> from_options(Config& options, Pooling pooling) {
  options.positional("kernel");
  Pool2dOptions o;
  o.pooling = pooling;
  o.kernel = read_pair(options, "kernel", {2, 2});
  o.stride = read_pair(options, "stride", o.kernel);
  o.padding = read_padding(options);
  return pool2d_layer(o);
}

const bool registered =
    register_layer("max_pool", [](Config& options) { return from_options(options, Pooling::kMax); }) &&
    register_layer("average_pool", [](Config& options) { return from_options(options, Pooling::kAverage); });

}  // namespace

std::shared_ptr<const Layer> pool2d_layer(const Pool2dOptions& options) {
  return std::make_shared<Pool2dLayer>(options);
}

}  // namespace lockstep
