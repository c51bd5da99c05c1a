// Inspects one shard. A dataset whose elements lie in the file as memory wants them
// (contiguous, unfiltered, native byte order) gets its file offset, so that rows can be read
// with pread: no HDF5 lock, no copy. The offset is checked against the file's size, because
// a copy that was cut short often leaves the HDF5 structures whole and the data missing.
#include "io/shard_contents.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "io/seal.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kFormatVersion = 1;

/// Why elements of `type` are not numbers; empty if they are.
std::string why_not_numeric(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_INTEGER: return H5Tget_size(type) <= 8 ? "" : "holds integers of more than 64 bits";
    case H5T_FLOAT: return H5Tget_size(type) <= 8 ? "" : "holds floating-point numbers of more than 64 bits";
    case H5T_STRING: return "holds strings";
    case H5T_ENUM: return "holds booleans or an enumeration; store it as uint8";
    case H5T_COMPOUND: return "holds compound elements or complex numbers; store one dataset per member";
    default: return "does not hold numbers";
  }
}

/// int8, int16 and uint16 are delivered as int32, uint32 and uint64 as int64.
DType delivered_dtype(hid_t type, const std::string& where) {
  if (H5Tget_class(type) != H5T_INTEGER) return h5::dtype_of(type, where);
  const size_t n_bytes = H5Tget_size(type);
  const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
  if (n_bytes == 1 && !is_signed) return DType::kUInt8;
  return n_bytes < 4 || (n_bytes == 4 && is_signed) ? DType::kInt32 : DType::kInt64;
}

/// The byte offset of a dataset that pread can deliver, or -1.
int64_t offset_for_pread(hid_t dataset, hid_t delivered) {
  const h5::Id stored = h5::own(H5Dget_type(dataset), "H5Dget_type", "dataset");
  if (H5Tequal(stored.get(), delivered) <= 0) return -1;
  const h5::Id plist = h5::own(H5Dget_create_plist(dataset), "H5Dget_create_plist", "dataset");
  if (H5Pget_layout(plist.get()) != H5D_CONTIGUOUS || H5Pget_external_count(plist.get()) > 0) return -1;
  const haddr_t offset = H5Dget_offset(dataset);  // undefined where nothing was ever written
  if (offset == HADDR_UNDEF) {
    H5Eclear2(H5E_DEFAULT);
    return -1;
  }
  return static_cast<int64_t>(offset);
}

/// What a file of file_bytes cannot hold is damage, and is not asked memory for. Content that was never
/// written takes no bytes, so that the number of rows may be any; one row must fit.
void check_extents(const Shape& extents, int64_t element_bytes, int64_t file_bytes,
                   const std::string& where) {
  constexpr int64_t kMostCompressed = 2048, kSmall = int64_t{1} << 24;  // more than any filter's ratio
  int64_t row_bytes = element_bytes, n_bytes = 0;
  bool fits = true;
  for (int d = 1; d < extents.rank(); ++d)  // a 0 among them must not hide what is too large
    fits = fits && !__builtin_mul_overflow(row_bytes, std::max<int64_t>(1, extents[d]), &row_bytes);
  fits = fits && !__builtin_mul_overflow(row_bytes, std::max<int64_t>(1, extents[0]), &n_bytes);
  if (!fits || (row_bytes > kSmall && row_bytes / kMostCompressed > file_bytes))
    throw Error(where,
                "claims the shape " + extents.str() + ", which a file of " + std::to_string(file_bytes) +
                    " bytes cannot hold",
                kDamagedRemedy);
}

StoredField inspect_field(hid_t file, const std::string& name, const std::string& path, int64_t file_bytes) {
  StoredField out;
  out.field.name = name;
  const std::string where = path + ": dataset " + name;
  const h5::Id dataset = h5::own(H5Dopen2(file, name.c_str(), H5P_DEFAULT), "H5Dopen", where);
  const h5::Id type = h5::own(H5Dget_type(dataset.get()), "H5Dget_type", where);
  out.unusable = why_not_numeric(type.get());
  if (!out.unusable.empty()) return out;

  const h5::Id space = h5::own(H5Dget_space(dataset.get()), "H5Dget_space", where);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (H5Sget_simple_extent_type(space.get()) != H5S_SIMPLE || rank < 1) {
    out.unusable = "has no sample dimension (it is a scalar)";
    return out;
  }
  if (rank > Shape::kMaxRank) {
    out.unusable = "has more than " + std::to_string(Shape::kMaxRank) + " dimensions";
    return out;
  }
  const Shape extents = h5::shape_of(dataset.get());
  out.n_rows = extents[0];
  out.field.shape = extents.without_front();
  out.field.dtype = delivered_dtype(type.get(), where);
  check_extents(extents, size_of(out.field.dtype), file_bytes, where);
  if (out.field.shape.n_elements() == 0) out.unusable = "has samples without elements " + extents.str();

  const h5::Id delivered = memory_type(dataset.get(), where);
  out.offset_bytes = offset_for_pread(dataset.get(), delivered.get());
  const int64_t n_bytes = extents.n_elements() * size_of(out.field.dtype);
  int64_t end = 0;
  if (__builtin_add_overflow(out.offset_bytes, n_bytes, &end)) end = INT64_MAX;
  if (out.offset_bytes >= 0 && end > file_bytes) {
    throw Error(where,
                "is cut off: its content ends at byte " + std::to_string(end) + ", the file at byte " +
                    std::to_string(file_bytes),
                kDamagedRemedy);
  }
  if (h5::has_attribute(dataset.get(), "mean") && h5::has_attribute(dataset.get(), "stddev")) {
    out.statistics.mean = h5::read_doubles_attribute(dataset.get(), "mean", where);
    out.statistics.stddev = h5::read_doubles_attribute(dataset.get(), "stddev", where);
    if (out.statistics.mean.size() != out.statistics.stddev.size())
      throw Error(where, "has attributes mean and stddev of different lengths", "remove or correct them");
    for (const std::vector<double>* values : {&out.statistics.mean, &out.statistics.stddev}) {
      if (!std::all_of(values->begin(), values->end(), [](double v) { return std::isfinite(v); }))
        throw Error(where, "has attributes mean and stddev that are not finite", "remove or correct them");
    }
  }
  if (h5::has_attribute(dataset.get(), "checksum"))
    out.checksum = static_cast<uint64_t>(h5::read_int_attribute(dataset.get(), "checksum", where));
  return out;
}

