// EXIF orientation: cameras store pixels as the sensor lay and say in a tag how to turn them. Whoever looks
// at such a picture sees it turned, so that networks shall as well.
#pragma once

#include <cstdint>
#include <span>

#include "io/formats/images/image_decode.h"

namespace lockstep::detail {

/// The tag 0x0112 of EXIF data (a TIFF header and its first directory): 1 … 8; 1, as it is, where it is
/// absent or the bytes are damaged.
int exif_orientation(std::span<const uint8_t> exif);

/// Turns and mirrors the image as EXIF 2.3 numbers it: 3 by 180 degrees, 6 by 90 degrees clockwise …
void orient(int orientation, Image& image);

}  // namespace lockstep::detail
