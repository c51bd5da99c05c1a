#include "io/dataset/elsewhere.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <vector>

#include "io/files/regular_file.h"
#include "kernels/error.h"
#include "kernels/shape.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMakeAgain = "make the virtual dataset again, or copy that file again";
constexpr int kMostNested = 8;  // virtual datasets of virtual datasets

std::string own_path(hid_t object) {
  const ssize_t n = H5Fget_name(object, nullptr, 0);
  if (n <= 0) return "";
  std::string name(static_cast<size_t>(n), '\0');
  H5Fget_name(object, name.data(), name.size() + 1);
  return name;
}

/// As HDF5 looks for it: beside `path`, then as it is (from the current folder). Empty: nowhere.
std::string find_file(const std::string& name, const std::string& path) {
  std::error_code status;
  const fs::path beside = fs::path(path).parent_path() / name;  // `name` itself where it is absolute
  if (fs::exists(beside, status)) return beside.string();
  return fs::exists(name, status) ? name : "";
}

[[noreturn]] void refuse_missing(const std::string& where, const std::string& kind, const std::string& name) {
  throw Error(where, "has its elements in the file " + name + " (" + kind + "), which is not there",
              "put that file beside this one, or copy the elements into this one (h5repack, or h5py)");
}

struct Looking {
  const std::string& where;
  bool allows_external_storage;
  int n_nested = 0;
};
bool look(hid_t dataset, hid_t plist, const std::string& path, const Looking& looking);

bool look_at_external_storage(hid_t plist, const std::string& path, const Looking& looking) {
  const int n = H5Pget_external_count(plist);
  for (int i = 0; i < n; ++i) {
    std::array<char, 4096> name = {};
    off_t offset = 0;
    hsize_t n_bytes = 0;
    h5::check(
        H5Pget_external(plist, static_cast<unsigned>(i), name.size() - 1, name.data(), &offset, &n_bytes),
        "H5Pget_external", looking.where);
    if (!looking.allows_external_storage)
      throw Error(
          looking.where,
          "has its elements in the file " + std::string(name.data()) +
              " (external storage), which may be any file that you can read",
          "if you trust the file: external_storage: true beside its path in the job; or copy the elements "
          "into it");
    const std::string found = find_file(name.data(), path);
    if (found.empty()) refuse_missing(looking.where, "external storage", name.data());
    require_regular_file(found);
    std::error_code status;
    const auto there = fs::file_size(found, status);
    const bool is_open_ended = n_bytes == H5F_UNLIMITED;
    if (status || (!is_open_ended && there < static_cast<uintmax_t>(offset) + n_bytes))
      throw Error(looking.where,
                  "has its elements in the file " + found + " up to byte " +
                      std::to_string(static_cast<uintmax_t>(offset) + n_bytes) +
                      ", but that file ends at byte " + std::to_string(there),
                  "copy that file again");
  }
  return n > 0;
}

/// Extents without those of 1.
using Box = std::vector<hsize_t>;

Box box_of_extent(hid_t space) {
  std::array<hsize_t, H5S_MAX_RANK> extents = {};
  const int rank = H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  Box box(extents.begin(), extents.begin() + std::max(rank, 0));
  std::erase(box, hsize_t{1});
  return box;
}

/// What is selected in the space of `dataset`, where it is a box (strides count as one).
std::optional<Box> box_of_selection(hid_t selection, hid_t dataset, const std::string& where) {
  const h5::Id space = h5::own(H5Dget_space(dataset), "H5Dget_space", where);
  if (H5Sget_select_type(selection) == H5S_SEL_ALL) return box_of_extent(space.get());
  std::array<hsize_t, H5S_MAX_RANK> start = {}, stride = {}, count = {}, block = {};
  if (H5Sget_select_type(selection) != H5S_SEL_HYPERSLABS || H5Sis_regular_hyperslab(selection) <= 0 ||
      H5Sget_regular_hyperslab(selection, start.data(), stride.data(), count.data(), block.data()) < 0) {
    H5Eclear2(H5E_DEFAULT);
    return std::nullopt;
  }
  const int rank = H5Sget_simple_extent_ndims(space.get());
  Box box;
  for (size_t d = 0; d < static_cast<size_t>(std::max(rank, 0)); ++d) box.push_back(count[d] * block[d]);
  std::erase(box, hsize_t{1});
  return box;
}

std::string text_of(const Box& box) {
  std::string text = "(";
  for (const hsize_t extent : box) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + ")";
}

