// Rank 0 lays out a checkpoint: everything but the content of the datasets. No time stamps
// (object times off), no uninitialised bytes, one fixed order: equal states give equal files.
//
// HDF5 cannot get rid of a file whose header it failed to write (it crashes later, at its
// exit). So it builds the header in a sparse file in memory, and the header's bytes are
// copied to the disk by plain calls, after the space for the whole file has been reserved.
// (Without /proc that file lies on the disk, after a look at the free space.)
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "io/checkpoint/checkpoint_write.h"
#include "io/files/files.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep::checkpoint_format {

namespace {

// Large datasets begin on a page; the header is gathered in blocks, so that reading it
// takes few reads. The seal must fit into what is reserved per entry.
constexpr int64_t kAlignedFrom = 64 << 10, kAlignment = 4 << 10, kHeaderBlock = 64 << 10;

/// An upper bound of the file size.
int64_t estimate_bytes(const CheckpointInfo& info, const std::vector<CheckpointEntry>& entries) {
  int64_t n_bytes = 4 * kHeaderBlock + 2 * static_cast<int64_t>(info.job.size());
  for (const auto& number : info.numbers) n_bytes += 1024 + static_cast<int64_t>(number.first.size());
  for (const auto& [name, text] : info.texts)
    n_bytes += 8192 + 2 * static_cast<int64_t>(name.size() + text.size());
  for (const CheckpointEntry& entry : entries) {
    n_bytes += entry.shape.n_elements() * size_of(entry.dtype) + kAlignment + 2048;
  }
  return n_bytes;
}

void check_space(const std::string& path, int64_t n_bytes) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int64_t n_free = std::min(free_bytes(folder), file_size_limit());
  if (n_free >= n_bytes) return;
  throw Error(path,
              "needs about " + std::to_string((n_bytes >> 20) + 1) + " MiB of disk space; " +
                  std::to_string(n_free >> 20) + " MiB are free",
              "free space on that file system, keep fewer checkpoints (checkpoint.keep), or choose another "
              "output folder (--out)");
}

h5::Id create_without_times(const std::string& path) {
  const h5::Id access = h5::own(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path);
  h5::check(H5Pset_alignment(access.get(), kAlignedFrom, kAlignment), "H5Pset_alignment", path);
  h5::check(H5Pset_meta_block_size(access.get(), kHeaderBlock), "H5Pset_meta_block_size", path);
  // HDF5's default driver wants the real path of what it opens; a file in memory has none.
  h5::check(H5Pset_fapl_stdio(access.get()), "H5Pset_fapl_stdio", path);
  return h5::create_file(path, access.get());
}

void create_groups(hid_t file, const std::vector<CheckpointEntry>& entries) {
  std::set<std::string> groups = {"/numbers", "/texts"};
  for (const CheckpointEntry& entry : entries) {
    for (size_t end = entry.name.find('/', 1); end != std::string::npos;
         end = entry.name.find('/', end + 1)) {
      groups.insert(entry.name.substr(0, end));
    }
  }
  const h5::Id create = h5::own(H5Pcreate(H5P_GROUP_CREATE), "H5Pcreate", "checkpoint");
  h5::check(H5Pset_obj_track_times(create.get(), false), "H5Pset_obj_track_times", "checkpoint");
  for (const std::string& group : groups) {
    h5::own(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, create.get(), H5P_DEFAULT), "H5Gcreate2", group);
  }
}

void write_info(hid_t file, const CheckpointInfo& info, const std::vector<CheckpointEntry>& entries) {
  h5::write_attribute(file, "format_version", kVersion);
  h5::write_attribute(file, "step", info.step);
  h5::write_attribute(file, "epoch", info.epoch);
  h5::write_attribute(file, "step_in_epoch", info.step_in_epoch);
  h5::write_attribute(file, "seed", info.seed);
  h5::write_attribute(file, "job", info.job);
  h5::write_attribute(file, "header_checksum", static_cast<int64_t>(header_checksum(info, entries)));
  const h5::Id numbers = h5::own(H5Gopen2(file, "/numbers", H5P_DEFAULT), "H5Gopen2", "/numbers");
  for (const auto& [name, value] : info.numbers) h5::write_attribute(numbers.get(), name, value);
  const h5::Id texts = h5::own(H5Gopen2(file, "/texts", H5P_DEFAULT), "H5Gopen2", "/texts");
  for (const auto& [name, text] : info.texts) h5::write_attribute(texts.get(), name, text);
}

