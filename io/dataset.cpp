// A dataset over its shards: each is inspected once, closed, and compared with the first.
#include "io/dataset.h"

#include <algorithm>
#include <cassert>

#include "io/shard_contents.h"
#include "io/shard_paths.h"
#include "io/shard_reader.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

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
  std::string path;
  int64_t n_samples = 0;
  std::vector<Shard> shards;
  std::vector<std::string> class_names;
  std::vector<StoredField> unusable;  // of the first shard

  // Parallel to `fields`.
  std::vector<Field> fields;
  std::vector<Statistics> statistics;
  std::vector<ShardReader::Column> columns;
  std::vector<std::vector<std::optional<uint64_t>>> checksums;  // [field][shard]

  std::unique_ptr<ShardReader> reader;

  size_t index_of(const std::string& name) const;
  size_t shard_of(int64_t row) const;
  void adopt_first(const ShardContents& contents, const std::string& shard_path);
  void add_shard(const std::string& shard_path);
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

/// The last shard that begins at or before the row.
size_t Dataset::Impl::shard_of(int64_t row) const {
  const auto next = std::upper_bound(shards.begin(), shards.end(), row,
                                     [](int64_t r, const Shard& shard) { return r < shard.first; });
  return static_cast<size_t>(next - shards.begin()) - 1;
}

void Dataset::Impl::adopt_first(const ShardContents& contents, const std::string& shard_path) {
  class_names = contents.class_names;
  for (const StoredField& stored : contents.fields) {
    if (!stored.unusable.empty()) {
      unusable.push_back(stored);
      continue;
    }
    fields.push_back(stored.field);
    statistics.push_back(stored.statistics);
    columns.push_back({stored.field.name, stored.field.shape.n_elements() * size_of(stored.field.dtype), {}});
    checksums.emplace_back();
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
    const auto i = static_cast<size_t>(it - fields.begin());
    if (stored.statistics.mean != statistics[i].mean || stored.statistics.stddev != statistics[i].stddev)
      throw Error(shard_path, "dataset " + name + " has another mean or stddev than " + shards.front().path,
                  "the attributes describe the whole dataset; convert all shards together");
    columns[i].offset_bytes.push_back(stored.offset_bytes);
    checksums[i].push_back(stored.checksum);
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
  if (__builtin_add_overflow(n_samples, n_rows, &n_samples))
    throw Error(shard_path, "claims " + std::to_string(n_rows) + " samples", kDamagedRemedy);
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
  std::vector<std::string> paths;
  std::vector<int64_t> n_rows;
  for (const Shard& shard : impl->shards) {
    paths.push_back(shard.path);
    n_rows.push_back(shard.n_samples);
  }
  impl->reader = std::make_unique<ShardReader>(std::move(paths), std::move(n_rows), impl->columns);
  return Dataset(std::move(impl));
}

const std::string& Dataset::path() const { return impl_->path; }
int64_t Dataset::n_samples() const { return impl_->n_samples; }
const std::vector<Field>& Dataset::fields() const { return impl_->fields; }
const Field& Dataset::field(const std::string& name) const { return impl_->fields[impl_->index_of(name)]; }
const std::vector<std::string>& Dataset::class_names() const { return impl_->class_names; }
const std::vector<Dataset::Shard>& Dataset::shards() const { return impl_->shards; }

const Dataset::Statistics* Dataset::statistics(const std::string& field) const {
  const Statistics& statistics = impl_->statistics[impl_->index_of(field)];
  return statistics.mean.empty() ? nullptr : &statistics;
}

int64_t Dataset::rows_decoded_together(const std::string& field) const {
  return impl_->reader->rows_decoded_together(impl_->index_of(field), 0);
}

int64_t Dataset::rows_of_block(const std::string& field) const {
  return impl_->reader->rows_of_block(impl_->index_of(field), 0);
}

void Dataset::keep_blocks(int64_t n_bytes) const { impl_->reader->keep_blocks(n_bytes); }

std::shared_ptr<const std::byte> Dataset::row_of_block(const std::string& field, int64_t row) const {
  assert(row >= 0 && row < n_samples());
  const size_t shard = impl_->shard_of(row);
  return impl_->reader->row_of_block(impl_->index_of(field), shard, row - impl_->shards[shard].first);
}

void Dataset::read(const std::string& field, int64_t first, int64_t count, void* dst) const {
  assert(first >= 0 && count >= 0 && first + count <= n_samples());
  const size_t index = impl_->index_of(field);
  auto* out = static_cast<std::byte*>(dst);
  const auto& shards = impl_->shards;
  for (size_t shard = impl_->shard_of(first); count > 0; ++shard) {
    const int64_t in_shard = first - shards[shard].first;
    const int64_t n = std::min(count, shards[shard].n_samples - in_shard);
    if (n <= 0) continue;
    impl_->reader->read(index, shard, in_shard, n, out);
    out += n * impl_->columns[index].row_bytes;
    first += n;
    count -= n;
  }
}

std::vector<std::string> Dataset::verify(int64_t* n_checked, int64_t* n_unchecked, int part,
                                         int n_parts) const {
  std::vector<std::string> problems;
  *n_checked = *n_unchecked = 0;
  for (auto shard = static_cast<size_t>(part); shard < impl_->shards.size();
       shard += static_cast<size_t>(n_parts)) {
    for (size_t field = 0; field < impl_->fields.size(); ++field) {
      const std::optional<uint64_t>& expected = impl_->checksums[field][shard];
      if (!expected) {
        ++*n_unchecked;
        continue;
      }
      ++*n_checked;
      const std::string where = impl_->shards[shard].path + ": dataset " + impl_->fields[field].name;
      try {
        if (impl_->reader->checksum(field, shard, impl_->shards[shard].n_samples) != *expected)
          problems.push_back(where + ": wrong checksum");
      } catch (const Error& error) {
        problems.push_back(where + ": cannot be read: " + error.reason());
      }
    }
  }
  return problems;
}

}  // namespace lockstep
