// Augmentation of a micro-batch of images for training: one pass from stored pixels to what the network
// reads. What happens to a sample stands in its record, which the host draws; every output pixel then is
//   place of the source (matrix, lens) -> bilinear sample -> colour -> vignette -> noise -> normalised ->
//   erased
// A record that only moves whole pixels (crops, reflections) copies them exactly.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/op.h"

namespace lockstep {

/// What happens to one sample. Distances from a centre: x = column - (width - 1) / 2, y alike.
struct AugmentRecord {
  /// Source (x, y) = matrix · (x', y', 1), where (x', y') = (x, y) (1 + radial r²) in the output; r is 1
  /// in the corners of the output.
  float matrix[2][3] = {{1, 0, 0}, {0, 1, 0}};
  float radial = 0;
  /// Three channels: colour = mixing · colour + offset. Others: each times mixing[0][0] plus offset[0].
  float mixing[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
  float offset[3] = {};
  float vignette = 0;              // times 1 - vignette r²
  float noise = 0;                 // standard deviation, in stored values
  uint32_t noise_key[2] = {};      // of Philox
  uint32_t noise_counter[2] = {};  // its high words: the sample's id
  int32_t erase_top = 0, erase_left = 0, erase_height = 0, erase_width = 0;  // in the output; 0: nothing
  float erase_value = 0;                                                     // as stored
  int32_t is_padding = 0;      // no sample: all of its output is 0
  int32_t copies = 0;          // matrix moves whole pixels, radial is 0
  int32_t alters = 0;          // mixing, offset, vignette or noise do something
  int32_t erases_to_mean = 0;  // what is erased is 0 after normalisation
};
static_assert(std::is_trivially_copyable_v<AugmentRecord>);

/// Pixels outside of the source: the fill value; the nearest pixel; mirrored at the outermost pixels.
enum class AugmentBorder : uint8_t { kConstant, kEdge, kReflect };

struct AugmentDesc {
  TensorDesc src;  // (N, C, H, W) uint8 or float32, dense, as stored
  TensorDesc dst;  // (N, C, H', W') dense, of a type of activations
  AugmentBorder border = AugmentBorder::kConstant;
  float fill = 0;                  // in stored values
  std::vector<float> mean, scale;  // dst = (value - mean[c]) scale[c]: C values each, one for all, or none
};

/// src[0]: the images; src[1]: (N, sizeof(AugmentRecord)) uint8, the records. dst[0]: what the network
/// reads. There is no gradient. Altered values of uint8 images are clamped to [0, 255].
/// Element (c, y, x) of the output has the noise of word (c H' + y) W'' + x of Philox, where W'' is W'
/// rounded up to a multiple of 4: its normal number is noise · normal_of_bits(word) (augment_pixel.h).
/// Throws Error for other shapes and types.
std::unique_ptr<Op> make_augment(const OpConfig& config, const AugmentDesc& desc);

}  // namespace lockstep