/// Whether the extent of `source` holds the selection.
bool holds_selection(hid_t source, hid_t wanted, const std::string& where) {
  const h5::Id there = h5::own(H5Dget_space(source), "H5Dget_space", where);
  std::array<hsize_t, H5S_MAX_RANK> first = {}, last = {}, extents = {};
  const int rank = H5Sget_simple_extent_dims(there.get(), extents.data(), nullptr);
  if (rank < 0 || H5Sget_select_bounds(wanted, first.data(), last.data()) < 0) {
    H5Eclear2(H5E_DEFAULT);
    return true;
  }
  for (size_t d = 0; d < static_cast<size_t>(rank); ++d)
    if (last[d] >= extents[d]) return false;
  return true;
}

[[noreturn]] void refuse_short(const std::string& where, const std::string& source) {
  throw Error(where, "has elements in " + source + " that lie beyond its end", kMakeAgain);
}

/// A selection of everything is stored without an extent: HDF5 takes the elements of what it finds one after
/// the other, as many as it needs. More rows than there were do no harm, another shape does.
void check_whole_source(hid_t source, const Box& mapped, const std::string& in_words,
                        const std::string& where) {
  const h5::Id space = h5::own(H5Dget_space(source), "H5Dget_space", where);
  Box there = box_of_extent(space.get());
  const auto n_elements = [](const Box& box) {
    return std::accumulate(box.begin(), box.end(), hsize_t{1}, std::multiplies<>());
  };
  if (n_elements(there) < n_elements(mapped)) refuse_short(where, in_words);
  if (there.size() == mapped.size() && !there.empty()) there[0] = std::min(there[0], mapped[0]);
  if (there == mapped) return;
  throw Error(where,
              "takes all of " + in_words + " as " + text_of(mapped) + " elements, but it has " +
                  text_of(box_of_extent(space.get())),
              kMakeAgain);
}

/// One source of a virtual dataset; `wanted`: the selection in it, or negative for one of unlimited extent;
/// `mapped`: where it goes, if that is a box.
void look_at_source(const std::string& name, const std::string& dataset_name, hid_t wanted,
                    const std::optional<Box>& mapped, const std::string& path, hid_t same_file,
                    Looking looking) {
  h5::Id file;
  hid_t parent = same_file;
  std::string found = path;
  if (name != ".") {
    found = find_file(name, path);
    if (found.empty()) refuse_missing(looking.where, "a virtual dataset", name);
    require_regular_file(found);
    file =
        h5::own(H5Fopen(found.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", looking.where + ": " + found);
    parent = file.get();
  }
  const std::string in_words = "dataset " + dataset_name + " of the file " + found + " (a virtual dataset)";
  const h5::Id source = h5::open_dataset(parent, dataset_name);
  if (!source) {
    H5Eclear2(H5E_DEFAULT);
    throw Error(looking.where, "has its elements in " + in_words + ", which has none of that name",
                "make the virtual dataset again, or copy the elements into one file");
  }
  const bool takes_all = wanted >= 0 && H5Sget_select_type(wanted) == H5S_SEL_ALL;
  if (takes_all && mapped) check_whole_source(source.get(), *mapped, in_words, looking.where);
  if (wanted >= 0 && !takes_all && !holds_selection(source.get(), wanted, looking.where))
    refuse_short(looking.where, in_words);
  ++looking.n_nested;
  const h5::Id plist = h5::own(H5Dget_create_plist(source.get()), "H5Dget_create_plist", looking.where);
  look(source.get(), plist.get(), found, looking);
}

/// "part-%b.h5" -> the name of block b.
std::string block_name(const std::string& pattern, hsize_t block) {
  std::string name;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern.compare(i, 2, "%b") == 0) {
      name += std::to_string(block);
      ++i;
    } else if (pattern.compare(i, 2, "%%") == 0) {
      name += '%';
      ++i;
    } else {
      name += pattern[i];
    }
  }
  return name;
}

/// Blocks of a printf-style mapping that the virtual dataset's extent reaches.
hsize_t count_blocks(hid_t mapped, hid_t dataset, const std::string& where) {
  std::array<hsize_t, H5S_MAX_RANK> start = {}, stride = {}, count = {}, block = {}, extents = {};
  if (H5Sget_regular_hyperslab(mapped, start.data(), stride.data(), count.data(), block.data()) < 0) return 0;
  const h5::Id space = h5::own(H5Dget_space(dataset), "H5Dget_space", where);
  const int rank = H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  for (int i = 0; i < rank; ++i) {
    const auto d = static_cast<size_t>(i);
    if (count[d] != H5S_UNLIMITED) continue;
    return extents[d] <= start[d] ? 0 : (extents[d] - start[d] + stride[d] - 1) / stride[d];
  }
  return 0;
}

