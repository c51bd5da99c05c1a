// A build without the library that reads these files (cmake/LockstepDependencies.cmake).
#include "io/formats/images/image_formats.h"

namespace lockstep::detail {

FormatDecoder webp_decoder() { return {.remedy = "install libwebp-dev and build Lockstep again"}; }

}  // namespace lockstep::detail
