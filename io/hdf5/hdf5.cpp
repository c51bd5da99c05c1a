// HDF5 handles, errors, files, types and links. Every function takes the process-wide lock
// itself (it is recursive), so single calls need no care; a caller holds lock() around
// several calls that belong together. HDF5's own error printing is off: its text goes into
// the Error that check() and own() throw. Attributes: hdf5_attributes.cpp.
#include "io/hdf5/hdf5.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <new>

#include "io/files/regular_file.h"
#include "io/hdf5/hdf5_filters.h"
#include "io/hdf5/hdf5_remedy.h"
#include "kernels/error.h"

namespace lockstep::h5 {

namespace {

std::recursive_timed_mutex& mutex() {
  static std::recursive_timed_mutex the_mutex;
  return the_mutex;
}

/// What HDF5 says of its last error: in short as "outermost: innermost", and each level of its stack.
struct ErrorText {
  std::string brief, all;
};

/// Forgets the error.
ErrorText take_error_text() {
  std::vector<std::string> texts;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_DOWNWARD,
      [](unsigned, const H5E_error2_t* entry, void* out) -> herr_t {
        if (entry->desc && *entry->desc)
          static_cast<std::vector<std::string>*>(out)->emplace_back(entry->desc);
        return 0;
      },
      &texts);
  H5Eclear2(H5E_DEFAULT);
  if (texts.empty()) return {"no further information", ""};
  std::string all;
  for (const std::string& text : texts) all += text + "\n";
  if (texts.front() == texts.back()) return {texts.back(), all};
  return {texts.front() + ": " + texts.back(), all};
}

/// A 16-bit float with `exponent` bits: HDF5 has no predefined one. Made once, never closed.
hid_t make_float16(size_t exponent_bits) {
  const size_t mantissa_bits = 15 - exponent_bits;
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
  H5Tset_size(type, 2);
  H5Tset_ebias(type, (size_t{1} << (exponent_bits - 1)) - 1);
  return type;
}

/// The file that an object is in, for messages; what it is where HDF5 does not tell.
std::string place_of(hid_t object, const char* what) {
  char file[1024] = "", name[256] = "";
  if (H5Fget_name(object, file, sizeof file) <= 0) {
    H5Eclear2(H5E_DEFAULT);
    return std::string("HDF5 ") + what;
  }
  if (H5Iget_name(object, name, sizeof name) <= 0) H5Eclear2(H5E_DEFAULT);
  return std::string(file) + (name[0] == '/' && name[1] != '\0' ? std::string(": ") + name : "");
}

/// Printing is switched per thread where HDF5 is built thread-safe.
void set_quiet() {
  thread_local const bool quiet = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  static_cast<void>(quiet);
}

}  // namespace

std::unique_lock<std::recursive_timed_mutex> lock() {
  std::unique_lock<std::recursive_timed_mutex> guard(mutex());
  set_quiet();
  return guard;
}

std::unique_lock<std::recursive_timed_mutex> lock_within(double limit_s) {
  std::unique_lock<std::recursive_timed_mutex> guard(mutex(), std::chrono::duration<double>(limit_s));
  if (!guard.owns_lock()) return guard;
  set_quiet();
  return guard;
}

void free_lock_after_fork() { new (&mutex()) std::recursive_timed_mutex; }

Id& Id::operator=(Id&& other) noexcept {
  if (this != &other) {
    reset();
    id_ = std::exchange(other.id_, -1);
  }
  return *this;
}

void Id::reset() {
  if (id_ < 0) return;
  const auto guard = lock();
  H5Idec_ref(std::exchange(id_, -1));
  H5Eclear2(H5E_DEFAULT);
}

void Id::close() {
  if (id_ < 0) return;
  const auto guard = lock();
  const H5I_type_t type = H5Iget_type(id_);
  const bool is_in_file = type == H5I_FILE || type == H5I_GROUP || type == H5I_DATASET || type == H5I_ATTR;
  const std::string where = is_in_file ? place_of(id_, "file") : "HDF5 object";
  check(H5Idec_ref(std::exchange(id_, -1)), "closing", where);
}

Id own(hid_t id, const char* call, const std::string& where) {
  if (id < 0) check(-1, call, where);
  return Id(id);
}

void check(herr_t status, const char* call, const std::string& where) {
  if (status >= 0) return;
  const auto guard = lock();
  const ErrorText text = take_error_text();
  const CallKind kind = kind_of_call(call);
  throw Error(where, sentence_of(kind) + (": " + std::string(call) + " failed: ") + text.brief,
              remedy_of(kind, text.all, kFilterRemedy));
}

Id open_file(const std::string& path) {
  const auto guard = lock();
  std::error_code status;
  if (!std::filesystem::exists(path, status)) {
    throw Error(path, status ? "cannot be read: " + status.message() : "does not exist",
                status ? "check its permissions and those of the folders above it" : "check the path");
  }
  if (std::filesystem::is_directory(path, status))
    throw Error(path, "is a folder, not an HDF5 file", "name a file in it");
  require_regular_file(path);
  register_filters();
  return own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", path);
}

