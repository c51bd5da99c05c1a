#include "io/hdf5/not_hdf5.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <string_view>

#include "io/files/files.h"

namespace lockstep {

namespace {

struct Format {
  std::string_view magic;
  size_t at;
  const char *what, *remedy;
};

using namespace std::string_view_literals;

const Format kFormats[] = {
    {"\x93NUMPY"sv, 0, "is an array of NumPy (.npy), not an HDF5 file",
     "store it as HDF5: h5py.File('data.h5', 'w')['input'] = numpy.load(FILE)"},
    {"PK\x03\x04"sv, 0, "is a zip archive (.npz of NumPy, .keras, .pt of PyTorch), not an HDF5 file",
     "store its arrays as HDF5, each as f[NAME] = array with h5py"},
    {"CDF"sv, 0, "is a netCDF file of the classic format, not an HDF5 file",
     "`nccopy -k nc4 FILE NEW.h5`, or xarray's to_netcdf(engine='h5netcdf')"},
    {"MATLAB 5.0"sv, 0, "is a MATLAB file before version 7.3, not an HDF5 file",
     "save it in MATLAB with -v7.3, or store its arrays with scipy.io.loadmat and h5py"},
    {"\x1f\x8b"sv, 0, "is compressed with gzip, not an HDF5 file", "unpack it: gunzip FILE"},
    {"(\xb5/\xfd"sv, 0, "is compressed with zstd, not an HDF5 file", "unpack it: unzstd FILE"},
    {"BZh"sv, 0, "is compressed with bzip2, not an HDF5 file", "unpack it: bunzip2 FILE"},
    {"\xfd"
     "7zXZ"sv,
     0, "is compressed with xz, not an HDF5 file", "unpack it: unxz FILE"},
    {"\x80\x02"sv, 0, "is a pickle of Python, not an HDF5 file", "store its arrays as HDF5 with h5py"},
    {"\x80\x03"sv, 0, "is a pickle of Python, not an HDF5 file", "store its arrays as HDF5 with h5py"},
    {"\x80\x04"sv, 0, "is a pickle of Python, not an HDF5 file", "store its arrays as HDF5 with h5py"},
    {"\x80\x05"sv, 0, "is a pickle of Python, not an HDF5 file", "store its arrays as HDF5 with h5py"},
    {"PAR1"sv, 0, "is a Parquet file, not an HDF5 file",
     "store its columns as HDF5 with h5py, or as CSV for `lockstep convert csv`"},
    {"ustar"sv, 257, "is a tar archive, not an HDF5 file", "unpack it: tar xf FILE"},
    {"\x89PNG"sv, 0, "is a PNG image, not an HDF5 file", "`lockstep convert images FOLDER --out DIR`"},
    {"\xff\xd8\xff"sv, 0, "is a JPEG image, not an HDF5 file", "`lockstep convert images FOLDER --out DIR`"},
    {"version https://git-lfs"sv, 0, "is a pointer of Git LFS, not the data", "fetch the data: git lfs pull"},
    {"<!DOCTYPE"sv, 0, "is a web page, not an HDF5 file",
     "download the data again; the server sent a page instead"},
    {"<html"sv, 0, "is a web page, not an HDF5 file",
     "download the data again; the server sent a page instead"},
};

constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n"sv;

/// The first bytes of the file; empty where it cannot be read.
std::string first_bytes(const std::string& path) {
  try {
    const FileHandle file(path, O_RDONLY);
    std::string bytes(static_cast<size_t>(std::min<int64_t>(file.n_bytes(), 8192)), '\0');
    file.read_at(bytes.data(), static_cast<int64_t>(bytes.size()), 0);
    return bytes;
  } catch (const Error&) {
    return {};
  }
}

/// HDF5 looks for its signature at 0, 512, 1024, 2048 …: MATLAB puts a block of its own before it.
bool has_signature(const std::string& bytes) {
  for (size_t at = 0; at < bytes.size(); at = at == 0 ? 512 : 2 * at) {
    if (std::string_view(bytes).substr(at).starts_with(kSignature)) return true;
  }
  return false;
}

bool contains(const Error& error, std::string_view text) {
  return error.reason().find(text) != std::string::npos;
}

}  // namespace

void refuse_file(const std::string& path, const Error& error) {
  if (contains(error, "Too many open files")) {
    rlimit limit = {};
    getrlimit(RLIMIT_NOFILE, &limit);
    throw Error(
        path, "cannot be opened: the process may have only " + std::to_string(limit.rlim_cur) + " files open",
        "raise the limit before the start: ulimit -n 4096");
  }
  if (contains(error, "does not exist") || contains(error, "is a folder") ||
      contains(error, "cannot be read"))
    throw error;
  if (contains(error, "Permission denied"))
    throw Error(path, "cannot be read: permission denied", "let its owner give you the right to read it");
  // HDF5 locks files, which some network file systems refuse.
  if (contains(error, "lock file"))
    throw Error(path, "cannot be opened: " + error.reason(),
                "if no program is writing the file: export HDF5_USE_FILE_LOCKING=FALSE");
  if (contains(error, "already open for write") || contains(error, "SWMR"))
    throw Error(path, "was not closed by the program that wrote it, or is still being written",
                "close it there; after a crash: `h5clear -s FILE` takes the mark away");
  const std::string bytes = first_bytes(path);
  if (has_signature(bytes)) {
    if (contains(error, "bad version number") || contains(error, "bad superblock version"))
      throw Error(path,
                  "is of a newer format of HDF5 than this program's library reads (" + error.reason() + ")",
                  "write it with h5py.File(..., libver='v114') or earlier, or build Lockstep with HDF5 2");
    throw Error(path, "is not a readable HDF5 file, or is cut off (" + error.reason() + ")",
                "copy the file again from where it came, or convert the data again");
  }
  for (const Format& format : kFormats) {
    if (*format.what && bytes.size() > format.at &&
        std::string_view(bytes).substr(format.at).starts_with(format.magic))
      throw Error(path, format.what, format.remedy);
  }
  if (bytes.empty())
    throw Error(path, "is not a readable HDF5 file: it is empty", "copy the file again from where it came");
  throw Error(path, "is not a readable HDF5 file (" + error.reason() + ")",
              "check the path; docs/data.md says how other formats become HDF5");
}

}  // namespace lockstep
