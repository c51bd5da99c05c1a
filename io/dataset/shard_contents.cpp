// Inspects one shard. A dataset whose elements lie in the file as memory wants them
// (contiguous, unfiltered, native byte order) gets its file offset, so that rows can be read
// with pread: no HDF5 lock, no copy. The offset is checked against the file's size, because
// a copy that was cut short often leaves the HDF5 structures whole and the data missing.
#include "io/dataset/shard_contents.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "io/dataset/elsewhere.h"
#include "io/files/seal.h"
#include "io/hdf5/hdf5_filters.h"
#include "io/hdf5/not_hdf5.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

constexpr int64_t kFormatVersion = 1;

/// The byte offset of a dataset that pread can deliver, or -1.
int64_t offset_for_pread(hid_t dataset, hid_t plist) {
  if (H5Pget_layout(plist) != H5D_CONTIGUOUS) return -1;
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

/// mean and stddev where both are numbers: other programs use these names for other things.
Dataset::Statistics read_statistics(hid_t dataset, bool is_ours, const std::string& where) {
  Dataset::Statistics statistics;
  for (const char* name : {"mean", "stddev"}) {
    if (!h5::has_attribute(dataset, name)) return {};
    if (!is_ours && h5::kind_of_attribute(dataset, name) != h5::AttributeKind::kNumber) return {};
  }
  statistics.mean = h5::read_doubles_attribute(dataset, "mean", where);
  statistics.stddev = h5::read_doubles_attribute(dataset, "stddev", where);
  if (statistics.mean.size() != statistics.stddev.size())
    throw Error(where, "has attributes mean and stddev of different lengths", "remove or correct them");
  for (const std::vector<double>* values : {&statistics.mean, &statistics.stddev}) {
    if (!std::all_of(values->begin(), values->end(), [](double v) { return std::isfinite(v); }))
      throw Error(where, "has attributes mean and stddev that are not finite", "remove or correct them");
  }
  return statistics;
}

std::optional<double> read_number(hid_t dataset, const char* name, const std::string& where) {
  if (h5::kind_of_attribute(dataset, name) != h5::AttributeKind::kNumber) return {};
  const std::vector<double> values = h5::read_doubles_attribute(dataset, name, where);
  if (values.size() != 1) return {};
  return values[0];
}

/// What MATLAB, netCDF and Lockstep's own attributes tell of the values.
Dataset::Traits read_traits(hid_t dataset, const Field& field, bool is_netcdf, const std::string& where) {
  constexpr double kDefaultFill = 9.969209968386869e36;  // netCDF's, of floats that were never written
  Dataset::Traits traits;
  traits.from_matlab = h5::has_attribute(dataset, "MATLAB_class");
  if (h5::kind_of_attribute(dataset, "layout") == h5::AttributeKind::kString) {
    std::string layout = h5::read_string_attribute(dataset, "layout", where);
    for (char& c : layout) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (layout == "NHWC" || layout == "CHANNELS_LAST") traits.layout = "NHWC";  // as Keras calls them, too
    if (layout == "NCHW" || layout == "CHANNELS_FIRST") traits.layout = "NCHW";
  }
  if (const auto scale = read_number(dataset, "scale_factor", where)) traits.scale = *scale;
  if (const auto offset = read_number(dataset, "add_offset", where)) traits.offset = *offset;
  for (const char* name : {"_FillValue", "missing_value"}) {
    const auto value = read_number(dataset, name, where);
    if (value && !std::isnan(*value) && !traits.missing) traits.missing = value;
  }
  const bool is_float = field.dtype == DType::kFloat32 || field.dtype == DType::kFloat64;
  if (is_netcdf && is_float && !traits.missing && !h5::has_attribute(dataset, "_FillValue"))
    traits.missing = kDefaultFill;
  return traits;
}

/// netCDF writes an empty dataset for a dimension that has no variable, and says so in its attribute NAME.
bool is_bare_dimension(hid_t dataset, const std::string& where) {
  return h5::kind_of_attribute(dataset, "NAME") == h5::AttributeKind::kString &&
         h5::read_string_attribute(dataset, "NAME", where).starts_with("This is a netCDF dimension");
}

/// What all fields of a file share.
struct Inspected {
  hid_t file;
  unsigned long file_number;
  const std::string& path;
  int64_t file_bytes;
  bool is_ours, is_netcdf;
  const DatasetOptions& options;
};

void describe_field(const Inspected& in, hid_t dataset, StoredField& out) {
  const std::string where = in.path + ": dataset " + out.field.name;
  const h5::Id type = h5::own(H5Dget_type(dataset), "H5Dget_type", where);
  const Elements elements = elements_of(type.get());
  out.unusable = elements.unusable;
  if (!out.unusable.empty()) return;

  const h5::Id space = h5::own(H5Dget_space(dataset), "H5Dget_space", where);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (H5Sget_simple_extent_type(space.get()) != H5S_SIMPLE || rank < 1) {
    out.unusable = "has no sample dimension (it is a scalar)";
    return;
  }
  if (rank > Shape::kMaxRank) {
    out.unusable = "has more than " + std::to_string(Shape::kMaxRank) + " dimensions";
    return;
  }
  const h5::Id plist = h5::own(H5Dget_create_plist(dataset), "H5Dget_create_plist", where);
  const Shape extents = h5::shape_of(dataset);
  const bool is_elsewhere =
      lies_elsewhere(in.file_number, dataset, plist.get(), in.path, where, in.options.external_storage);
  out.n_rows = out.n_elements = extents[0];
  out.field.shape = extents.without_front();
  out.field.dtype = elements.dtype;
  check_extents(extents, size_of(out.field.dtype), is_elsewhere ? INT64_MAX : in.file_bytes, where);
  if (!in.is_ours && is_bare_dimension(dataset, where)) {
    out.unusable = "is a dimension of netCDF without values";
    return;
  }
  if (out.field.shape.n_elements() == 0) out.unusable = "has samples without elements " + extents.str();
  if (const std::string missing = h5::missing_filter(plist.get()); !missing.empty()) {
    out.unusable = missing;
    out.remedy = h5::kFilterRemedy;
    return;
  }
  out.has_chunks_here = !is_elsewhere && elements.as_stored;
  out.offset_bytes = out.has_chunks_here ? offset_for_pread(dataset, plist.get()) : -1;
  const int64_t n_bytes = extents.n_elements() * size_of(out.field.dtype);
  int64_t end = 0;
  if (__builtin_add_overflow(out.offset_bytes, n_bytes, &end)) end = INT64_MAX;
  if (out.offset_bytes >= 0 && end > in.file_bytes) {
    throw Error(where,
                "is cut off: its content ends at byte " + std::to_string(end) + ", the file at byte " +
                    std::to_string(in.file_bytes),
                kDamagedRemedy);
  }
  out.statistics = read_statistics(dataset, in.is_ours, where);
  if (!in.is_ours) out.traits = read_traits(dataset, out.field, in.is_netcdf, where);
  if (in.is_ours && h5::has_attribute(dataset, "checksum"))
    out.checksum = static_cast<uint64_t>(h5::read_int_attribute(dataset, "checksum", where));
}

/// HDF5's own words where a file is of a newer format than the library reads.
bool is_newer_format(const std::string& reason) {
  return reason.find("bad version number") != std::string::npos;
}

std::string library_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

StoredField inspect_field(const Inspected& in, const std::string& name) {
  StoredField out;
  out.field.name = name;
  const std::string where = in.path + ": dataset " + name;
  const h5::Id dataset = h5::open_dataset(in.file, name);
  if (!dataset) {
    try {
      h5::check(-1, "H5Dopen", where);
    } catch (const Error& error) {
      if (const std::string target = h5::external_link_on(in.file, name); !target.empty()) {
        out.unusable = "is a link to " + target + ", which cannot be opened";
        out.remedy =
            "put that file where the link points, beside this one, or copy the dataset into this file";
      } else if (is_newer_format(error.reason())) {
        out.unusable = "is of a newer format than HDF5 " + library_version() +
                       " reads, with which this program was built";
        out.remedy = "write it with h5py.File(..., libver='v114') or earlier, or build Lockstep with HDF5 2";
      } else if (const h5::Id group = h5::open_group(in.file, name); group) {
        const bool is_sparse = h5::has_link(group.get(), "indptr") && h5::has_link(group.get(), "data");
        out.unusable = is_sparse ? "is a group that holds a sparse matrix" : "is a group, not a dataset";
        out.remedy = is_sparse ? "store it dense: adata.X.toarray() in AnnData, then write it again"
                               : "name a dataset in it: " + name + "/NAME";
      } else {
        H5Eclear2(H5E_DEFAULT);
        out.unusable = "cannot be opened (" + error.reason() + ")";
        out.remedy = kDamagedRemedy;
      }
    }
    return out;
  }
  try {
    describe_field(in, dataset.get(), out);
  } catch (const Error& error) {
    // Contents that are cut off must not pass where nobody says which fields count.
    if (in.options.fields.empty() && error.remedy() == kDamagedRemedy) throw;
    out.unusable = error.reason();
    out.remedy = error.remedy();
  }
  return out;
}

std::string at_row(int64_t row) { return " at row " + std::to_string(row); }

/// The lengths of the rows that `offsets` cut n_elements into: rows + 1 offsets, from 0 to n_elements. Throws
/// Error naming the row where they do not.
std::vector<int32_t> read_row_lengths(const Inspected& in, const StoredField& offsets, int64_t n_elements) {
  constexpr int64_t kAtOnce = int64_t{1} << 20, kMostCompressed = 2048;
  constexpr const char* kOffsetsRemedy =
      "write rows + 1 offsets: row i is elements offsets[i] to offsets[i + 1] of the same file";
  const std::string where = in.path + ": dataset " + offsets.field.name;
  const int64_t n_rows = offsets.n_elements - 1;
  if (n_rows < 0) throw Error(where, "holds no offsets", kOffsetsRemedy);
  if (n_rows / kMostCompressed > in.file_bytes)
    throw Error(where,
                "claims " + std::to_string(n_rows) + " rows, which a file of " +
                    std::to_string(in.file_bytes) + " bytes cannot hold",
                kDamagedRemedy);
  const h5::Id dataset = h5::open_dataset(in.file, offsets.field.name);
  const h5::Id type = memory_type(dataset.get(), DType::kInt64, where);
  std::vector<int32_t> lengths;
  std::vector<int64_t> block;
  int64_t last = 0;
  for (int64_t first = 0; first <= n_rows; first += kAtOnce) {
    const int64_t count = std::min(kAtOnce, n_rows + 1 - first);
    block.resize(static_cast<size_t>(count));
    read_rows(dataset.get(), type.get(), first, count, block.data(), where);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t offset = block[static_cast<size_t>(i)], row = first + i - 1;
      if (row < 0 && offset != 0)
        throw Error(where, "begins with " + std::to_string(offset) + " instead of 0", kOffsetsRemedy);
      if (offset < last)
        throw Error(where,
                    "falls from " + std::to_string(last) + " to " + std::to_string(offset) + at_row(row),
                    kOffsetsRemedy);
      if (offset > n_elements)
        throw Error(where,
                    "goes up to " + std::to_string(offset) + at_row(row) + ", but there are " +
                        std::to_string(n_elements) + " elements",
                    kOffsetsRemedy);
      if (offset - last > INT32_MAX)
        throw Error(where, "has more than 2,147,483,647 elements" + at_row(row), "cut the row into several");
      if (row >= 0) lengths.push_back(static_cast<int32_t>(offset - last));
      last = offset;
    }
  }
  if (last != n_elements)
    throw Error(
        where,
        "ends with " + std::to_string(last) + ", but there are " + std::to_string(n_elements) + " elements",
        kOffsetsRemedy);
  return lengths;
}

