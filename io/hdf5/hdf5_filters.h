// Filters of HDF5 beyond those in the library: our decoders for lzf, lz4, zstd and bitshuffle are given to
// it, and plugins of hdf5plugin are found where Python has them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/hdf5/chunk_index.h"
#include "io/hdf5/hdf5.h"

namespace lockstep::h5 {

/// Once per process, under lock(): HDF5 reads with our decoders. open_file() calls it.
void register_filters();

/// Why chunks written with this dataset creation list cannot be decoded here ("is compressed with blosc …");
/// empty where they can. Looks for plugins first.
std::string missing_filter(hid_t creation_plist);
/// How to get it.
extern const char* const kFilterRemedy;

/// The filters in the order of writing, into `index`; false where one is none that decode_chunk() knows.
bool read_decodable_filters(hid_t creation_plist, ChunkIndex& index);

}  // namespace lockstep::h5
