// Arrays of NumPy as the rows of a dataset: several files one behind the other, images whose channels stand
// last turned, whole numbers of 64 bits in the least type that holds them; labels beside them.
#pragma once

#include <string>
#include <vector>

#include "io/convert/convert_rows.h"
#include "io/formats/npy_file.h"

namespace lockstep {

/// How the rows of an array become samples.
struct NpyShape {
  std::string layout;  // of rows of rank 3: "NCHW", "NHWC" (is turned); "": refused where it is unclear
  std::vector<int64_t> shape;  // of a row; empty: as stored, but uint8 (H, W) becomes (1, H, W)
  bool as_stored = false;      // neither turned nor of another type; layout and shape do not apply
};

/// The rows of inputs and labels (may be none). Whole labels become "label" int64 with numbered classes,
/// floats "target" float32, of as many numbers as a row of labels holds. Throws Error naming the array: types
/// or shapes of the parts that differ, numbers of labels, labels below 0, several whole labels a row. Reads
/// all labels, and all inputs of int64.
ConvertInput open_npy_rows(std::vector<NpyFile> inputs, std::vector<NpyFile> labels, const NpyShape& shape);

}  // namespace lockstep
