// A dataset over its shards. Shards are inspected once and closed; reading opens them again,
// a bounded number at a time, so that thousands of shards do not use up file descriptors.
// Two tables of open files: descriptors for pread under their own mutex, HDF5 handles under
// the HDF5 lock. No thread ever waits for one lock while it holds the other.
#include "io/dataset.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "io/checksum.h"
#include "io/hdf5.h"
#include "io/shard_contents.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr size_t kMaxOpenDescriptors = 128;
constexpr size_t kMaxOpenHdf5 = 32;
// Per open HDF5 dataset: shuffled reads of one micro-batch should find their chunk again.
constexpr size_t kChunkCacheBytes = size_t{16} << 20;
constexpr const char* kRemedy = "run `lockstep verify` on the dataset, copy the file again or convert again";

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw Error(path, std::string("cannot be opened: ") + std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Up to `limit` open things by shard index; the one not used for longest goes first.
/// A thing in use elsewhere stays alive through its shared pointer.
template <typename T>
class OpenTable {
 public:
  OpenTable(size_t n_shards, size_t limit) : slots_(n_shards), limit_(limit) {}

  template <typename Open>
  std::shared_ptr<T> get(size_t shard, Open&& open) {
    Slot& slot = slots_[shard];
    slot.last_use = ++clock_;
    if (!slot.thing) {
      if (n_open_ >= limit_) close_oldest();
      slot.thing = open();
      ++n_open_;
    }
    return slot.thing;
  }

 private:
  struct Slot {
    std::shared_ptr<T> thing;
    uint64_t last_use = 0;
  };
  void close_oldest() {
    Slot* oldest = nullptr;
    for (Slot& slot : slots_) {
      if (slot.thing && (!oldest || slot.last_use < oldest->last_use)) oldest = &slot;
    }
    oldest->thing.reset();
    --n_open_;
  }
  std::vector<Slot> slots_;
  size_t limit_, n_open_ = 0;
  uint64_t clock_ = 0;
};

/// An HDF5 file opened for reading, with the datasets used so far (by field index).
struct OpenHdf5 {
  h5::Id file;
  struct Opened {
    h5::Id dataset, type;
  };
  std::map<size_t, Opened> datasets;
};

std::vector<std::string> shard_paths(const std::string& path) {
  namespace fs = std::filesystem;
  const char* remedy = "check `path` in the job file, or create the dataset with `lockstep convert`";
  std::error_code status;
  if (!fs::exists(path, status)) throw Error(path, "there is no such file or folder", remedy);
  if (!fs::is_directory(path, status)) return {path};
  std::vector<std::string> paths;
  for (fs::directory_iterator it(path, status), end; !status && it != end; it.increment(status)) {
    const std::string extension = it->path().extension().string();
    const bool is_hidden = it->path().filename().string().front() == '.';
    if (!is_hidden && (extension == ".h5" || extension == ".hdf5")) paths.push_back(it->path().string());
  }
  if (status) throw Error(path, "the folder cannot be listed: " + status.message());
  if (paths.empty()) throw Error(path, "the folder holds no .h5 or .hdf5 file", remedy);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string join(const std::vector<Field>& fields) {
  std::string text;
  for (const Field& field : fields) text += (text.empty() ? "" : ", ") + field.name;
  return text.empty() ? "none" : text;
}

std::string describe(const Field& field) {
  return std::string(name_of(field.dtype)) + " " + field.shape.str();
}

}  // namespace

struct Dataset::Impl {
  struct Column {  // one field over all shards
    Statistics statistics;
    std::vector<int64_t> offset_bytes;  // per shard
    std::vector<std::optional<uint64_t>> checksum;
    int64_t row_bytes = 0;
  };

  std::string path;
  int64_t n_samples = 0;
  std::vector<Shard> shards;
  std::vector<Field> fields;
  std::vector<Column> columns;        // parallel to fields
  std::vector<StoredField> unusable;  // of the first shard
  std::vector<std::string> class_names;

  std::mutex descriptors_mutex;
  std::unique_ptr<OpenTable<Descriptor>> descriptors;
  std::unique_ptr<OpenTable<OpenHdf5>> files;  // under h5::lock()

  size_t index_of(const std::string& name) const;
  void add_shard(const std::string& shard_path);
  void adopt_first(const ShardContents& contents, const std::string& shard_path);
  OpenHdf5::Opened& open_hdf5(size_t shard, size_t field);
  void read_in_shard(size_t field, size_t shard, int64_t first, int64_t count, std::byte* dst);
  void pread_rows(size_t field, size_t shard, int64_t first, int64_t count, std::byte* dst);
  uint64_t checksum_of(size_t field, size_t shard);
};

size_t Dataset::Impl::index_of(const std::string& name) const {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return i;
  }
  for (const StoredField& stored : unusable) {
    if (stored.field.name == name)
      throw Error(path, "dataset " + name + " cannot be a field: it " + stored.unusable,
                  "fields of this dataset: " + join(fields));
  }
  throw Error(path, "has no field \"" + name + "\"", "fields that exist: " + join(fields));
}

