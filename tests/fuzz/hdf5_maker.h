// HDF5 files whose metadata is well-formed, as the library writes it, and whose meaning is anything: element
// types, shapes, layouts, filters, links and attributes that decisions choose. HDF5's own parsing of damaged
// metadata is not what these are for (docs/fuzzing.md).
#pragma once

#include <string>

#include "io/hdf5/hdf5.h"
#include "tests/fuzz/reader.h"

namespace lockstep::fuzz {

/// A type of any class and size; may be none (id < 0).
h5::Id any_type(Choices& choices);
/// Null, scalar or of up to 9 dimensions, small or as large as HDF5 allows.
h5::Id any_space(Choices& choices);
/// An attribute of any type and size; content, where it fits a few KiB, from the input.
void any_attribute(hid_t object, const std::string& name, Choices& choices);
/// A dataset of any type, shape, layout and filters; written, written in part, as raw chunks, or never.
void any_dataset(hid_t parent, const std::string& name, Choices& choices);
/// A group, a named type, or a link that points nowhere, at an object or back at its parent.
void any_link(hid_t parent, const std::string& name, Choices& choices);

}  // namespace lockstep::fuzz
