// HDF5 can keep the elements of a dataset in other files: external links, virtual datasets, external storage.
// A file that is missing there gives fill values and no error, so it is looked for before anything is read.
#pragma once

#include <string>

#include "io/hdf5/hdf5.h"

namespace lockstep {

/// HDF5's number of the file that holds an object.
unsigned long file_number(hid_t object);

/// Whether some elements of `dataset`, reached from the file of that number at `path`, lie in another file.
/// Throws Error naming the file that is missing, too short, or lacks the dataset; and where external storage,
/// which may name any file that the user can read, is not allowed.
bool lies_elsewhere(unsigned long file, hid_t dataset, hid_t creation_plist, const std::string& path,
                    const std::string& where, bool allows_external_storage);

/// Dataset access properties for reading it: external storage is looked for beside the file first.
h5::Id access_of_external_storage(hid_t dataset, const std::string& path);

}  // namespace lockstep
