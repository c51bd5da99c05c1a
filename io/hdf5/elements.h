// Elements of HDF5 datasets as the types of tensors, and rows of them through HDF5.
#pragma once

#include <cstdint>
#include <string>

#include "io/hdf5/hdf5.h"
#include "kernels/dtype.h"

namespace lockstep {

/// How the elements of a stored type are handed over. int8, int16 and uint16 as int32; uint32 and uint64 as
/// int64; booleans and enumerations as their numbers.
struct Elements {
  DType dtype = DType::kFloat32;
  bool as_stored = false;  // the stored bytes are those of dtype
  std::string unusable;    // why they are no numbers; then nothing else counts
};
Elements elements_of(hid_t stored_type);

/// The type in which HDF5 hands over a dataset's elements: the stored one in native byte order.
h5::Id stored_type(hid_t dataset, const std::string& where);
/// The type in memory for elements of `dtype`, which elements_of() or a wider one of the same kind gave.
h5::Id memory_type(hid_t dataset, DType dtype, const std::string& where);

/// Reads rows [first, first + count) of `dataset` as elements of `type` to `dst`. Throws Error.
void read_rows(hid_t dataset, hid_t type, int64_t first, int64_t count, void* dst, const std::string& where);

}  // namespace lockstep