/// What lies beside a field under its name: "tokens" with "tokens_offsets" has rows of unequal lengths, and
/// "tokens_vocabulary" holds the texts that its numbers stand for, "tokens_tokenizer" what makes them. None
/// of these is a field of its own.
class Companions {
 public:
  Companions(const Inspected& in, std::vector<StoredField>& fields) : in_(in), fields_(fields) {}

  void adopt() {
    std::vector<std::string> adopted;
    for (StoredField& field : fields_) {
      if (!field.unusable.empty()) continue;
      try {
        if (std::string name = adopt_offsets(field); !name.empty()) adopted.push_back(std::move(name));
        if (std::string name = adopt_vocabulary(field); !name.empty()) adopted.push_back(std::move(name));
        if (std::string name = adopt_tokenizer(field); !name.empty()) adopted.push_back(std::move(name));
      } catch (const Error& error) {
        const bool names_it = error.where().starts_with(in_.path + ": ");
        field.unusable = "has beside it " +
                         (names_it ? error.where().substr(in_.path.size() + 2) : error.where()) + ", which " +
                         error.reason();
        field.remedy = error.remedy();
      }
    }
    std::erase_if(fields_, [&](const StoredField& field) {
      return std::find(adopted.begin(), adopted.end(), field.field.name) != adopted.end();
    });
  }

