// Fixture files. Failures abort with the failing line: a fixture that cannot be written is
// no test result.
#include "tests/support/hdf5_files.h"

#include <hdf5.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "io/hdf5/hdf5.h"
#include "tests/support/python.h"

namespace lockstep {

namespace {

#define REQUIRE(expression)                                                                 \
  do {                                                                                      \
    if (!(expression)) {                                                                    \
      std::fprintf(stderr, "%s:%d: fixture failed: %s\n", __FILE__, __LINE__, #expression); \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)

hid_t element_type(std::string name) {
  const bool is_big = name.front() == '>';
  if (is_big) name.erase(0, 1);
  hid_t type = -1;
  if (name == "uint8") type = H5Tcopy(H5T_STD_U8LE);
  if (name == "int8") type = H5Tcopy(H5T_STD_I8LE);
  if (name == "int16") type = H5Tcopy(H5T_STD_I16LE);
  if (name == "int32") type = H5Tcopy(H5T_STD_I32LE);
  if (name == "int64") type = H5Tcopy(H5T_STD_I64LE);
  if (name == "uint32") type = H5Tcopy(H5T_STD_U32LE);
  if (name == "float32") type = H5Tcopy(H5T_IEEE_F32LE);
  if (name == "float64") type = H5Tcopy(H5T_IEEE_F64LE);
  if (name == "float16") {
    type = H5Tcopy(H5T_IEEE_F32LE);
    REQUIRE(H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0 && H5Tset_size(type, 2) >= 0 &&
            H5Tset_ebias(type, 15) >= 0);
  }
  REQUIRE(type >= 0);
  if (is_big) REQUIRE(H5Tset_order(type, H5T_ORDER_BE) >= 0);
  return type;
}

void write_doubles(hid_t object, const char* name, const std::vector<double>& values) {
  if (values.empty()) return;
  const hsize_t n = values.size();
  const hid_t space = H5Screate_simple(1, &n, nullptr);
  const hid_t attribute = H5Acreate2(object, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
  REQUIRE(H5Awrite(attribute, H5T_NATIVE_DOUBLE, values.data()) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
}

void write_field(hid_t file, const FixtureField& field) {
  std::vector<hsize_t> extents(field.extents.begin(), field.extents.end());
  const hid_t space = H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr);
  const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  if (field.storage != Storage::kContiguous && extents[0] > 0) {
    std::vector<hsize_t> chunk = extents;
    chunk[0] = extents[0] < 7 ? extents[0] : 7;  // not a divisor of most counts
    REQUIRE(H5Pset_chunk(plist, static_cast<int>(chunk.size()), chunk.data()) >= 0);
    if (field.storage == Storage::kGzip) REQUIRE(H5Pset_shuffle(plist) >= 0 && H5Pset_deflate(plist, 4) >= 0);
  }
  const hid_t type = element_type(field.type);
  const hid_t dataset = H5Dcreate2(file, field.name.c_str(), type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
  REQUIRE(dataset >= 0);
  REQUIRE(static_cast<hssize_t>(field.values.size()) == H5Sget_simple_extent_npoints(space));
  if (!field.values.empty())
    REQUIRE(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, field.values.data()) >= 0);
  write_doubles(dataset, "mean", field.mean);
  write_doubles(dataset, "stddev", field.stddev);
  H5Dclose(dataset);
  H5Tclose(type);
  H5Pclose(plist);
  H5Sclose(space);
}

void write_names(hid_t file, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::vector<const char*> texts;
  for (const std::string& name : names) texts.push_back(name.c_str());
  const hsize_t n = names.size();
  const hid_t type = H5Tcopy(H5T_C_S1);
  REQUIRE(H5Tset_size(type, H5T_VARIABLE) >= 0);
  const hid_t space = H5Screate_simple(1, &n, nullptr);
  const hid_t attribute = H5Acreate2(file, "class_names", type, space, H5P_DEFAULT, H5P_DEFAULT);
  REQUIRE(H5Awrite(attribute, type, texts.data()) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-test-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_hdf5(const std::string& path, const std::vector<FixtureField>& fields,
                const std::vector<std::string>& class_names, int64_t userblock_bytes) {
  const auto guard = h5::lock();
  const hid_t plist = H5Pcreate(H5P_FILE_CREATE);
  if (userblock_bytes > 0) REQUIRE(H5Pset_userblock(plist, static_cast<hsize_t>(userblock_bytes)) >= 0);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, plist, H5P_DEFAULT);
  REQUIRE(file >= 0);
  for (const FixtureField& field : fields) write_field(file, field);
  write_names(file, class_names);
  H5Pclose(plist);
  REQUIRE(H5Fclose(file) >= 0);
}

std::string run_h5py(const std::string& folder, const std::string& code) {
  return run_python("/usr/bin/python3", folder, "import h5py, numpy as np\n" + code);
}

bool has_h5py() {
  static const bool found = std::system("/usr/bin/python3 -c 'import h5py' > /dev/null 2>&1") == 0;
  return found;
}

}  // namespace lockstep