void Dataset::Impl::adopt_first(const ShardContents& contents, const std::string& shard_path) {
  class_names = contents.class_names;
  for (const StoredField& stored : contents.fields) {
    if (!stored.unusable.empty()) {
      unusable.push_back(stored);
      continue;
    }
    fields.push_back(stored.field);
    Column column;
    column.statistics = stored.statistics;
    column.row_bytes = stored.field.shape.n_elements() * size_of(stored.field.dtype);
    columns.push_back(std::move(column));
  }
  if (fields.empty())
    throw Error(shard_path, "holds no dataset of numbers with a sample dimension in its root group",
                "store samples as datasets whose first dimension counts samples, such as image and label");
}

void Dataset::Impl::add_shard(const std::string& shard_path) {
  const ShardContents contents = inspect_shard(shard_path);
  const bool is_first = shards.empty();
  if (is_first) adopt_first(contents, shard_path);
  if (!contents.class_names.empty() && contents.class_names != class_names)
    throw Error(shard_path, "has other class names than " + shards.front().path,
                "convert all shards together");

  int64_t n_rows = -1;
  std::string counted_by;
  size_t n_found = 0;
  for (const StoredField& stored : contents.fields) {
    if (!stored.unusable.empty()) continue;
    const std::string& name = stored.field.name;
    if (n_rows < 0) {
      n_rows = stored.n_rows;
      counted_by = name;
    } else if (stored.n_rows != n_rows) {
      throw Error(shard_path,
                  "datasets " + counted_by + " and " + name + " have different sample counts: " +
                      std::to_string(n_rows) + " and " + std::to_string(stored.n_rows),
                  "give them one row per sample; what is not per sample belongs in a group");
    }
    const auto it =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
    if (it == fields.end()) continue;  // absent from the first shard: no field of the dataset
    ++n_found;
    if (it->dtype != stored.field.dtype || !(it->shape == stored.field.shape)) {
      throw Error(shard_path,
                  "dataset " + name + " has samples of " + describe(stored.field) + ", but " +
                      shards.front().path + " has " + describe(*it),
                  "convert all shards together");
    }
    Column& column = columns[static_cast<size_t>(it - fields.begin())];
    if (stored.statistics.mean != column.statistics.mean ||
        stored.statistics.stddev != column.statistics.stddev)
      throw Error(shard_path, "dataset " + name + " has another mean or stddev than " + shards.front().path,
                  "the attributes describe the whole dataset; convert all shards together");
    column.offset_bytes.push_back(stored.offset_bytes);
    column.checksum.push_back(stored.checksum);
  }
  if (n_found != fields.size()) {
    for (const Field& field : fields) {
      const auto has = [&](const StoredField& s) { return s.unusable.empty() && s.field.name == field.name; };
      if (std::none_of(contents.fields.begin(), contents.fields.end(), has))
        throw Error(shard_path, "has no field \"" + field.name + "\", but " + shards.front().path + " has",
                    "convert all shards together, or move the file out of the folder");
    }
  }
  shards.push_back({shard_path, n_samples, n_rows});
  n_samples += n_rows;
}

OpenHdf5::Opened& Dataset::Impl::open_hdf5(size_t shard, size_t field) {
  const std::string& shard_path = shards[shard].path;
  OpenHdf5& open = *files->get(shard, [&] {
    auto opened = std::make_shared<OpenHdf5>();
    opened->file = h5::open_file(shard_path);
    return opened;
  });
  OpenHdf5::Opened& opened = open.datasets[field];
  if (!opened.dataset) {
    const h5::Id access = h5::own(H5Pcreate(H5P_DATASET_ACCESS), "H5Pcreate", shard_path);
    h5::check(H5Pset_chunk_cache(access.get(), 1009, kChunkCacheBytes, 1.0), "H5Pset_chunk_cache",
              shard_path);
    opened.dataset =
        h5::own(H5Dopen2(open.file.get(), fields[field].name.c_str(), access.get()), "H5Dopen", shard_path);
    opened.type = memory_type(opened.dataset.get(), shard_path);
  }
  return opened;
}

void Dataset::Impl::pread_rows(size_t field, size_t shard, int64_t first, int64_t count, std::byte* dst) {
  std::shared_ptr<Descriptor> descriptor;
  {
    const std::lock_guard guard(descriptors_mutex);
    descriptor = descriptors->get(shard, [&] { return std::make_shared<Descriptor>(shards[shard].path); });
  }
  const int64_t row_bytes = columns[field].row_bytes;
  int64_t offset = columns[field].offset_bytes[shard] + first * row_bytes;
  int64_t n_bytes = count * row_bytes;
  while (n_bytes > 0) {
    const ssize_t n = ::pread(descriptor->get(), dst, static_cast<size_t>(n_bytes), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw Error(shards[shard].path,
                  "dataset " + fields[field].name + ", rows " + std::to_string(first) + " to " +
                      std::to_string(first + count - 1) +
                      " cannot be read: " + (n == 0 ? "the file ends before them" : std::strerror(errno)),
                  kRemedy);
    }
    dst += n;
    offset += n;
    n_bytes -= n;
  }
}