Id create_file(const std::string& path, hid_t access_plist) {
  const auto guard = lock();
  return own(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access_plist), "H5Fcreate", path);
}

hid_t native_type(DType dtype) {
  const auto guard = lock();
  switch (dtype) {
    case DType::kFloat32: return H5T_NATIVE_FLOAT;
    case DType::kFloat64: return H5T_NATIVE_DOUBLE;
    case DType::kUInt8: return H5T_NATIVE_UINT8;
    case DType::kInt32: return H5T_NATIVE_INT32;
    case DType::kInt64: return H5T_NATIVE_INT64;
    case DType::kFloat16: {
      static const hid_t half = make_float16(5);
      return half;
    }
    case DType::kBFloat16: {
      static const hid_t bfloat = make_float16(8);
      return bfloat;
    }
  }
  return -1;
}

DType dtype_of(hid_t dataset_type, const std::string& where) {
  const auto guard = lock();
  const size_t n_bytes = H5Tget_size(dataset_type);
  const H5T_class_t kind = H5Tget_class(dataset_type);
  if (kind == H5T_INTEGER) {
    const bool is_signed = H5Tget_sign(dataset_type) == H5T_SGN_2;
    if (n_bytes == 1 && !is_signed) return DType::kUInt8;
    if (n_bytes == 4 && is_signed) return DType::kInt32;
    if (n_bytes == 8 && is_signed) return DType::kInt64;
    throw Error(where,
                "has element type " + std::string(is_signed ? "int" : "uint") + std::to_string(8 * n_bytes) +
                    ", which Lockstep does not read",
                "store it as uint8, int32, int64, float16, float32 or float64");
  }
  if (kind == H5T_FLOAT) {
    if (n_bytes == 4) return DType::kFloat32;
    if (n_bytes == 8) return DType::kFloat64;
    if (n_bytes == 2) {
      size_t sign = 0, exponent_at = 0, exponent_bits = 0, mantissa_at = 0, mantissa_bits = 0;
      check(H5Tget_fields(dataset_type, &sign, &exponent_at, &exponent_bits, &mantissa_at, &mantissa_bits),
            "H5Tget_fields", where);
      return exponent_bits == 8 ? DType::kBFloat16 : DType::kFloat16;
    }
  }
  throw Error(where, "is not a dataset of numbers",
              "store it as uint8, int32, int64, float16, float32 or float64");
}

namespace {

/// HDF5 asks before it opens the file that a link names; negative: it shall not.
herr_t check_linked_file(const char* parent_file, const char*, const char* file, const char*, unsigned*,
                         hid_t, void*) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(parent_file).parent_path(), name(file);
  for (const fs::path& at : {folder / name, name, folder / name.filename()}) {  // where HDF5 looks
    std::error_code none;
    const fs::file_status status = fs::status(at, none);
    if (fs::exists(status) && !fs::is_regular_file(status)) return -1;
  }
  return 0;
}

/// Access properties of `kind` for calls that follow links; kept until the program ends.
hid_t links_checked(hid_t kind, const char* call) {
  Id access = own(H5Pcreate(kind), "H5Pcreate", call);
  check(H5Pset_elink_cb(access.get(), check_linked_file, nullptr), "H5Pset_elink_cb", call);
  return access.release();
}
hid_t link_access() {
  static const hid_t access = links_checked(H5P_LINK_ACCESS, "links");
  return access;
}

}  // namespace

Id open_dataset(hid_t parent, const std::string& name) {
  const auto guard = lock();
  static const hid_t access = links_checked(H5P_DATASET_ACCESS, "H5Dopen");
  return Id(H5Dopen2(parent, name.c_str(), access));
}

Id open_group(hid_t parent, const std::string& name) {
  const auto guard = lock();
  static const hid_t access = links_checked(H5P_GROUP_ACCESS, "H5Gopen");
  return Id(H5Gopen2(parent, name.c_str(), access));
}