 private:
  /// The name of the dataset that was adopted, or nothing.
  std::string adopt_offsets(StoredField& field) {
    const std::string name = field.field.name + "_offsets";
    const StoredField* found = find(name);
    std::optional<StoredField> inspected;
    if (!found) {
      if (!h5::has_link(in_.file, name)) return {};
      found = &inspected.emplace(inspect_field(in_, name));
    }
    const DType dtype = found->field.dtype;
    const bool counts = dtype == DType::kInt64 || dtype == DType::kInt32 || dtype == DType::kUInt8;
    if (!found->unusable.empty() || found->field.shape.rank() > 0 || !counts) return {};
    field.offsets = {*found};
    field.lengths = read_row_lengths(in_, *found, field.n_elements);
    field.n_rows = static_cast<int64_t>(field.lengths.size());
    field.field.ragged = true;
    return name;
  }

  std::string adopt_vocabulary(StoredField& field) {
    const std::string name = field.field.name + "_vocabulary";
    const std::optional<std::vector<std::string>> texts = texts_of(name);
    if (!texts) return {};
    field.vocabulary = *texts;
    return name;
  }

  std::string adopt_tokenizer(StoredField& field) {
    const std::string name = field.field.name + "_tokenizer";
    const std::optional<std::vector<std::string>> texts = texts_of(name);
    if (!texts || texts->size() != 1) return {};
    field.tokenizer = texts->front();
    return name;
  }

