// Pooling layers with sliding windows: max_pool, average_pool and weighted_pool over images,
// max_pool1d and average_pool1d over sequences.
#include "kernels/pool2d.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "src/network/layers/layers.h"
#include "src/network/model_limits.h"
#include "src/network/onnx.h"

namespace lockstep {

namespace {

class PoolLayer : public Layer {
 public:
  PoolLayer(const Pool2dOptions& options, int n_axes) : o_(options), n_axes_(n_axes) {}

  std::string type() const override {
    const char* name = o_.pooling == Pooling::kMax       ? "max_pool"
                       : o_.pooling == Pooling::kAverage ? "average_pool"
                                                         : "weighted_pool";
    return n_axes_ == 1 ? std::string(name) + "1d" : name;
  }

  Shape infer(std::span<const Shape> src) const override {
    const Shape& s = src[0];
    if (s.rank() != 1 + n_axes_) {
      throw Error("",
                  fmt::format("needs {} per sample, got shape {}",
                              n_axes_ == 1 ? "a sequence (C, T)" : "an image (C, H, W)", s.str()),
                  n_axes_ == 1 ? "reshape the sample to channels and time"
                               : "give the data or the model an image shape");
    }
    Shape dst = s;
    for (int i = 1; i <= n_axes_; ++i) {
      const int axis = i + 1 - n_axes_;
      const WindowAxis window{o_.kernel[axis],      o_.stride[axis],          1,
                              o_.padding[2 * axis], o_.padding[2 * axis + 1], o_.ceil};
      if (std::max(window.before, window.after) >= window.kernel) {
        throw Error("",
                    fmt::format("padding {} is not smaller than the window {}",
                                std::max(window.before, window.after), window.kernel),
                    "a window must cover at least one element");
      }
      dst[i] = window_extent(window, i, s);
    }
    return dst;
  }

  void to_onnx(OnnxVertex& vertex) const override {
    // A last window that hangs over the edge is padding more: readers of ceil_mode differ.
    std::vector<int64_t> kernel, stride, pads, after;
    bool hangs_over = false;
    for (int i = 1; i <= n_axes_; ++i) {
      const auto axis = static_cast<size_t>(i + 1 - n_axes_);
      const int64_t reach = (vertex.output_shape()[i] - 1) * o_.stride[axis] + o_.kernel[axis];
      const int64_t padded = vertex.shape()[i] + o_.padding[2 * axis] + o_.padding[2 * axis + 1];
      const int64_t more = std::max<int64_t>(0, reach - padded);
      hangs_over = hangs_over || more > 0;
      kernel.push_back(o_.kernel[axis]);
      stride.push_back(o_.stride[axis]);
      pads.push_back(o_.padding[2 * axis]);
      after.push_back(o_.padding[2 * axis + 1] + more);
    }
    pads.insert(pads.end(), after.begin(), after.end());
    std::vector<OnnxAttribute> attributes = {{"kernel_shape", kernel}, {"strides", stride}, {"pads", pads}};
    const std::string x = vertex.input();
    if (o_.pooling == Pooling::kMax) return vertex.set_output(vertex.add("MaxPool", {x}, attributes));
    if (o_.pooling == Pooling::kAverage) {
      attributes.push_back({"count_include_pad", int64_t{o_.count_padding}});
      std::string y = vertex.add("AveragePool", {x}, attributes);
      if (o_.count_padding && hangs_over) {
        const std::vector<float> ones(static_cast<size_t>(o_.kernel[0] * o_.kernel[1]), 1.0F);
        const float all = static_cast<float>(ones.size());
        y = vertex.add("Mul", {y, factors(vertex, ones, all)});
      }
      return vertex.set_output(y);
    }
    const int64_t channels = vertex.shape()[0];
    std::vector<float> weights;
    for (int64_t c = 0; c < channels; ++c)
      weights.insert(weights.end(), o_.weights.begin(), o_.weights.end());
    attributes.push_back({"group", channels});
    const std::string weight = vertex.constant({channels, 1, o_.kernel[0], o_.kernel[1]}, std::move(weights));
    std::string y = vertex.add("Conv", {x, weight}, attributes);
    if (o_.normalize) y = vertex.add("Mul", {y, factors(vertex, o_.weights, 1)});
    vertex.set_output(y);
  }

  std::unique_ptr<Op> lower(const LowerContext& context) const override {
    Pool2dDesc desc;
    desc.src = context.src[0];
    desc.pooling = o_.pooling;
    desc.kernel = o_.kernel;
    desc.stride = o_.stride;
    desc.padding = o_.padding;
    desc.count_padding = o_.count_padding;
    desc.ceil = o_.ceil;
    desc.weights = o_.weights;
    desc.normalize = o_.normalize;
    return make_pool2d(context.config, desc);
  }