namespace {

/// Names and object types of a group's links, in name order. A dangling link is no object of any type:
/// H5O_TYPE_UNKNOWN, if it names another file.
std::vector<std::pair<std::string, H5O_type_t>> links_of(hid_t group) {
  const auto guard = lock();
  const std::string where = place_of(group, "group");  // before: each call of HDF5 forgets the last error
  std::vector<std::string> names;
  hsize_t position = 0;
  check(H5Literate(
            group, H5_INDEX_NAME, H5_ITER_INC, &position,
            [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
              static_cast<std::vector<std::string>*>(out)->emplace_back(name);
              return 0;
            },
            &names),
        "H5Literate", where);
  std::sort(names.begin(), names.end());
  std::vector<std::pair<std::string, H5O_type_t>> links;
  for (std::string& name : names) {
    H5O_info_t info;
    H5L_info_t link;
    if (H5Oget_info_by_name2(group, name.c_str(), &info, H5O_INFO_BASIC, link_access()) >= 0)
      links.emplace_back(std::move(name), info.type);
    else if (H5Lget_info(group, name.c_str(), &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_EXTERNAL)
      links.emplace_back(std::move(name), H5O_TYPE_UNKNOWN);
    H5Eclear2(H5E_DEFAULT);
  }
  return links;
}

}  // namespace

bool has_link(hid_t parent, const std::string& name) {
  const auto guard = lock();
  // Every part of a path is asked for, because H5Lexists fails on a missing middle one.
  for (size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const std::string part = name.substr(0, end);
    if (part != "/" && H5Lexists(parent, part.c_str(), link_access()) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
    if (end == std::string::npos) return true;
  }
}

namespace {

std::vector<std::string> names_of_type(hid_t group, H5O_type_t wanted) {
  std::vector<std::string> names;
  for (const auto& [name, type] : links_of(group)) {
    if (type == wanted) names.push_back(name);
  }
  return names;
}

void add_dataset_paths(hid_t group, const std::string& prefix, int n_deeper, size_t limit,
                       std::vector<std::string>& paths) {
  std::vector<std::string> groups;
  for (const auto& [name, type] : links_of(group)) {
    if (type == H5O_TYPE_GROUP) groups.push_back(name);
    const bool is_field = type == H5O_TYPE_DATASET || type == H5O_TYPE_UNKNOWN;
    if (is_field && paths.size() < limit) paths.push_back(prefix + name);
  }
  if (n_deeper == 0) return;
  for (const std::string& name : groups) {
    if (paths.size() >= limit) return;
    const Id inner = open_group(group, name);
    if (inner) add_dataset_paths(inner.get(), prefix + name + "/", n_deeper - 1, limit, paths);
    H5Eclear2(H5E_DEFAULT);
  }
}

}  // namespace

std::vector<std::string> dataset_names(hid_t group) { return names_of_type(group, H5O_TYPE_DATASET); }
std::vector<std::string> group_names(hid_t group) { return names_of_type(group, H5O_TYPE_GROUP); }

std::vector<std::string> dataset_paths(hid_t group, size_t limit) {
  const auto guard = lock();
  std::vector<std::string> paths;
  add_dataset_paths(group, "", 4, limit, paths);
  return paths;
}

namespace {

constexpr int kMostSoftLinks = 16;  // one after the other; they may name each other in a circle

std::string external_link_on(hid_t file, const std::string& path, int n_soft_links) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    H5L_info_t info;
    if (H5Lget_info(file, part.c_str(), &info, link_access()) < 0) break;
    if (info.type == H5L_TYPE_EXTERNAL) {
      std::vector<char> value(info.u.val_size + 1, '\0');
      const char *name = nullptr, *object = nullptr;
      if (H5Lget_val(file, part.c_str(), value.data(), value.size(), link_access()) < 0 ||
          H5Lunpack_elink_val(value.data(), info.u.val_size, nullptr, &name, &object) < 0)
        break;
      return "dataset " + std::string(object) + " of file " + name;
    }
    if (info.type == H5L_TYPE_SOFT && n_soft_links < kMostSoftLinks) {
      std::vector<char> value(info.u.val_size + 1, '\0');
      if (H5Lget_val(file, part.c_str(), value.data(), value.size(), link_access()) < 0) break;
      const std::string target = value.data(), above = part.substr(0, part.rfind('/') + 1),
                        below = end == std::string::npos ? "" : path.substr(end);
      return external_link_on(file, (target.starts_with('/') ? target : above + target) + below,
                              n_soft_links + 1);
    }
    if (end == std::string::npos) break;
  }
  H5Eclear2(H5E_DEFAULT);
  return "";
}

}  // namespace

std::string external_link_on(hid_t file, const std::string& path) {
  const auto guard = lock();
  return external_link_on(file, path, 0);
}

Shape shape_of(hid_t dataset) {
  const auto guard = lock();
  const Id space = own(H5Dget_space(dataset), "H5Dget_space", "HDF5 dataset");
  const int rank = H5Sget_simple_extent_ndims(space.get());
  check(rank, "H5Sget_simple_extent_ndims", "HDF5 dataset");
  if (H5Sget_simple_extent_type(space.get()) == H5S_NULL)
    throw Error(place_of(dataset, "dataset"), "has no shape",
                "store an array in it; h5py.Empty and a null dataspace hold none");
  if (rank > Shape::kMaxRank) {
    throw Error(place_of(dataset, "dataset"),
                "has " + std::to_string(rank) + " dimensions; at most " + std::to_string(Shape::kMaxRank) +
                    " are supported",
                "join some of them: array.reshape(len(array), -1)");
  }
  hsize_t extents[Shape::kMaxRank] = {};
  check(H5Sget_simple_extent_dims(space.get(), extents, nullptr), "H5Sget_simple_extent_dims",
        "HDF5 dataset");
  const std::vector<int64_t> converted(extents, extents + rank);
  return Shape(std::span<const int64_t>(converted));
}

}  // namespace lockstep::h5
