// One-dimensional datasets of texts: variable-length UTF-8, as h5py writes str and reads it back; those of a
// fixed length, as NumPy's bytes, are read too.
#include <cstring>

#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep::h5 {

namespace {

Id text_type() {
  Id type = own(H5Tcopy(H5T_C_S1), "H5Tcopy", "string type");
  check(H5Tset_size(type.get(), H5T_VARIABLE), "H5Tset_size", "string type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset", "string type");
  return type;
}

}  // namespace

std::optional<std::vector<std::string>> read_text_dataset(hid_t parent, const std::string& name,
                                                          int64_t file_bytes, const std::string& where) {
  constexpr int64_t kMostCompressed = 2048;
  const auto guard = lock();
  const Id dataset = open_dataset(parent, name);
  if (!dataset) {
    H5Eclear2(H5E_DEFAULT);
    return {};
  }
  const Id stored = own(H5Dget_type(dataset.get()), "H5Dget_type", where);
  const Id space = own(H5Dget_space(dataset.get()), "H5Dget_space", where);
  if (H5Tget_class(stored.get()) != H5T_STRING || H5Sget_simple_extent_ndims(space.get()) != 1) return {};
  const bool is_variable = H5Tis_variable_str(stored.get()) > 0;
  const int64_t n = shape_of(dataset.get())[0], text_bytes = is_variable ? 16 : H5Tget_size(stored.get());
  int64_t n_bytes = 0;
  if (__builtin_mul_overflow(n, text_bytes, &n_bytes) || n_bytes / kMostCompressed > file_bytes)
    throw Error(where,
                "claims " + std::to_string(n) + " texts, which a file of " + std::to_string(file_bytes) +
                    " bytes cannot hold",
                "copy the file again from where it came, or convert the data again");
  std::vector<std::string> texts;
  if (n == 0) return texts;
  if (!is_variable) {
    std::vector<char> bytes(static_cast<size_t>(n_bytes));
    check(H5Dread(dataset.get(), stored.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), "H5Dread",
          where);
    for (int64_t i = 0; i < n; ++i) {
      const char* text = bytes.data() + i * text_bytes;
      texts.emplace_back(text, strnlen(text, static_cast<size_t>(text_bytes)));
    }
    return texts;
  }
  std::vector<char*> pointers(static_cast<size_t>(n), nullptr);
  const Id type = text_type();
  check(H5Tset_cset(type.get(), H5Tget_cset(stored.get())), "H5Tset_cset", where);
  check(H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), "H5Dread", where);
  for (const char* text : pointers) texts.emplace_back(text ? text : "");
  H5Dvlen_reclaim(type.get(), space.get(), H5P_DEFAULT, pointers.data());
  return texts;
}

void write_text_dataset(hid_t parent, const std::string& name, const std::vector<std::string>& texts,
                        const std::string& where) {
  const auto guard = lock();
  std::vector<const char*> pointers;
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos)
      throw Error(where + ": dataset " + name, "a text holds a zero byte", "leave zero bytes out of texts");
    pointers.push_back(text.c_str());
  }
  const auto extent = static_cast<hsize_t>(texts.size());
  const Id space = own(H5Screate_simple(1, &extent, nullptr), "H5Screate_simple", where);
  const Id plist = own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", where);
  check(H5Pset_obj_track_times(plist.get(), false), "H5Pset_obj_track_times", where);
  const Id type = text_type();
  Id dataset =
      own(H5Dcreate2(parent, name.c_str(), type.get(), space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
          "H5Dcreate2", where);
  if (!texts.empty())
    check(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()), "H5Dwrite",
          where);
  dataset.close();
}

}  // namespace lockstep::h5
