// What HDF5 refuses to make is left out: ids below 0 are passed on, and their calls fail quietly.
#include "tests/fuzz/hdf5_maker.h"

#include <algorithm>
#include <array>
#include <vector>

namespace lockstep::fuzz {

namespace {

constexpr int64_t kMostBytes = 8192;  // of content

h5::Id number_type(Choices& choices) {
  const hid_t known[] = {H5T_STD_U8LE,       H5T_STD_I8LE,   H5T_STD_U16LE,  H5T_STD_I16BE,
                         H5T_STD_U32LE,      H5T_STD_I32LE,  H5T_STD_I32BE,  H5T_STD_U64LE,
                         H5T_STD_I64LE,      H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE,
                         H5T_NATIVE_LDOUBLE, H5T_IEEE_F32LE, H5T_STD_U8LE,   H5T_STD_I64LE};
  h5::Id type(H5Tcopy(known[choices.below(std::size(known))]));
  if (choices.below(8) == 0) {  // of an unusual size, precision or layout
    H5Tset_size(type.get(), 1 + static_cast<size_t>(choices.below(20)));
    if (choices.flag()) H5Tset_precision(type.get(), 1 + static_cast<size_t>(choices.below(64)));
    if (choices.flag()) H5Tset_fields(type.get(), 15, 10, 5, 0, 10), H5Tset_size(type.get(), 2);
    if (choices.flag()) H5Tset_offset(type.get(), static_cast<size_t>(choices.below(16)));
  }
  return type;
}

}  // namespace

h5::Id any_type(Choices& choices) {
  switch (choices.below(16)) {
    case 0: {
      h5::Id text(H5Tcopy(H5T_C_S1));
      H5Tset_size(text.get(), choices.flag() ? H5T_VARIABLE : 1 + static_cast<size_t>(choices.below(40)));
      if (choices.flag()) H5Tset_cset(text.get(), H5T_CSET_UTF8);
      H5Tset_strpad(text.get(), static_cast<H5T_str_t>(choices.below(3)));
      return text;
    }
    case 1: return h5::Id(H5Tenum_create(number_type(choices).get()));
    case 2: {
      h5::Id compound(H5Tcreate(H5T_COMPOUND, 1 + static_cast<size_t>(choices.below(32))));
      H5Tinsert(compound.get(), "r", 0, number_type(choices).get());
      return compound;
    }
    case 3: {
      const hsize_t n = static_cast<hsize_t>(choices.below(9));
      return h5::Id(H5Tarray_create2(number_type(choices).get(), 1, &n));
    }
    case 4: return h5::Id(H5Tvlen_create(number_type(choices).get()));
    case 5: {
      const hid_t others[] = {H5T_STD_B8LE, H5T_STD_REF_OBJ, H5T_UNIX_D32LE};
      return choices.flag() ? h5::Id(H5Tcreate(H5T_OPAQUE, 1 + static_cast<size_t>(choices.below(12))))
                            : h5::Id(H5Tcopy(others[choices.below(3)]));
    }
    default: return number_type(choices);
  }
}

h5::Id any_space(Choices& choices) {
  const int64_t kind = choices.below(20);
  if (kind == 0) return h5::Id(H5Screate(H5S_NULL));
  if (kind == 1) return h5::Id(H5Screate(H5S_SCALAR));
  const int rank = 1 + static_cast<int>(choices.below(kind == 2 ? 12 : 4));
  std::array<hsize_t, 12> extents = {}, limits = {};
  for (int d = 0; d < rank; ++d) {
    extents[static_cast<size_t>(d)] = kind < 5 ? static_cast<hsize_t>(std::max<int64_t>(0, choices.number()))
                                               : static_cast<hsize_t>(choices.below(9));
    limits[static_cast<size_t>(d)] = choices.below(4) == 0 ? H5S_UNLIMITED : extents[static_cast<size_t>(d)];
  }
  return h5::Id(H5Screate_simple(rank, extents.data(), choices.flag() ? limits.data() : nullptr));
}

void any_attribute(hid_t object, const std::string& name, Choices& choices) {
  const h5::Id type = any_type(choices), space = any_space(choices);
  const hssize_t n = H5Sget_simple_extent_npoints(space.get());
  const auto width = static_cast<int64_t>(H5Tget_size(type.get()));
  if (n < 0 || width <= 0 || n > kMostBytes / width) return;
  const h5::Id attribute(H5Acreate2(object, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
  const H5T_class_t kind = H5Tget_class(type.get());
  if (kind == H5T_VLEN || kind == H5T_REFERENCE) return;
  if (kind == H5T_STRING && H5Tis_variable_str(type.get()) > 0) {
    const std::string text(choices.take(static_cast<size_t>(choices.below(64))));
    const std::vector<const char*> texts(static_cast<size_t>(n), choices.flag() ? text.c_str() : nullptr);
    if (n > 0) H5Awrite(attribute.get(), type.get(), texts.data());
    return;
  }
  std::string content(choices.take(static_cast<size_t>(n * width)));
  content.resize(static_cast<size_t>(n * width + 1));
  H5Awrite(attribute.get(), type.get(), content.data());
}

void any_dataset(hid_t parent, const std::string& name, Choices& choices) {
  const h5::Id type = any_type(choices), space = any_space(choices), plist(H5Pcreate(H5P_DATASET_CREATE));
  const int rank = std::max(0, H5Sget_simple_extent_ndims(space.get()));
  std::array<hsize_t, 12> chunk = {};
  const int64_t layout = choices.below(8);
  if (layout == 0) H5Pset_layout(plist.get(), H5D_COMPACT);
  if (layout >= 4) {
    hsize_t n_elements = 1;
    for (int d = 0; d < rank; ++d) {
      const int64_t extent = choices.below(16) == 0 ? choices.number() : 1 + choices.below(5);
      n_elements *= chunk[static_cast<size_t>(d)] =
          static_cast<hsize_t>(std::clamp<int64_t>(extent, 1, 1 << 20));
    }
    if (n_elements > 1 << 22) return;  // such chunks only cost time
    H5Pset_chunk(plist.get(), rank, chunk.data());
    const uint8_t filters = choices.byte();
    if (filters & 1) H5Pset_shuffle(plist.get());
    if (filters & 2) H5Pset_deflate(plist.get(), 1);
    if (filters & 4) H5Pset_fletcher32(plist.get());
    if ((filters & 96) == 96) H5Pset_shuffle(plist.get());
  }
  // Space is given where it is written to: a shape may be larger than any file.
  H5Pset_alloc_time(plist.get(), layout == 0 ? H5D_ALLOC_TIME_EARLY : H5D_ALLOC_TIME_INCR);
  if (layout < 4 && layout > 0) H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_LATE);
  const h5::Id dataset(
      H5Dcreate2(parent, name.c_str(), type.get(), space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT));
  if (!dataset) return;
  const hssize_t n = H5Sget_simple_extent_npoints(space.get());
  const auto width = static_cast<int64_t>(H5Tget_size(type.get()));
  const H5T_class_t kind = H5Tget_class(type.get());
  const bool is_plain =
      kind == H5T_INTEGER || kind == H5T_FLOAT || kind == H5T_OPAQUE || kind == H5T_COMPOUND;
  const bool fits = n >= 0 && width > 0 && n <= kMostBytes / width;
  if (fits && is_plain && choices.below(4) > 0) {
    std::string content(choices.take(static_cast<size_t>(choices.byte())));
    content.resize(static_cast<size_t>(n * width + 1), 'x');
    H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, content.data());
  }
  std::array<hsize_t, 12> extents = {};
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  while (layout >= 4 && choices.below(3) == 0 && !choices.empty()) {  // chunks as no filter would make them
    std::array<hsize_t, 12> at = {};
    bool exists = true;  // HDF5 1.10 writes chunks of datasets without elements to nowhere
    for (size_t d = 0; d < static_cast<size_t>(rank); ++d) {
      at[d] = chunk[d] * static_cast<hsize_t>(choices.below(3));
      exists = exists && at[d] < extents[d];
    }
    if (!exists) continue;
    const uint8_t mask = choices.byte();
    const std::string_view raw = choices.take(choices.byte());
    if (!raw.empty()) H5Dwrite_chunk(dataset.get(), H5P_DEFAULT, mask, at.data(), raw.size(), raw.data());
  }
  for (const char* attribute : {"mean", "stddev", "checksum"}) {
    if (choices.below(3) == 0) any_attribute(dataset.get(), attribute, choices);
  }
}

void any_link(hid_t parent, const std::string& name, Choices& choices) {
  switch (choices.below(6)) {
    case 0: h5::Id(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); break;
    case 1: H5Lcreate_soft("/nowhere", parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT); break;
    case 2:
      H5Lcreate_soft(choices.flag() ? "." : name.c_str(), parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT);
      break;
    case 3: H5Lcreate_hard(parent, ".", parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT); break;
    case 4: H5Lcreate_external("absent.h5", "/x", parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT); break;
    default: {
      const h5::Id type = any_type(choices);
      H5Tcommit2(parent, name.c_str(), type.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    }
  }
}

}  // namespace lockstep::fuzz
