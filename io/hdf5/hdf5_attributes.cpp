// HDF5 attributes: numbers as 64-bit scalars or arrays, strings as variable-length UTF-8
// (what h5py writes and reads back as str; the text lies in the heap, so it may pass the
// 64 KiB that an object header holds). Fixed-length strings of other writers are read too.
#include <cstring>

#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep::h5 {

namespace {

constexpr const char* kRewrite =
    "another program has changed the file, or it is of another kind: write it again with the program that "
    "made it";

Id string_type() {
  Id type = own(H5Tcopy(H5T_C_S1), "H5Tcopy", "string type");
  check(H5Tset_size(type.get(), H5T_VARIABLE), "H5Tset_size", "string type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset", "string type");
  return type;
}

/// n < 0: a scalar.
void write(hid_t object, const std::string& name, hid_t type, int64_t n, const void* data) {
  const std::string where = "attribute " + name;
  const hsize_t extent = n < 0 ? 1 : static_cast<hsize_t>(n);
  if (H5Aexists(object, name.c_str()) > 0) check(H5Adelete(object, name.c_str()), "H5Adelete", where);
  const Id space = n < 0 ? own(H5Screate(H5S_SCALAR), "H5Screate", where)
                         : own(H5Screate_simple(1, &extent, nullptr), "H5Screate_simple", where);
  Id attribute =
      own(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), "H5Acreate2", where);
  if (n != 0) check(H5Awrite(attribute.get(), type, data), "H5Awrite", where);
  attribute.close();
}

void check_no_zero_byte(const std::string& name, const std::string& value) {
  if (value.find('\0') != std::string::npos)
    throw Error("attribute " + name, "holds a zero byte", "leave zero bytes out of texts");
}

/// An attribute opened for reading, with its type and element count.
struct Opened {
  Id attribute, type, space;
  int64_t n_elements = 0;
  std::string where;
};

Opened open(hid_t object, const std::string& name, const std::string& where) {
  Opened out;
  out.where = where + ": attribute " + name;
  if (!has_attribute(object, name)) throw Error(out.where, "is absent", kRewrite);
  out.attribute = own(H5Aopen(object, name.c_str(), H5P_DEFAULT), "H5Aopen", out.where);
  out.type = own(H5Aget_type(out.attribute.get()), "H5Aget_type", out.where);
  out.space = own(H5Aget_space(out.attribute.get()), "H5Aget_space", out.where);
  const hssize_t n = H5Sget_simple_extent_npoints(out.space.get());
  check(n < 0 ? -1 : 0, "H5Sget_simple_extent_npoints", out.where);
  out.n_elements = n;
  return out;
}

void require_scalar(const Opened& opened) {
  if (opened.n_elements == 1) return;
  throw Error(opened.where, "holds " + std::to_string(opened.n_elements) + " values; one is expected",
              kRewrite);
}

/// Reads numbers; HDF5 converts between number types.
template <typename T>
std::vector<T> read_numbers(const Opened& opened, hid_t memory_type, bool whole) {
  const H5T_class_t kind = H5Tget_class(opened.type.get());
  if (whole && kind != H5T_INTEGER) throw Error(opened.where, "is not a whole number", kRewrite);
  if (kind != H5T_INTEGER && kind != H5T_FLOAT) throw Error(opened.where, "is not a number", kRewrite);
  std::vector<T> values(opened.n_elements);
  if (!values.empty())
    check(H5Aread(opened.attribute.get(), memory_type, values.data()), "H5Aread", opened.where);
  return values;
}

std::vector<std::string> read_variable_strings(const Opened& opened) {
  std::vector<char*> pointers(opened.n_elements, nullptr);
  std::vector<std::string> values;
  Id type = string_type();
  check(H5Tset_cset(type.get(), H5Tget_cset(opened.type.get())), "H5Tset_cset", opened.where);
  if (pointers.empty()) return values;
  check(H5Aread(opened.attribute.get(), type.get(), pointers.data()), "H5Aread", opened.where);
  for (const char* text : pointers) values.emplace_back(text ? text : "");
  H5Dvlen_reclaim(type.get(), opened.space.get(), H5P_DEFAULT, pointers.data());
  return values;
}

std::vector<std::string> read_fixed_strings(const Opened& opened) {
  const size_t n_bytes = H5Tget_size(opened.type.get());
  const bool padded_by_spaces = H5Tget_strpad(opened.type.get()) == H5T_STR_SPACEPAD;
  std::vector<char> bytes(opened.n_elements * n_bytes);
  std::vector<std::string> values;
  if (bytes.empty()) return values;
  check(H5Aread(opened.attribute.get(), opened.type.get(), bytes.data()), "H5Aread", opened.where);
  for (int64_t i = 0; i < opened.n_elements; ++i) {
    const char* text = bytes.data() + i * n_bytes;
    size_t length = strnlen(text, n_bytes);
    while (padded_by_spaces && length > 0 && text[length - 1] == ' ') --length;
    values.emplace_back(text, length);
  }
  return values;
}