  /// None where the dataset is missing or holds no texts.
  std::optional<std::vector<std::string>> texts_of(const std::string& name) const {
    if (!h5::has_link(in_.file, name)) return {};
    const std::string where = in_.path + ": dataset " + name;
    std::optional<std::vector<std::string>> texts =
        h5::read_text_dataset(in_.file, name, in_.file_bytes, where);
    for (size_t i = 0; texts && i < texts->size(); ++i)
      if (!is_utf8((*texts)[i]))
        throw Error(where, "holds a text that is not UTF-8" + at_row(static_cast<int64_t>(i)),
                    "write the texts of " + name + " as UTF-8");
    return texts;
  }

  const StoredField* find(const std::string& name) const {
    for (const StoredField& field : fields_)
      if (field.field.name == name) return &field;
    return nullptr;
  }

  const Inspected& in_;
  std::vector<StoredField>& fields_;
};

}  // namespace

ShardContents inspect_shard(const std::string& path, const DatasetOptions& options) {
  const Seal seal = check_seal(path, kDamagedRemedy);
  const auto guard = h5::lock();
  h5::Id file;
  try {
    file = h5::open_file(path);
  } catch (const Error& error) {
    refuse_file(path, error);
  }
  std::error_code status;
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path, status));
  if (status) throw Error(path, "cannot be read: " + status.message(), "check the path and its permissions");

  ShardContents out;
  const bool is_ours = h5::has_attribute(file.get(), "lockstep_format_version");
  if (is_ours) {
    const int64_t version = h5::read_int_attribute(file.get(), "lockstep_format_version", path);
    if (version > kFormatVersion) {
      throw Error(path,
                  "has dataset format version " + std::to_string(version) +
                      "; this program reads versions up to " + std::to_string(kFormatVersion),
                  "use a newer Lockstep, or convert the data with this one");
    }
    if (seal == Seal::kBareTail) throw Error(path, "its seal is damaged", kDamagedRemedy);
    if (h5::has_attribute(file.get(), "lockstep_part_of"))
      out.part_of = h5::read_string_attribute(file.get(), "lockstep_part_of", path);
  }
  if (is_ours ? h5::has_attribute(file.get(), "class_names")
              : h5::kind_of_attribute(file.get(), "class_names") == h5::AttributeKind::kString)
    out.class_names = h5::read_strings_attribute(file.get(), "class_names", path);

  const bool is_netcdf = !is_ours && h5::has_attribute(file.get(), "_NCProperties");
  const Inspected in{file.get(), file_number(file.get()), path, file_bytes, is_ours, is_netcdf, options};
  std::vector<std::string> names;
  for (const std::string& name : options.fields)
    if (h5::has_link(file.get(), name)) names.push_back(name);
  // Where one is missing, the error lists what there is.
  if (names.empty() || options.with_others || names.size() < options.fields.size()) {
    constexpr size_t kMostListed = 1000;
    for (std::string& name : h5::dataset_paths(file.get(), kMostListed)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) out.fields.push_back(inspect_field(in, name));
  Companions(in, out.fields).adopt();
  return out;
}

}  // namespace lockstep