/// "tokens" with "tokens_offsets" is a ragged sequence: neither has one row per sample.
void mark_ragged(std::vector<StoredField>& fields) {
  for (StoredField& offsets : fields) {
    for (StoredField& values : fields) {
      if (offsets.field.name != values.field.name + "_offsets") continue;
      values.unusable = "is a ragged sequence (" + offsets.field.name + " exists); pad it to one length";
      offsets.unusable = "holds the offsets of " + values.field.name;
    }
  }
}

}  // namespace

h5::Id stored_type(hid_t dataset, const std::string& where) {
  const auto guard = h5::lock();
  const h5::Id type = h5::own(H5Dget_type(dataset), "H5Dget_type", where);
  h5::Id native = h5::own(H5Tcopy(type.get()), "H5Tcopy", where);
  h5::check(H5Tset_order(native.get(), H5T_ORDER_LE), "H5Tset_order", where);
  return native;
}

h5::Id memory_type(hid_t dataset, const std::string& where) {
  const auto guard = h5::lock();
  const h5::Id stored = stored_type(dataset, where);
  return h5::own(H5Tcopy(h5::native_type(delivered_dtype(stored.get(), where))), "H5Tcopy", where);
}

void read_rows(hid_t dataset, hid_t type, int64_t first, int64_t count, void* dst, const std::string& where) {
  if (count == 0) return;
  const auto guard = h5::lock();
  const h5::Id file_space = h5::own(H5Dget_space(dataset), "H5Dget_space", where);
  hsize_t start[Shape::kMaxRank] = {}, extent[Shape::kMaxRank] = {};
  const int rank = H5Sget_simple_extent_dims(file_space.get(), extent, nullptr);
  h5::check(rank, "H5Sget_simple_extent_dims", where);
  start[0] = static_cast<hsize_t>(first);
  extent[0] = static_cast<hsize_t>(count);
  h5::check(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start, nullptr, extent, nullptr),
            "H5Sselect_hyperslab", where);
  const h5::Id memory_space = h5::own(H5Screate_simple(rank, extent, nullptr), "H5Screate_simple", where);
  h5::check(H5Dread(dataset, type, memory_space.get(), file_space.get(), H5P_DEFAULT, dst), "H5Dread", where);
}

ShardContents inspect_shard(const std::string& path) {
  const Seal seal = check_seal(path, kDamagedRemedy);
  const auto guard = h5::lock();
  h5::Id file;
  try {
    file = h5::open_file(path);
  } catch (const Error& error) {
    // HDF5 locks files, which some network file systems refuse, and refuses files being written.
    if (error.reason().find("lock file") != std::string::npos)
      throw Error(path, "cannot be opened: " + error.reason(),
                  "if no program is writing the file: export HDF5_USE_FILE_LOCKING=FALSE");
    throw Error(path, "is not a readable HDF5 file, or is cut off (" + error.reason() + ")", kDamagedRemedy);
  }
  std::error_code status;
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path, status));
  if (status) throw Error(path, "cannot be read: " + status.message());

  ShardContents out;
  if (h5::has_attribute(file.get(), "lockstep_format_version")) {
    const int64_t version = h5::read_int_attribute(file.get(), "lockstep_format_version", path);
    if (version > kFormatVersion) {
      throw Error(path,
                  "has dataset format version " + std::to_string(version) +
                      "; this program reads versions up to " + std::to_string(kFormatVersion),
                  "use a newer Lockstep, or convert the data with this one");
    }
    if (seal == Seal::kBareTail) throw Error(path, "its seal is damaged", kDamagedRemedy);
  }
  if (h5::has_attribute(file.get(), "class_names"))
    out.class_names = h5::read_strings_attribute(file.get(), "class_names", path);
  for (const std::string& name : h5::dataset_names(file.get()))
    out.fields.push_back(inspect_field(file.get(), name, path, file_bytes));
  mark_ragged(out.fields);
  return out;
}

}  // namespace lockstep
