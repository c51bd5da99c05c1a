// Shards are written by the serial HDF5 driver: one rank, one file. Storage is contiguous and
// allocated early, so that readers can bypass HDF5; object times stay off for equal bytes. Checksums cover
// the content, the seal everything else.
#include "io/dataset/shard_writer.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "io/dataset/conversion_parts.h"
#include "io/files/seal.h"

namespace lockstep {

namespace {

constexpr int64_t kFormatVersion = 1;

std::vector<hsize_t> stored_extents(const Field& field, int64_t n_rows) {
  std::vector<hsize_t> result{static_cast<hsize_t>(n_rows)};
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

std::vector<std::string> stored_names(const std::vector<Field>& fields) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.push_back(field.name);
  for (const Field& field : fields)
    if (field.ragged) names.push_back(field.name + "_offsets");
  return names;
}

ShardWriter::ShardWriter(const std::string& path, const std::vector<Field>& fields, int64_t n_samples,
                         const std::vector<int64_t>& n_elements)
    : path_(path), fields_(fields), n_samples_(n_samples) {
  const auto guard = h5::lock();
  file_ = create_file(path);
  for (size_t f = 0; f < fields.size(); ++f) {
    create(fields[f].name, fields[f], fields[f].ragged ? n_elements[f] : n_samples);
    moments_.emplace_back(fields[f]);
  }
  for (size_t f = 0; f < fields.size(); ++f) {
    if (!fields[f].ragged) continue;
    const std::string name = fields[f].name + "_offsets";
    create(name, {name, DType::kInt64, {}}, n_samples + 1);
    offsets_of_.push_back(f);
    const int64_t first = 0;
    write(datasets_.back(), &first, 1);
  }
}

void ShardWriter::create(const std::string& name, const Field& element, int64_t n_rows) {
  h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path_);
  h5::check(H5Pset_layout(plist.get(), H5D_CONTIGUOUS), "H5Pset_layout", path_);
  h5::check(H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path_);
  h5::check(H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path_);
  h5::check(H5Pset_obj_track_times(plist.get(), false), "H5Pset_obj_track_times", path_);
  const std::vector<hsize_t> dims = stored_extents(element, n_rows);
  h5::Id space = h5::own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                         "H5Screate_simple", path_);
  h5::Id dataset = h5::own(H5Dcreate2(file_.get(), name.c_str(), h5::native_type(element.dtype), space.get(),
                                      H5P_DEFAULT, plist.get(), H5P_DEFAULT),
                           "H5Dcreate2", path_ + ": " + name);
  datasets_.push_back({name, element, n_rows, 0, std::move(dataset), {}});
}

void ShardWriter::write(Written& to, const void* rows, int64_t count) {
  assert(to.n_written + count <= to.n_rows);
  if (count == 0) return;
  to.checksum.update(rows, count * to.element.shape.n_elements() * size_of(to.element.dtype));
  const auto guard = h5::lock();
  const std::string where = path_ + ": " + to.name;
  const std::vector<hsize_t> dims = stored_extents(to.element, count);
  std::vector<hsize_t> start(dims.size(), 0);
  start[0] = static_cast<hsize_t>(to.n_written);
  h5::Id selected = h5::own(H5Dget_space(to.dataset.get()), "H5Dget_space", where);
  h5::check(H5Sselect_hyperslab(selected.get(), H5S_SELECT_SET, start.data(), nullptr, dims.data(), nullptr),
            "H5Sselect_hyperslab", where);
  h5::Id memory = h5::own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                          "H5Screate_simple", where);
  h5::check(H5Dwrite(to.dataset.get(), h5::native_type(to.element.dtype), memory.get(), selected.get(),
                     H5P_DEFAULT, rows),
            "H5Dwrite", where);
  to.n_written += count;
}

void ShardWriter::append(std::span<const std::byte* const> data, int64_t count,
                         std::span<const std::vector<int32_t>> lengths) {
  assert(data.size() == fields_.size() && n_written_ + count <= n_samples_);
  if (count == 0) return;
  for (size_t f = 0; f < fields_.size(); ++f) {
    int64_t n_rows = count;
    if (fields_[f].ragged) n_rows = std::accumulate(lengths[f].begin(), lengths[f].end(), int64_t{0});
    moments_[f].add(data[f], n_rows);
    write(datasets_[f], data[f], n_rows);
  }
  for (size_t i = 0; i < offsets_of_.size(); ++i) {
    const size_t f = offsets_of_[i];
    int64_t end = datasets_[f].n_written - std::accumulate(lengths[f].begin(), lengths[f].end(), int64_t{0});
    std::vector<int64_t> ends;
    for (const int32_t length : lengths[f]) ends.push_back(end += length);
    write(datasets_[fields_.size() + i], ends.data(), count);
  }
  n_written_ += count;
}

uint64_t ShardWriter::content_hash() const {
  ChunkedChecksum hash;
  for (const Written& written : datasets_) {
    const uint64_t digest = written.checksum.digest();
    hash.update(&digest, sizeof digest);
  }
  return hash.digest();
}

void ShardWriter::close() {
  assert(n_written_ == n_samples_);
  const auto guard = h5::lock();
  for (Written& written : datasets_) {
    assert(written.n_written == written.n_rows);
    h5::write_attribute(written.dataset.get(), "checksum", static_cast<int64_t>(written.checksum.digest()));
    written.dataset.close();
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
    const std::vector<std::string> names = stored_names(fields);
    for (size_t i = 0; i < names.size(); ++i) {
      h5::Id dataset = h5::own(H5Dopen2(file.get(), names[i].c_str(), H5P_DEFAULT), "H5Dopen2", path);
      if (const hsize_t n_bytes = H5Dget_storage_size(dataset.get()); n_bytes > 0)
        content.push_back({H5Dget_offset(dataset.get()), n_bytes});
      if (i >= fields.size() || description.statistics[i].mean.empty()) continue;
      h5::write_attribute(dataset.get(), "mean", description.statistics[i].mean);
      h5::write_attribute(dataset.get(), "stddev", description.statistics[i].stddev);
      dataset.close();
    }
    for (size_t f = 0; f < description.vocabularies.size(); ++f) {
      if (description.vocabularies[f].empty()) continue;
      h5::write_text_dataset(file.get(), fields[f].name + "_vocabulary", description.vocabularies[f], path);
    }
    for (size_t f = 0; f < description.tokenizers.size(); ++f)
      if (!description.tokenizers[f].empty())
        h5::write_text_dataset(file.get(), fields[f].name + "_tokenizer", {description.tokenizers[f]}, path);
    file.close();
  }
  std::sort(content.begin(), content.end(),
            [](const ContentRange& a, const ContentRange& b) { return a.offset < b.offset; });
  append_seal(path, content);
}

}  // namespace lockstep
