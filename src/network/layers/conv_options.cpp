#include "src/network/layers/conv_options.h"

#include "src/network/model_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace lockstep {

namespace {

constexpr PaddingMode kModes[] = {PaddingMode::kZeros, PaddingMode::kReflect, PaddingMode::kReplicate,
                                  PaddingMode::kCircular};

void read_channels(Config& options, Conv2dOptions& o) {
  o.channels = options.get_int("channels");
  o.groups = options.get_int("groups", 1);
  o.bias = options.get_bool("bias", true);
  if (o.channels < 1)
    throw options.error_at("channels", fmt::format("must be at least 1, found {}", o.channels),
                           "it counts the channels of the result: for instance channels: 16");
  if (o.groups < 1)
    throw options.error_at("groups", fmt::format("must be at least 1, found {}", o.groups),
                           "leave it out for 1");
}

/// The numbers that a word for the padding stands for; false: it is no word.
bool read_padding_word(const Config& options, Conv2dOptions& o) {
  const auto node = options.find("padding");
  if (!node || !node->is_scalar()) return false;
  const std::string word = node->text();
  if (word.empty() || (word[0] >= '0' && word[0] <= '9') || word[0] == '-') return false;
  const std::string choice = options.get_choice("padding", "", {"valid", "same", "full"});
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t reach = o.dilation[axis] * (o.kernel[axis] - 1);
    if (choice == "same") {
      if (o.stride[axis] != 1) {
        throw options.error_at("padding", "'same' needs stride 1", "give the padding as numbers");
      }
      o.padding[2 * axis] = reach / 2;
      o.padding[2 * axis + 1] = reach - reach / 2;
    } else if (choice == "full") {
      o.padding[2 * axis] = o.padding[2 * axis + 1] = reach;
    }
  }
  return true;
}

}  // namespace

Conv2dOptions read_conv2d_options(Config& options) {
  Conv2dOptions o;
  read_channels(options, o);
  o.kernel = read_pair(options, "kernel", o.kernel);
  o.stride = read_pair(options, "stride", o.stride);
  o.dilation = read_pair(options, "dilation", o.dilation);
  if (!read_padding_word(options, o)) o.padding = read_padding(options);
  return o;
}

Conv2dOptions read_conv1d_options(Config& options) {
  Conv2dOptions o;
  read_channels(options, o);
  const auto read = [&](const char* key, int64_t fallback) {
    const int64_t value = options.get_int(key, fallback);
    if (value < 1 || value > kMaxWindow)
      throw options.error_at(key,
                             fmt::format("must be at least 1 and at most {}, found {}", kMaxWindow, value),
                             fmt::format("for instance {}: {}", key, fallback));
    return value;
  };
  o.kernel = {1, read("kernel", 3)};
  o.stride = {1, read("stride", 1)};
  o.dilation = {1, read("dilation", 1)};
  if (!read_padding_word(options, o)) {
    const std::vector<int64_t> values = options.get_ints("padding", {0});
    if (values.empty() || values.size() > 2) {
      throw options.error_at("padding", "expected one number, [left, right], valid, same or full",
                             "for instance padding: 1");
    }
    if (std::min(values.front(), values.back()) < 0 || std::max(values.front(), values.back()) > kMaxWindow)
      throw options.error_at("padding", fmt::format("must be between 0 and {}", kMaxWindow),
                             "for instance padding: 1");
    o.padding = {0, 0, values.front(), values.back()};
  }
  return o;
}

PaddingMode read_padding_mode(Config& options) {
  std::vector<std::string> names;
  for (const PaddingMode mode : kModes) names.emplace_back(name_of(mode));
  const std::string choice = options.get_choice("padding_mode", names[0], names);
  return *std::find_if(std::begin(kModes), std::end(kModes),
                       [&](PaddingMode mode) { return name_of(mode) == choice; });
}

void require_zeros(const Conv2dOptions& options, const char* layer) {
  if (options.padding_mode == PaddingMode::kZeros) return;
  throw Error(layer, "pads with zeros only", "leave padding_mode out, or use a conv");
}

void check_image_and_groups(const Shape& src, int64_t out_channels, int64_t groups) {
  if (src.rank() != 3) {
    throw Error("", fmt::format("needs an image (C, H, W) per sample, got shape {}", src.str()),
                "give the data or the model an image shape");
  }
  if (src[0] % groups != 0 || out_channels % groups != 0) {
    throw Error(
        "",
        fmt::format("groups {} divide neither {} input nor {} output channels", groups, src[0], out_channels),
        "choose groups that divide both");
  }
}

std::vector<OnnxAttribute> conv_in_onnx(const Conv2dOptions& o, int n_axes, bool pads) {
  const auto first = static_cast<size_t>(2 - n_axes);
  std::vector<int64_t> kernel, stride, dilation, before, after;
  for (size_t axis = first; axis < 2; ++axis) {
    kernel.push_back(o.kernel[axis]);
    stride.push_back(o.stride[axis]);
    dilation.push_back(o.dilation[axis]);
    before.push_back(pads ? o.padding[2 * axis] : 0);
    after.push_back(pads ? o.padding[2 * axis + 1] : 0);
  }
  before.insert(before.end(), after.begin(), after.end());
  return {{"kernel_shape", kernel},
          {"strides", stride},
          {"dilations", dilation},
          {"pads", before},
          {"group", o.groups}};
}

std::string padded_in_onnx(const Conv2dOptions& o, OnnxVertex& vertex) {
  if (o.padding_mode == PaddingMode::kZeros || o.padding == std::array<int64_t, 4>{}) return vertex.input();
  const int rank = vertex.shape().rank(), n_axes = rank == 2 ? 1 : 2;
  std::string x = vertex.input();
  if (o.padding_mode == PaddingMode::kCircular) {
    // The operator for it came later than opset 17: ends of each axis are put before and behind it.
    for (int i = 0; i < n_axes; ++i) {
      const size_t axis = static_cast<size_t>(2 - n_axes + i);
      const int64_t extent = vertex.shape()[1 + i], before = o.padding[2 * axis],
                    after = o.padding[2 * axis + 1];
      const auto cut = [&](int64_t begin, int64_t end) {
        return vertex.add("Slice", {x, vertex.wholes({begin}), vertex.wholes({end}), vertex.wholes({2 + i})});
      };
      std::vector<std::string> parts;
      if (before > 0) parts.push_back(cut(extent - before, extent));
      parts.push_back(x);
      if (after > 0) parts.push_back(cut(0, after));
      if (parts.size() > 1) x = vertex.add("Concat", parts, {{"axis", int64_t{2} + i}});
    }
    return x;
  }
  std::vector<int64_t> pads{0, 0}, after{0, 0};
  for (size_t axis = static_cast<size_t>(2 - n_axes); axis < 2; ++axis) {
    pads.push_back(o.padding[2 * axis]);
    after.push_back(o.padding[2 * axis + 1]);
  }
  pads.insert(pads.end(), after.begin(), after.end());
  const std::string mode = o.padding_mode == PaddingMode::kReflect ? "reflect" : "edge";
  return vertex.add("Pad", {x, vertex.wholes(pads)}, {{"mode", mode}});
}

}  // namespace lockstep