/// Returns where the content goes; n_bytes 0 for an empty dataset.
ContentRange create_dataset(hid_t file, hid_t create, const CheckpointEntry& entry) {
  const std::vector<hsize_t> extents(entry.shape.begin(), entry.shape.end());
  const h5::Id space =
      h5::own(H5Screate_simple(entry.shape.rank(), extents.data(), nullptr), "H5Screate_simple", entry.name);
  h5::Id dataset = h5::own(H5Dcreate2(file, entry.name.c_str(), h5::native_type(entry.dtype), space.get(),
                                      H5P_DEFAULT, create, H5P_DEFAULT),
                           "H5Dcreate2", entry.name);
  h5::write_attribute(dataset.get(), "checksum", static_cast<int64_t>(entry.checksum));
  ContentRange range;
  range.n_bytes = static_cast<uint64_t>(entry.shape.n_elements() * size_of(entry.dtype));
  if (range.n_bytes > 0) {
    range.offset = H5Dget_offset(dataset.get());
    if (range.offset == HADDR_UNDEF) h5::check(-1, "H5Dget_offset", entry.name);
  }
  dataset.close();
  return range;
}

/// Writes the HDF5 file without content; returns the ranges of the content, ascending.
std::vector<ContentRange> build_header(const std::string& path, const CheckpointInfo& info,
                                       const std::vector<CheckpointEntry>& entries) {
  const auto guard = h5::lock();
  std::vector<ContentRange> content;
  h5::Id file = create_without_times(path);
  create_groups(file.get(), entries);
  write_info(file.get(), info, entries);
  const h5::Id create = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
  h5::check(H5Pset_obj_track_times(create.get(), false), "H5Pset_obj_track_times", path);
  h5::check(H5Pset_layout(create.get(), H5D_CONTIGUOUS), "H5Pset_layout", path);
  h5::check(H5Pset_alloc_time(create.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path);
  h5::check(H5Pset_fill_time(create.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path);
  for (const CheckpointEntry& entry : entries) {
    const ContentRange range = create_dataset(file.get(), create.get(), entry);
    if (range.n_bytes > 0) content.push_back(range);
  }
  file.close();
  std::sort(content.begin(), content.end(),
            [](const ContentRange& a, const ContentRange& b) { return a.offset < b.offset; });
  return content;
}

/// Where HDF5 builds the header: a file in memory, or, where /proc does not give it a name, a sparse one
/// beside the checkpoint.
class HeaderFile {
 public:
  explicit HeaderFile(const std::string& checkpoint) : file_(FileHandle::in_memory("checkpoint header")) {
    if (::access(file_.path().c_str(), R_OK | W_OK) == 0) return;
    constexpr std::string_view kTail = ".h5.tmp";  // a temporary file of a save, which prune and repair know
    on_disk_ =
        checkpoint.ends_with(kTail) ? checkpoint.substr(0, checkpoint.size() - kTail.size()) : checkpoint;
    on_disk_ += ".header" + std::string(kTail);
    file_ = FileHandle(on_disk_, O_RDWR | O_CREAT | O_TRUNC);
  }
  ~HeaderFile() {
    if (!on_disk_.empty()) ::unlink(on_disk_.c_str());
  }
  HeaderFile(const HeaderFile&) = delete;
  HeaderFile& operator=(const HeaderFile&) = delete;

  const FileHandle& file() const { return file_; }

 private:
  FileHandle file_;
  std::string on_disk_;
};

void copy_header(const FileHandle& from, FileHandle& to, const std::vector<ContentRange>& content) {
  std::vector<char> buffer(1 << 20);
  for_each_outside(content, from.n_bytes(), [&](int64_t first, int64_t end) {
    for (int64_t n = 0; first < end; first += n) {
      n = std::min(static_cast<int64_t>(buffer.size()), end - first);
      from.read_at(buffer.data(), n, first);
      to.write_at(buffer.data(), n, first);
    }
  });
}

}  // namespace

std::vector<ContentRange> lay_out(const std::string& path, const CheckpointInfo& info,
                                  const std::vector<CheckpointEntry>& entries) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failure;
  if (!folder.empty()) std::filesystem::create_directories(folder, failure);
  if (failure) throw_file_error(folder.string(), "creating the folder", failure.value());
  check_space(path, estimate_bytes(info, entries));

  HeaderFile header(path);
  const FileHandle& memory = header.file();
  const std::vector<ContentRange> content = build_header(memory.path(), info, entries);
  FileHandle file(path, O_WRONLY | O_CREAT | O_TRUNC);
  const int64_t n_bytes = memory.n_bytes();
  file.reserve(n_bytes);
  file.resize(n_bytes);
  copy_header(memory, file, content);
  file.close();
  return content;
}

}  // namespace lockstep::checkpoint_format
