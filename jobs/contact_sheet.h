// Images of a dataset at a glance, class by class: for `lockstep inspect --sheet`.
#pragma once

#include <string>

#include "io/dataset/dataset.h"

namespace lockstep {

/// Writes FILE.html, with class names and row numbers, or FILE.png: up to ten images of each of up to forty
/// classes, spread over the dataset, in the order of the rows; without classes up to eighty. Images are (C,
/// H, W) or (H, W, C) with 1 or 3 channels, or (H, W); bytes are shown as they are, other numbers from the
/// least to the largest of those shown. Larger ones than 160 pixels lose rows and columns. Throws Error: no
/// field of images, another ending, the file cannot be written.
void write_contact_sheet(const Dataset& dataset, const std::string& path);

}  // namespace lockstep
