// Arrays by name in one file as numpy.savez writes them: a ZIP archive of .npy files, stored.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/formats/safetensors.h"

namespace lockstep {

/// Writes `path` with one array NAME.npy per tensor, in their order, float32 or int64, little-endian, row by
/// row; `fill(i, data)` provides the content of tensors[i] when its turn comes. Equal tensors give equal
/// bytes. The file appears by rename, or not at all. Throws Error: a type that is neither, a name that is
/// empty or there twice, more than 65,535 arrays, or 4 GiB and more, which want ZIP64.
void write_npz(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
               const std::function<void(size_t i, void* data)>& fill);

}  // namespace lockstep