 private:
  /// Of each window `all` over the sum of the weights that count: inside the image, or with count_padding
  /// inside the padded one. As a constant of the output's last axes.
  std::string factors(OnnxVertex& vertex, const std::vector<float>& weights, float all) const {
    const Shape &src = vertex.shape(), &dst = vertex.output_shape();
    const auto counts = [&](size_t axis, int64_t window, int64_t k) {
      const int i = static_cast<int>(axis) - 1 + n_axes_;
      const int64_t extent = i < 1 ? 1 : src[i], place = window * o_.stride[axis] + k - o_.padding[2 * axis];
      const int64_t border = o_.count_padding ? 1 : 0;
      return place >= -border * o_.padding[2 * axis] && place < extent + border * o_.padding[2 * axis + 1];
    };
    const int64_t rows = n_axes_ == 2 ? dst[1] : 1, columns = dst[n_axes_];
    std::vector<float> result;
    for (int64_t p = 0; p < rows; ++p)
      for (int64_t q = 0; q < columns; ++q) {
        float sum = 0;
        for (int64_t i = 0; i < o_.kernel[0]; ++i)
          for (int64_t j = 0; j < o_.kernel[1]; ++j)
            if ((n_axes_ == 1 || counts(0, p, i)) && counts(1, q, j))
              sum += weights[static_cast<size_t>(i * o_.kernel[1] + j)];
        result.push_back(all / sum);
      }
    return vertex.constant(n_axes_ == 2 ? Shape{rows, columns} : Shape{columns}, std::move(result));
  }

  Pool2dOptions o_;
  int n_axes_;
};

/// Rows of numbers, all of one length; sets the kernel.
void read_weights(const Config& options, Pool2dOptions& o) {
  const std::vector<Config> rows = options.at("weights").items();
  o.kernel = {static_cast<int64_t>(rows.size()), 0};
  for (const Config& row : rows) {
    const std::vector<Config> items = row.items();
    if (o.kernel[1] == 0) o.kernel[1] = static_cast<int64_t>(items.size());
    if (o.kernel[1] != static_cast<int64_t>(items.size()))
      throw options.error_at("weights", "all rows must have the same length",
                             "for instance [[1, 2], [2, 4]]");
    for (const Config& item : items) {
      const std::string text = item.text();
      float value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size())
        throw options.error_at("weights", fmt::format("'{}' is no number", text),
                               "for instance [[1, 2], [2, 4]]");
      if (o.normalize && value <= 0)
        throw options.error_at("weights", "a weighted average needs weights above 0",
                               "make them positive, or set normalize: false for the weighted sum");
      o.weights.push_back(value);
    }
  }
  if (o.weights.empty()) throw options.error_at("weights", "needs rows of numbers", "as [[1, 2], [2, 4]]");
}

std::shared_ptr<const Layer> from_options(Config& options, Pooling pooling) {
  Pool2dOptions o;
  o.pooling = pooling;
  if (pooling == Pooling::kWeighted) {
    options.positional("weights");
    o.normalize = options.get_bool("normalize", true);
    read_weights(options, o);
  } else {
    options.positional("kernel");
    o.kernel = read_pair(options, "kernel", {2, 2});
  }
  o.stride = read_pair(options, "stride", o.kernel);
  o.padding = read_padding(options);
  o.ceil = options.get_bool("ceil", false);
  if (pooling != Pooling::kMax) o.count_padding = options.get_bool("count_padding", false);
  return pool2d_layer(o);
}

std::shared_ptr<const Layer> from_options_1d(Config& options, Pooling pooling) {
  options.positional("kernel");
  Pool2dOptions o;
  o.pooling = pooling;
  o.kernel[1] = options.get_int("kernel", 2);
  o.stride[1] = options.get_int("stride", o.kernel[1]);
  if (std::min(o.kernel[1], o.stride[1]) < 1 || std::max(o.kernel[1], o.stride[1]) > kMaxWindow)
    throw options.error(fmt::format("kernel and stride must be at least 1 and at most {}, found {} and {}",
                                    kMaxWindow, o.kernel[1], o.stride[1]),
                        "for instance {kernel: 2, stride: 2}");
  const std::vector<int64_t> padding = options.get_ints("padding", {0});
  if (padding.empty() || padding.size() > 2 || std::min(padding.front(), padding.back()) < 0 ||
      std::max(padding.front(), padding.back()) > kMaxWindow)
    throw options.error_at("padding", "expected one number or [left, right], none negative",
                           "for instance padding: 1");
  o.padding = {0, 0, padding.front(), padding.back()};
  o.ceil = options.get_bool("ceil", false);
  if (pooling == Pooling::kAverage) o.count_padding = options.get_bool("count_padding", false);
  return pool1d_layer(o);
}

const bool pool2d_layer_registered = [] {
  for (const auto& [name, pooling] : {std::pair("max_pool", Pooling::kMax),
                                      {"average_pool", Pooling::kAverage},
                                      {"weighted_pool", Pooling::kWeighted}})
    register_layer(name, [pooling](Config& options) { return from_options(options, pooling); });
  for (const auto& [name, pooling] :
       {std::pair("max_pool1d", Pooling::kMax), {"average_pool1d", Pooling::kAverage}})
    register_layer(name, [pooling](Config& options) { return from_options_1d(options, pooling); });
  return true;
}();

}  // namespace

std::shared_ptr<const Layer> pool2d_layer(const Pool2dOptions& options) {
  return std::make_shared<PoolLayer>(options, 2);
}

std::shared_ptr<const Layer> pool1d_layer(const Pool2dOptions& options) {
  return std::make_shared<PoolLayer>(options, 1);
}

}  // namespace lockstep
