// The first layer's weights as small images.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"
#include "src/report/png.h"

namespace lockstep {

/// What is known about the network's input.
struct ImageInput {
  bool is_image = false;
  int64_t channels = 0, height = 0, width = 0;  // 0: unknown
};
/// From the checkpoint's text "input_shape" ("1 28 28": any separators), else from the job's
/// model.input: [C, H, W] (or [H, W, C]), else from a data.train.input whose name says image. Two
/// equal extents are one channel's height and width. A job that is not YAML tells nothing.
ImageInput image_input_of(const CheckpointInfo& info, const std::string& job);

/// The parameter that is most likely the first layer: among those of shape (K, C, kh, kw) with
/// C 1 or 3 (the job's channels if known) and a kernel larger than one, by natural name order;
/// without any 4-d parameter, and for image inputs only, the first (O, I) whose I is the image's
/// size. Decoders and transposed convolutions come last. C of 3 goes before C of 1, because
/// depthwise convolutions have C = 1 in any layer.
std::optional<CheckpointEntry> choose_first_layer(const std::vector<CheckpointEntry>& entries,
                                                  const ImageInput& input);

/// "conv2" before "conv10".
bool natural_less(const std::string& a, const std::string& b);

struct FilterImage {
  PngImage image;  // its own minimum is black, its maximum white (RGB: over all channels)
  double low = 0, high = 0;
};
/// Filters [0, most) of weights (K, C, kh, kw), C 1 or 3.
std::vector<FilterImage> filter_images(const std::vector<float>& weights, const Shape& shape, int64_t most);

/// A <section> from the newest checkpoint in run_folder/checkpoints, or `best_step`'s where
/// that file exists; empty when there is nothing to show. A checkpoint that cannot be read
/// gives a section that says so.
std::string filters_html(const std::string& run_folder, const std::string& job, double best_step);

}  // namespace lockstep