bool look_at_virtual_sources(hid_t dataset, hid_t plist, const std::string& path, const Looking& looking) {
  size_t n = 0;
  h5::check(H5Pget_virtual_count(plist, &n), "H5Pget_virtual_count", looking.where);
  if (looking.n_nested >= kMostNested)
    throw Error(looking.where, "is a virtual dataset of virtual datasets, too many deep",
                "copy the elements into one file");
  const h5::Id file = h5::own(H5Iget_file_id(dataset), "H5Iget_file_id", looking.where);
  hssize_t n_covered = 0;
  bool is_counted = true;
  for (size_t i = 0; i < n; ++i) {
    std::array<char, 4096> name = {}, dataset_name = {};
    if (H5Pget_virtual_filename(plist, i, name.data(), name.size() - 1) < 0 ||
        H5Pget_virtual_dsetname(plist, i, dataset_name.data(), dataset_name.size() - 1) < 0)
      h5::check(-1, "H5Pget_virtual_filename", looking.where);
    const std::string file_pattern = name.data(), dataset_pattern = dataset_name.data();
    const h5::Id mapped = h5::own(H5Pget_virtual_vspace(plist, i), "H5Pget_virtual_vspace", looking.where);
    if (file_pattern.find("%b") == std::string::npos && dataset_pattern.find("%b") == std::string::npos) {
      const h5::Id source =
          h5::own(H5Pget_virtual_srcspace(plist, i), "H5Pget_virtual_srcspace", looking.where);
      const hssize_t n_mapped = H5Sget_select_npoints(mapped.get());
      const bool is_limited = n_mapped >= 0 && static_cast<hsize_t>(n_mapped) != H5S_UNLIMITED;
      H5Eclear2(H5E_DEFAULT);
      is_counted = is_counted && is_limited;
      n_covered += is_limited ? n_mapped : 0;
      look_at_source(block_name(file_pattern, 0), block_name(dataset_pattern, 0),
                     is_limited ? source.get() : -1, box_of_selection(mapped.get(), dataset, looking.where),
                     path, file.get(), looking);
      continue;
    }
    is_counted = false;
    const hsize_t n_blocks = count_blocks(mapped.get(), dataset, looking.where);
    for (hsize_t block = 0; block < n_blocks; ++block)
      look_at_source(block_name(file_pattern, block), block_name(dataset_pattern, block), -1, std::nullopt,
                     path, file.get(), looking);
  }
  const h5::Id space = h5::own(H5Dget_space(dataset), "H5Dget_space", looking.where);
  const hssize_t n_elements = H5Sget_simple_extent_npoints(space.get());
  H5D_fill_value_t fill = H5D_FILL_VALUE_UNDEFINED;
  H5Pfill_value_defined(plist, &fill);
  if (is_counted && n_covered < n_elements && fill != H5D_FILL_VALUE_USER_DEFINED)
    throw Error(looking.where,
                "is a virtual dataset that has sources for " + std::to_string(n_covered) + " of its " +
                    std::to_string(n_elements) + " elements; the rest would be zeros",
                "map all of it, or give it a fill value if the gaps are meant");
  return n > 0;
}

bool look(hid_t dataset, hid_t plist, const std::string& path, const Looking& looking) {
  if (H5Pget_layout(plist) == H5D_VIRTUAL) return look_at_virtual_sources(dataset, plist, path, looking);
  return look_at_external_storage(plist, path, looking);
}

}  // namespace

unsigned long file_number(hid_t object) {
  const auto guard = h5::lock();
  H5O_info_t info = {};
  if (H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0) H5Eclear2(H5E_DEFAULT);
  return info.fileno;
}

bool lies_elsewhere(unsigned long file, hid_t dataset, hid_t creation_plist, const std::string& path,
                    const std::string& where, bool allows_external_storage) {
  const auto guard = h5::lock();
  const bool is_linked = file_number(dataset) != file;
  const std::string held_by = is_linked ? own_path(dataset) : path;
  return look(dataset, creation_plist, held_by, {where, allows_external_storage}) || is_linked;
}

h5::Id access_of_external_storage(hid_t dataset, const std::string& path) {
  const auto guard = h5::lock();
  h5::Id access = h5::own(H5Pcreate(H5P_DATASET_ACCESS), "H5Pcreate", path);
  const h5::Id plist = h5::own(H5Dget_create_plist(dataset), "H5Dget_create_plist", path);
  if (H5Pget_external_count(plist.get()) <= 0) return access;
  std::array<char, 4096> name = {};
  H5Pget_external(plist.get(), 0, name.size() - 1, name.data(), nullptr, nullptr);
  std::error_code status;
  const std::string folder = fs::path(own_path(dataset)).parent_path().string();
  if (fs::exists(fs::path(folder) / name.data(), status) && !fs::path(name.data()).is_absolute())
    h5::check(H5Pset_efile_prefix(access.get(), folder.empty() ? "." : folder.c_str()), "H5Pset_efile_prefix",
              path);
  return access;
}

}  // namespace lockstep
