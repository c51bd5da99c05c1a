// Layers over sequences (C, T), made of the layers over images (C, 1, T).
#pragma once

#include <memory>
#include <string>

#include "src/network/layer.h"

namespace lockstep {

/// `images` applied to a sequence as an image of height 1. A weight (…, 1, k) of it is (…, k) here.
std::shared_ptr<const Layer> over_time_layer(std::string type, std::shared_ptr<const Layer> images);

}  // namespace lockstep
