// Identifiers are those of the HDF Group's registry of filters.
#include "io/hdf5/hdf5_filters.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "io/hdf5/compression.h"

namespace lockstep::h5 {

namespace {

constexpr H5Z_filter_t kLzf = 32000, kLz4 = 32004, kBitshuffle = 32008, kZstd = 32015;

std::string name_of_filter(H5Z_filter_t id) {
  switch (id) {
    case H5Z_FILTER_SZIP: return "szip";
    case H5Z_FILTER_NBIT: return "nbit";
    case H5Z_FILTER_SCALEOFFSET: return "scaleoffset";
    case 305: return "lzo";
    case 307: return "bzip2";
    case kLzf: return "lzf";
    case 32001: return "blosc";
    case kLz4: return "lz4";
    case kBitshuffle: return "bitshuffle";
    case 32013: return "zfp";
    case kZstd: return "zstd";
    case 32017: return "sz";
    case 32018: return "fcidecomp";
    case 32024: return "sz3";
    case 32026: return "blosc2";
    case 32028: return "sperr";
    case 32033: return "htj2k";
    default: return "a filter of HDF5";
  }
}

BitshuffleSettings bitshuffle_settings(size_t n_values, const unsigned* values) {
  BitshuffleSettings settings;
  if (n_values > 2) settings.element_bytes = values[2];
  if (n_values > 3) settings.block_elements = values[3];
  if (n_values > 4)
    settings.codec = values[4] == 2   ? BitshuffleSettings::Codec::kLz4
                     : values[4] == 3 ? BitshuffleSettings::Codec::kZstd
                                      : BitshuffleSettings::Codec::kNone;
  return settings;
}

/// A filter's function as HDF5 calls it for reading: replaces *buffer, which is of the library's memory, by
/// the n_dst decoded bytes. 0 tells HDF5 of a failure. What one chunk may claim has a bound.
template <typename Decode>
size_t replace(size_t n_src, size_t* n_buffer, void** buffer, int64_t n_dst, Decode&& decode) {
  constexpr int64_t kLargest = int64_t{1} << 32;
  if (n_dst <= 0 || n_dst > kLargest) return 0;
  void* decoded = H5allocate_memory(static_cast<size_t>(n_dst), false);
  if (!decoded) return 0;
  if (!decode(static_cast<const std::byte*>(*buffer), static_cast<int64_t>(n_src),
              static_cast<std::byte*>(decoded), n_dst)) {
    H5free_memory(decoded);
    return 0;
  }
  H5free_memory(*buffer);
  *buffer = decoded;
  *n_buffer = static_cast<size_t>(n_dst);
  return *n_buffer;
}

size_t filter_lzf(unsigned flags, size_t n_values, const unsigned values[], size_t n_bytes, size_t* n_buffer,
                  void** buffer) {
  if (!(flags & H5Z_FLAG_REVERSE) || n_values < 3) return 0;
  return replace(n_bytes, n_buffer, buffer, values[2], decode_lzf);
}
size_t filter_lz4(unsigned flags, size_t, const unsigned[], size_t n_bytes, size_t* n_buffer, void** buffer) {
  if (!(flags & H5Z_FLAG_REVERSE)) return 0;
  const int64_t n_dst = framed_bytes(static_cast<const std::byte*>(*buffer), static_cast<int64_t>(n_bytes));
  return replace(n_bytes, n_buffer, buffer, n_dst, decode_lz4);
}
size_t filter_zstd(unsigned flags, size_t, const unsigned[], size_t n_bytes, size_t* n_buffer,
                   void** buffer) {
  if (!(flags & H5Z_FLAG_REVERSE)) return 0;
  const int64_t n_dst = zstd_bytes(static_cast<const std::byte*>(*buffer), static_cast<int64_t>(n_bytes));
  return replace(n_bytes, n_buffer, buffer, n_dst, decode_zstd);
}
size_t filter_bitshuffle(unsigned flags, size_t n_values, const unsigned values[], size_t n_bytes,
                         size_t* n_buffer, void** buffer) {
  if (!(flags & H5Z_FLAG_REVERSE)) return 0;
  const BitshuffleSettings settings = bitshuffle_settings(n_values, values);
  const auto n_src = static_cast<int64_t>(n_bytes);
  const int64_t n_dst = settings.codec == BitshuffleSettings::Codec::kNone
                            ? n_src
                            : framed_bytes(static_cast<const std::byte*>(*buffer), n_src);
  return replace(n_bytes, n_buffer, buffer, n_dst,
                 [&](const std::byte* src, int64_t n, std::byte* dst, int64_t n_out) {
                   return decode_bitshuffle(settings, src, n, dst, n_out);
                 });
}

void give_to_hdf5(H5Z_filter_t id, const char* name, H5Z_func_t function) {
  H5Z_class2_t filter = {};
  filter.version = H5Z_CLASS_T_VERS;
  filter.id = id;
  filter.decoder_present = 1;
  filter.name = name;
  filter.filter = function;
  if (H5Zregister(&filter) < 0) H5Eclear2(H5E_DEFAULT);  // then reading says that the filter is missing
}

/// BASE/lib/python3.x/site-packages/hdf5plugin/plugins and the like.
void add_python_folders(const std::filesystem::path& base, std::set<std::string>& found) {
  namespace fs = std::filesystem;
  std::error_code status;
  for (const char* lib : {"lib", "lib64", "local/lib"}) {
    for (fs::directory_iterator it(base / lib, status), end; !status && it != end; it.increment(status)) {
      if (!it->path().filename().string().starts_with("python3")) continue;
      for (const char* packages : {"site-packages", "dist-packages"}) {
        const fs::path folder = it->path() / packages / "hdf5plugin" / "plugins";
        std::error_code no_error;
        if (fs::is_directory(folder, no_error)) found.insert(folder.string());
      }
    }
    status.clear();
  }
}

/// Where Python installs hdf5plugin: in environments that are active, beside a python3 on PATH, for the user,
/// for the system.
void look_for_plugins() {
  static bool has_looked = false;
  if (std::exchange(has_looked, true)) return;
  std::set<std::string> folders;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    if (const char* value = std::getenv(name); value && *value) add_python_folders(value, folders);
  }
  if (const char* home = std::getenv("HOME"); home && *home)
    add_python_folders(std::filesystem::path(home) / ".local", folders);
  if (const char* path = std::getenv("PATH")) {
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, ':');) {
      std::error_code no_error;
      const std::filesystem::path python = std::filesystem::path(part) / "python3";
      if (!part.empty() && std::filesystem::exists(python, no_error))
        add_python_folders(std::filesystem::path(part).parent_path(), folders);
    }
  }
  add_python_folders("/usr", folders);
  for (const std::string& folder : folders) {
    // In front: HDF5 gives up its search at the first folder that does not exist, as its default one often
    // does not.
    if (H5PLprepend(folder.c_str()) < 0) H5Eclear2(H5E_DEFAULT);
  }
}