std::vector<std::string> read_strings(const Opened& opened) {
  if (H5Tget_class(opened.type.get()) != H5T_STRING) throw Error(opened.where, "is not a string", kRewrite);
  const htri_t variable = H5Tis_variable_str(opened.type.get());
  check(variable, "H5Tis_variable_str", opened.where);
  return variable > 0 ? read_variable_strings(opened) : read_fixed_strings(opened);
}

}  // namespace

bool has_attribute(hid_t object, const std::string& name) {
  const auto guard = lock();
  const htri_t found = H5Aexists(object, name.c_str());
  check(found, "H5Aexists", "attribute " + name);
  return found > 0;
}

AttributeKind kind_of_attribute(hid_t object, const std::string& name) {
  const auto guard = lock();
  if (!has_attribute(object, name)) return AttributeKind::kAbsent;
  const Id attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT));
  const Id type(attribute ? H5Aget_type(attribute.get()) : -1);
  const H5T_class_t kind = type ? H5Tget_class(type.get()) : H5T_NO_CLASS;
  H5Eclear2(H5E_DEFAULT);
  if (kind == H5T_INTEGER || kind == H5T_FLOAT) return AttributeKind::kNumber;
  return kind == H5T_STRING ? AttributeKind::kString : AttributeKind::kOther;
}

std::vector<std::string> attribute_names(hid_t object) {
  const auto guard = lock();
  std::vector<std::string> names;
  hsize_t position = 0;
  check(H5Aiterate2(
            object, H5_INDEX_NAME, H5_ITER_INC, &position,
            [](hid_t, const char* name, const H5A_info_t*, void* out) -> herr_t {
              static_cast<std::vector<std::string>*>(out)->emplace_back(name);
              return 0;
            },
            &names),
        "H5Aiterate2", "HDF5 object");
  return names;
}

void write_attribute(hid_t object, const std::string& name, int64_t value) {
  const auto guard = lock();
  write(object, name, H5T_NATIVE_INT64, -1, &value);
}

void write_attribute(hid_t object, const std::string& name, uint64_t value) {
  const auto guard = lock();
  write(object, name, H5T_NATIVE_UINT64, -1, &value);
}

void write_attribute(hid_t object, const std::string& name, double value) {
  const auto guard = lock();
  write(object, name, H5T_NATIVE_DOUBLE, -1, &value);
}

void write_attribute(hid_t object, const std::string& name, const std::string& value) {
  const auto guard = lock();
  check_no_zero_byte(name, value);
  const Id type = string_type();
  const char* text = value.c_str();
  write(object, name, type.get(), -1, &text);
}

void write_attribute(hid_t object, const std::string& name, const std::vector<double>& values) {
  const auto guard = lock();
  write(object, name, H5T_NATIVE_DOUBLE, static_cast<int64_t>(values.size()), values.data());
}

void write_attribute(hid_t object, const std::string& name, const std::vector<std::string>& values) {
  const auto guard = lock();
  std::vector<const char*> texts;
  for (const std::string& value : values) {
    check_no_zero_byte(name, value);
    texts.push_back(value.c_str());
  }
  const Id type = string_type();
  write(object, name, type.get(), static_cast<int64_t>(texts.size()), texts.data());
}

int64_t read_int_attribute(hid_t object, const std::string& name, const std::string& where) {
  const auto guard = lock();
  const Opened opened = open(object, name, where);
  require_scalar(opened);
  return read_numbers<int64_t>(opened, H5T_NATIVE_INT64, true).front();
}

uint64_t read_uint_attribute(hid_t object, const std::string& name, const std::string& where) {
  const auto guard = lock();
  const Opened opened = open(object, name, where);
  require_scalar(opened);
  return read_numbers<uint64_t>(opened, H5T_NATIVE_UINT64, true).front();
}

double read_double_attribute(hid_t object, const std::string& name, const std::string& where) {
  const auto guard = lock();
  const Opened opened = open(object, name, where);
  require_scalar(opened);
  return read_numbers<double>(opened, H5T_NATIVE_DOUBLE, false).front();
}

std::string read_string_attribute(hid_t object, const std::string& name, const std::string& where) {
  const auto guard = lock();
  const Opened opened = open(object, name, where);
  require_scalar(opened);
  return read_strings(opened).front();
}

std::vector<double> read_doubles_attribute(hid_t object, const std::string& name, const std::string& where) {
  const auto guard = lock();
  return read_numbers<double>(open(object, name, where), H5T_NATIVE_DOUBLE, false);
}

std::vector<std::string> read_strings_attribute(hid_t object, const std::string& name,
                                                const std::string& where) {
  const auto guard = lock();
  return read_strings(open(object, name, where));
}

}  // namespace lockstep::h5