void Dataset::Impl::read_in_shard(size_t field, size_t shard, int64_t first, int64_t count, std::byte* dst) {
  if (columns[field].offset_bytes[shard] >= 0) return pread_rows(field, shard, first, count, dst);
  const auto guard = h5::lock();
  try {
    const OpenHdf5::Opened& opened = open_hdf5(shard, field);
    read_rows(opened.dataset.get(), opened.type.get(), first, count, dst, shards[shard].path);
  } catch (const Error& error) {
    throw Error(shards[shard].path,
                "dataset " + fields[field].name + ", rows " + std::to_string(first) + " to " +
                    std::to_string(first + count - 1) + " cannot be read: " + error.reason(),
                kRemedy);
  }
}

uint64_t Dataset::Impl::checksum_of(size_t field, size_t shard) {
  const auto guard = h5::lock();
  const OpenHdf5::Opened& opened = open_hdf5(shard, field);
  const h5::Id type = stored_type(opened.dataset.get(), shards[shard].path);
  const int64_t row_bytes = fields[field].shape.n_elements() * static_cast<int64_t>(H5Tget_size(type.get()));
  const int64_t n_rows = std::max<int64_t>(1, (int64_t{8} << 20) / row_bytes);
  std::vector<std::byte> rows(static_cast<size_t>(n_rows * row_bytes));
  ChunkedChecksum checksum;
  for (int64_t first = 0; first < shards[shard].n_samples; first += n_rows) {
    const int64_t count = std::min(n_rows, shards[shard].n_samples - first);
    read_rows(opened.dataset.get(), type.get(), first, count, rows.data(), shards[shard].path);
    checksum.update(rows.data(), count * row_bytes);
  }
  return checksum.digest();
}

Dataset::Dataset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

Dataset Dataset::open(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  for (const std::string& shard_path : shard_paths(path)) impl->add_shard(shard_path);
  if (impl->n_samples == 0)
    throw Error(path, "the dataset has no samples", "convert it again from input that is not empty");
  impl->descriptors = std::make_unique<OpenTable<Descriptor>>(impl->shards.size(), kMaxOpenDescriptors);
  impl->files = std::make_unique<OpenTable<OpenHdf5>>(impl->shards.size(), kMaxOpenHdf5);
  return Dataset(std::move(impl));
}

const std::string& Dataset::path() const { return impl_->path; }
int64_t Dataset::n_samples() const { return impl_->n_samples; }
const std::vector<Field>& Dataset::fields() const { return impl_->fields; }
const Field& Dataset::field(const std::string& name) const { return impl_->fields[impl_->index_of(name)]; }
const std::vector<std::string>& Dataset::class_names() const { return impl_->class_names; }
const std::vector<Dataset::Shard>& Dataset::shards() const { return impl_->shards; }

const Dataset::Statistics* Dataset::statistics(const std::string& field) const {
  const Statistics& statistics = impl_->columns[impl_->index_of(field)].statistics;
  return statistics.mean.empty() ? nullptr : &statistics;
}

void Dataset::read(const std::string& field, int64_t first, int64_t count, void* dst) const {
  assert(first >= 0 && count >= 0 && first + count <= n_samples());
  const size_t index = impl_->index_of(field);
  auto* out = static_cast<std::byte*>(dst);
  const auto& shards = impl_->shards;
  auto it = std::upper_bound(shards.begin(), shards.end(), first,
                             [](int64_t row, const Shard& shard) { return row < shard.first; });
  for (auto shard = static_cast<size_t>(it - shards.begin()) - 1; count > 0; ++shard) {
    const int64_t in_shard = first - shards[shard].first;
    const int64_t n = std::min(count, shards[shard].n_samples - in_shard);
    if (n <= 0) continue;
    impl_->read_in_shard(index, shard, in_shard, n, out);
    out += n * impl_->columns[index].row_bytes;
    first += n;
    count -= n;
  }
}

std::vector<std::string> Dataset::verify(int64_t* n_checked, int64_t* n_unchecked) const {
  std::vector<std::string> problems;
  *n_checked = *n_unchecked = 0;
  for (size_t shard = 0; shard < impl_->shards.size(); ++shard) {
    for (size_t field = 0; field < impl_->fields.size(); ++field) {
      const std::optional<uint64_t>& expected = impl_->columns[field].checksum[shard];
      if (!expected) {
        ++*n_unchecked;
        continue;
      }
      ++*n_checked;
      const std::string where = impl_->shards[shard].path + ": dataset " + impl_->fields[field].name;
      try {
        if (impl_->checksum_of(field, shard) != *expected) problems.push_back(where + ": wrong checksum");
      } catch (const Error& error) {
        problems.push_back(where + ": cannot be read: " + error.reason());
      }
    }
  }
  return problems;
}

}  // namespace lockstep
