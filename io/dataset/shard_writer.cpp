// Shards are written by the serial HDF5 driver: one rank, one file. Storage is contiguous and
// allocated early, so that readers can bypass HDF5; object times stay off for equal bytes. Checksums cover
// the content, the seal everything else.
#include "io/dataset/shard_writer.h"

#include <algorithm>
#include <cassert>

#include "io/dataset/conversion_parts.h"
#include "io/files/seal.h"

namespace lockstep {

namespace {

constexpr int64_t kFormatVersion = 1;

std::vector<hsize_t> extents(const Field& field, int64_t n_samples) {
  std::vector<hsize_t> result{static_cast<hsize_t>(n_samples)};
  for (const int64_t extent : field.shape) result.push_back(static_cast<hsize_t>(extent));
  return result;
}

/// The object headers of HDF5 1.8 and later: only they hold attributes beyond 64 KiB, such as
/// the names of 5,000 classes.
h5::Id file_access(const std::string& path) {
  h5::Id plist = h5::own(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path);
  h5::check(H5Pset_libver_bounds(plist.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST), "H5Pset_libver_bounds",
            path);
  return plist;
}

h5::Id create_file(const std::string& path) {
  h5::Id plist = h5::own(H5Pcreate(H5P_FILE_CREATE), "H5Pcreate", path);
  h5::check(H5Pset_obj_track_times(plist.get(), false), "H5Pset_obj_track_times", path);  // of the root group
  return h5::own(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, plist.get(), file_access(path).get()), "H5Fcreate",
                 path);
}

}  // namespace

ShardWriter::ShardWriter(const std::string& path, const std::vector<Field>& fields, int64_t n_samples)
    : path_(path), fields_(fields), n_samples_(n_samples) {
  const auto guard = h5::lock();
  file_ = create_file(path);
  h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
  h5::check(H5Pset_layout(plist.get(), H5D_CONTIGUOUS), "H5Pset_layout", path);
  h5::check(H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path);
  h5::check(H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path);
  h5::check(H5Pset_obj_track_times(plist.get(), false), "H5Pset_obj_track_times", path);
  for (const Field& field : fields) {
    const std::vector<hsize_t> dims = extents(field, n_samples);
    h5::Id space = h5::own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                           "H5Screate_simple", path);
    datasets_.push_back(h5::own(H5Dcreate2(file_.get(), field.name.c_str(), h5::native_type(field.dtype),
                                           space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
                                "H5Dcreate2", path + ": " + field.name));
    moments_.emplace_back(field);
    checksums_.emplace_back();
  }
}

void ShardWriter::append(std::span<const std::byte* const> data, int64_t count) {
  assert(data.size() == fields_.size() && n_written_ + count <= n_samples_);
  if (count == 0) return;
  for (size_t f = 0; f < fields_.size(); ++f) {
    const Field& field = fields_[f];
    moments_[f].add(data[f], count);
    checksums_[f].update(data[f], count * field.shape.n_elements() * size_of(field.dtype));

    const auto guard = h5::lock();
    const std::string where = path_ + ": " + field.name;
    const std::vector<hsize_t> dims = extents(field, count);
    std::vector<hsize_t> start(dims.size(), 0);
    start[0] = static_cast<hsize_t>(n_written_);
    h5::Id rows = h5::own(H5Dget_space(datasets_[f].get()), "H5Dget_space", where);
    h5::check(H5Sselect_hyperslab(rows.get(), H5S_SELECT_SET, start.data(), nullptr, dims.data(), nullptr),
              "H5Sselect_hyperslab", where);
    h5::Id memory = h5::own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                            "H5Screate_simple", where);
    h5::check(H5Dwrite(datasets_[f].get(), h5::native_type(field.dtype), memory.get(), rows.get(),
                       H5P_DEFAULT, data[f]),
              "H5Dwrite", where);
  }
  n_written_ += count;
}

uint64_t ShardWriter::content_hash() const {
  ChunkedChecksum hash;
  for (const ChunkedChecksum& checksum : checksums_) {
    const uint64_t digest = checksum.digest();
    hash.update(&digest, sizeof digest);
  }
  return hash.digest();
}

void ShardWriter::close() {
  assert(n_written_ == n_samples_);
  const auto guard = h5::lock();
  for (size_t f = 0; f < fields_.size(); ++f) {
    h5::write_attribute(datasets_[f].get(), "checksum", static_cast<int64_t>(checksums_[f].digest()));
    datasets_[f].close();
  }
  file_.close();
}

void ShardWriter::describe(const std::string& path, const std::vector<Field>& fields,
                           const DatasetDescription& description, int64_t shard) {
  std::vector<ContentRange> content;
  {
    const auto guard = h5::lock();
    h5::Id file = h5::own(H5Fopen(path.c_str(), H5F_ACC_RDWR, file_access(path).get()), "H5Fopen", path);
    h5::write_attribute(file.get(), "lockstep_format_version", kFormatVersion);
    h5::write_attribute(file.get(), "lockstep_part_of",
                        ConversionParts::text(description.id, shard, description.n_shards));
    if (!description.class_names.empty())
      h5::write_attribute(file.get(), "class_names", description.class_names);
    h5::write_attribute(file.get(), "source", description.source);
    for (size_t f = 0; f < fields.size(); ++f) {
      h5::Id dataset = h5::own(H5Dopen2(file.get(), fields[f].name.c_str(), H5P_DEFAULT), "H5Dopen2", path);
      if (const hsize_t n_bytes = H5Dget_storage_size(dataset.get()); n_bytes > 0)
        content.push_back({H5Dget_offset(dataset.get()), n_bytes});
      const Dataset::Statistics& statistics = description.statistics[f];
      if (statistics.mean.empty()) continue;
      h5::write_attribute(dataset.get(), "mean", statistics.mean);
      h5::write_attribute(dataset.get(), "stddev", statistics.stddev);
      dataset.close();
    }
    file.close();
  }
  std::sort(content.begin(), content.end(),
            [](const ContentRange& a, const ContentRange& b) { return a.offset < b.offset; });
  append_seal(path, content);
}

}  // namespace lockstep