bool is_available(H5Z_filter_t id) {
  const htri_t found = H5Zfilter_avail(id);
  H5Eclear2(H5E_DEFAULT);
  return found > 0;
}

}  // namespace

const char* const kFilterRemedy =
    "`pip install hdf5plugin` and `export HDF5_PLUGIN_PATH=$(python3 -c 'import hdf5plugin; "
    "print(hdf5plugin.PLUGIN_PATH)')`, or write the file with gzip, lzf, lz4 or zstd";

void register_filters() {
  static bool is_done = false;
  if (std::exchange(is_done, true)) return;
  give_to_hdf5(kLzf, "lzf", filter_lzf);
  give_to_hdf5(kLz4, "lz4", filter_lz4);
  give_to_hdf5(kZstd, "zstd", filter_zstd);
  give_to_hdf5(kBitshuffle, "bitshuffle", filter_bitshuffle);
}

std::string missing_filter(hid_t creation_plist) {
  const auto guard = lock();
  register_filters();
  const int n = H5Pget_nfilters(creation_plist);
  for (int i = 0; i < n; ++i) {
    unsigned flags = 0, config = 0;
    size_t n_values = 0;
    const H5Z_filter_t id = H5Pget_filter2(creation_plist, static_cast<unsigned>(i), &flags, &n_values,
                                           nullptr, 0, nullptr, &config);
    if (id < 0 || is_available(id)) continue;
    look_for_plugins();
    if (is_available(id)) continue;
    return "is compressed with " + name_of_filter(id) + " (filter " + std::to_string(id) +
           " of HDF5), for which there is no decoder here";
  }
  H5Eclear2(H5E_DEFAULT);
  return "";
}

bool read_decodable_filters(hid_t creation_plist, ChunkIndex& index) {
  const int n = H5Pget_nfilters(creation_plist);
  int n_compressions = 0;
  if (n < 0 || n > 31) return false;
  for (int i = 0; i < n; ++i) {
    unsigned flags = 0, config = 0;
    std::array<unsigned, 8> values = {};
    size_t n_values = values.size();
    switch (H5Pget_filter2(creation_plist, static_cast<unsigned>(i), &flags, &n_values, values.data(), 0,
                           nullptr, &config)) {
      case H5Z_FILTER_DEFLATE: index.filters.push_back(ChunkFilter::kDeflate); break;
      case H5Z_FILTER_FLETCHER32: index.filters.push_back(ChunkFilter::kFletcher32); break;
      case H5Z_FILTER_SHUFFLE:
        if (n_values < 1 || values[0] != index.element_bytes) return false;
        index.filters.push_back(ChunkFilter::kShuffle);
        break;
      case kLzf: index.filters.push_back(ChunkFilter::kLzf); break;
      case kLz4: index.filters.push_back(ChunkFilter::kLz4); break;
      case kZstd: index.filters.push_back(ChunkFilter::kZstd); break;
      case kBitshuffle:
        index.bitshuffle = bitshuffle_settings(std::min(n_values, values.size()), values.data());
        index.filters.push_back(ChunkFilter::kBitshuffle);
        break;
      default: return false;
    }
    n_compressions += is_compression(index.filters.back(), index);
  }
  // Between two compressions nobody knows the size; the settings of bitshuffle are kept once.
  return n_compressions <= 1 &&
         std::count(index.filters.begin(), index.filters.end(), ChunkFilter::kBitshuffle) <= 1;
}

}  // namespace lockstep::h5
