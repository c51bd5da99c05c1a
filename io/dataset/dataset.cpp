// A dataset over its shards: each is inspected once, closed, and compared with the first.
#include "io/dataset/dataset.h"

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <map>

#include "io/dataset/conversion_parts.h"
#include "io/dataset/row_transform.h"
#include "io/dataset/shard_contents.h"
#include "io/dataset/shard_paths.h"
#include "io/dataset/shard_reader.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr const char* kStoreNumbers =
    "store samples as datasets of numbers, one row each, or name another field";

std::string list(const std::vector<std::string>& names) {
  constexpr size_t kMostListed = 20;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMostListed); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMostListed) text += " … (" + std::to_string(names.size()) + " in all)";
  return text.empty() ? "none" : text;
}

std::string list(const std::vector<Field>& fields) {
  std::vector<std::string> names;
  for (const Field& field : fields) names.push_back(field.name);
  return list(names);
}

std::string describe(const Field& field) {
  return std::string(name_of(field.dtype)) + " " + field.shape.str() +
         (field.ragged ? " in rows of unequal lengths" : "");
}

}  // namespace

struct Dataset::Impl {
  std::string path;
  int64_t n_samples = 0;
  std::vector<Shard> shards;
  std::vector<std::string> class_names;
  std::vector<PassedOver> passed_over;
  std::vector<Part> parts;  // of several datasets, or the one that windows are of: no reader here then

  // Parallel to `fields`.
  std::vector<Field> fields;
  std::vector<Statistics> statistics;
  std::vector<Traits> traits;
  std::vector<std::vector<std::string>> vocabularies;
  std::vector<std::string> tokenizers;
  std::vector<RowSpans> spans;  // of parts: theirs, unless these are windows
  std::vector<RowTransform> transforms;
  std::vector<std::vector<int64_t>> begins;  // [field][shard]: first element; behind them, the number of all

  // Parallel to `fields`, and behind them the offsets of ragged ones.
  std::vector<ShardReader::Column> columns;
  std::vector<std::vector<std::optional<uint64_t>>> checksums;  // [column][shard]

  std::unique_ptr<ShardReader> reader;

  size_t index_of(const std::string& name) const;
  size_t shard_of(size_t field, int64_t element) const;
  void read(size_t field, int64_t first, int64_t count, std::byte* out) const;
  void read_elements(size_t field, int64_t first, int64_t count, void* dst) const;
  void add(const StoredField& first, const std::vector<StoredField>& in_shards);
};

size_t Dataset::Impl::index_of(const std::string& name) const {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return i;
  }
  for (const PassedOver& passed : passed_over) {
    if (passed.name == name)
      throw Error(path, "dataset " + name + " cannot be a field: it " + passed.reason,
                  passed.remedy.empty() ? "fields of this dataset: " + list(fields) : passed.remedy);
  }
  throw Error(path, "has no field \"" + name + "\"", "fields that exist: " + list(fields));
}

/// The last shard that begins at or before the element.
size_t Dataset::Impl::shard_of(size_t field, int64_t element) const {
  const std::vector<int64_t>& begin = begins[field];
  const auto next = std::upper_bound(begin.begin(), begin.end() - 1, element);
  return static_cast<size_t>(next - begin.begin()) - 1;
}

namespace {

/// What is known of a field while shards are compared.
struct Candidate {
  StoredField first;                   // as in the first shard; dtype: of the widest so far
  std::vector<StoredField> in_shards;  // one per shard
  std::string why_not, remedy;         // it was passed over; then in_shards is not kept up
};

bool is_float(DType dtype) {
  return dtype != DType::kUInt8 && dtype != DType::kInt32 && dtype != DType::kInt64;
}

/// The type that holds the values of both; nothing where one counts and the other measures.
std::optional<DType> wider(DType a, DType b) {
  if (a == b) return a;
  if (is_float(a) != is_float(b)) return {};
  if (!is_float(a)) return size_of(a) > size_of(b) ? a : b;
  if (size_of(a) == size_of(b)) return DType::kFloat32;  // float16 and bfloat16
  return size_of(a) > size_of(b) ? a : b;
}

/// Compares shards one after the other with the first.
class Comparison {
 public:
  Comparison(const std::string& path, const DatasetOptions& options) : path_(path), options_(options) {}

  void add(const std::string& shard_path, ShardContents contents);
  [[noreturn]] void refuse_empty() const;

  std::vector<Dataset::Shard> shards;
  int64_t n_samples = 0;
  std::vector<std::string> class_names;
  std::vector<Candidate> candidates;
  ConversionParts parts;

 private:
  void adopt_first(const ShardContents& contents, const std::string& shard_path);
  void pass_over(Candidate& candidate, const std::string& why, const std::string& remedy);
  void compare(Candidate& candidate, const StoredField* stored, int64_t n_rows,
               const std::string& shard_path);
  bool is_asked_for(const std::string& name) const {
    return std::find(options_.fields.begin(), options_.fields.end(), name) != options_.fields.end();
  }

  const std::string& path_;
  const DatasetOptions& options_;
  std::string counted_by_;  // the field whose rows are the samples
};

/// The field whose rows are the samples: asked for, or of the usual names, or as long as most of them.
std::string choose_counter(const std::vector<StoredField>& fields, const DatasetOptions& options) {
  const auto usable = [&](const std::string& name) {
    return std::any_of(fields.begin(), fields.end(),
                       [&](const StoredField& f) { return f.field.name == name && f.unusable.empty(); });
  };
  if (!options.fields.empty()) return options.fields.front();
  for (const char* name : {"image", "images", "input", "data", "x", "X"})
    if (usable(name)) return name;
  std::map<int64_t, int> n_of_length;
  for (const StoredField& f : fields)
    if (f.unusable.empty()) n_of_length[f.n_rows] += f.n_rows > 0;
  std::string chosen;
  std::pair<int, int64_t> best{0, -1};
  for (const StoredField& f : fields) {
    if (!f.unusable.empty()) continue;
    const std::pair<int, int64_t> score{n_of_length[f.n_rows], f.n_rows};
    if (score > best) best = score, chosen = f.field.name;
  }
  return chosen;
}

void Comparison::adopt_first(const ShardContents& contents, const std::string& shard_path) {
  class_names = contents.class_names;
  for (const StoredField& stored : contents.fields)
    candidates.push_back({stored, {}, stored.unusable, stored.remedy});
  counted_by_ = choose_counter(contents.fields, options_);
  if (counted_by_.empty()) {
    std::string found;
    for (const StoredField& stored : contents.fields)
      found += (found.empty() ? "; " : ", ") + stored.field.name + " " + stored.unusable;
    throw Error(shard_path, "holds no dataset of numbers with a sample dimension" + found,
                "store samples as datasets whose first dimension counts samples, such as image and label");
  }
}

void Comparison::refuse_empty() const {
  for (const Candidate& candidate : candidates) {  // what holds the samples may be among these
    if (candidate.why_not.empty() || is_asked_for(counted_by_)) continue;
    throw Error(path_,
                "the dataset has no samples; passed over: " + candidate.first.field.name + ", which " +
                    candidate.why_not,
                candidate.remedy.empty() ? kStoreNumbers : candidate.remedy);
  }
  throw Error(path_, "the dataset has no samples", "convert it again from input that is not empty");
}

void Comparison::pass_over(Candidate& candidate, const std::string& why, const std::string& remedy) {
  candidate.why_not = why;
  candidate.remedy = remedy;
  candidate.in_shards.clear();
}

void Comparison::compare(Candidate& candidate, const StoredField* stored, int64_t n_rows,
                         const std::string& shard_path) {
  const std::string& first_path = shards.empty() ? shard_path : shards.front().path;
  const char* const together = "convert all shards together, or move the file out of the folder";
  if (!stored)
    return pass_over(candidate, "is missing in " + shard_path + ", while " + first_path + " has it",
                     together);
  if (!stored->unusable.empty())
    return pass_over(candidate, stored->unusable + " (in " + shard_path + ")", stored->remedy);
  if (stored->n_rows != n_rows)
    return pass_over(candidate,
                     "has another sample count in " + shard_path + ": " + std::to_string(stored->n_rows) +
                         " rows, but " + counted_by_ + " has " + std::to_string(n_rows),
                     "give fields one row per sample, or name fields that belong together");
  const std::optional<DType> dtype = wider(candidate.first.field.dtype, stored->field.dtype);
  if (!dtype || !(candidate.first.field.shape == stored->field.shape) ||
      candidate.first.field.ragged != stored->field.ragged)
    return pass_over(candidate,
                     "has samples of " + describe(stored->field) + " in " + shard_path + ", but " +
                         first_path + " has " + describe(candidate.first.field),
                     "convert all shards together");
  if (stored->statistics.mean != candidate.first.statistics.mean ||
      stored->statistics.stddev != candidate.first.statistics.stddev)
    return pass_over(candidate, "has another mean or stddev in " + shard_path + " than in " + first_path,
                     "the attributes describe the whole dataset; convert all shards together");
  if (stored->vocabulary != candidate.first.vocabulary)
    return pass_over(candidate, "has another vocabulary in " + shard_path + " than in " + first_path,
                     "convert all shards together");
  if (stored->tokenizer != candidate.first.tokenizer)
    return pass_over(candidate, "has another tokenizer in " + shard_path + " than in " + first_path,
                     "convert all shards together");
  const Dataset::Traits &a = candidate.first.traits, &b = stored->traits;
  if (a.scale != b.scale || a.offset != b.offset || a.missing != b.missing || a.layout != b.layout)
    return pass_over(candidate,
                     "has another scale_factor, add_offset, _FillValue or layout in " + shard_path +
                         " than in " + first_path,
                     "write all shards with the same attributes");
  candidate.first.field.dtype = *dtype;
  candidate.in_shards.push_back(*stored);
  candidate.in_shards.back().vocabulary.clear();
  candidate.in_shards.back().tokenizer.clear();
}

void Comparison::add(const std::string& shard_path, ShardContents contents) {
  if (shards.empty()) adopt_first(contents, shard_path);
  if (!contents.class_names.empty() && contents.class_names != class_names)
    throw Error(shard_path,
                "has other class names (" + list(contents.class_names) + ") than " + shards.front().path +
                    " (" + list(class_names) + ")",
                "convert all shards together");
  parts.add(shard_path, contents.part_of);
  const auto find = [&](const std::string& name) {
    const auto it =
        std::lower_bound(contents.fields.begin(), contents.fields.end(), name,
                         [](const StoredField& f, const std::string& n) { return f.field.name < n; });
    return it != contents.fields.end() && it->field.name == name ? &*it : nullptr;
  };
  const StoredField* counter = find(counted_by_);
  if (!counter) {
    std::vector<std::string> names;
    for (const StoredField& stored : contents.fields)
      if (stored.unusable.empty()) names.push_back(stored.field.name);
    throw Error(shard_path,
                "has no field \"" + counted_by_ + "\"" +
                    (shards.empty() ? "" : ", but " + shards.front().path + " has"),
                shards.empty() ? "fields that exist: " + list(names)
                               : "convert all shards together, or move the file out of the folder");
  }
  if (!counter->unusable.empty())
    throw Error(shard_path, "dataset " + counted_by_ + " cannot be a field: it " + counter->unusable,
                counter->remedy.empty() ? kStoreNumbers : counter->remedy);
  for (Candidate& candidate : candidates) {
    if (!candidate.why_not.empty()) continue;
    compare(candidate, find(candidate.first.field.name), counter->n_rows, shard_path);
    if (!candidate.why_not.empty() && is_asked_for(candidate.first.field.name))
      throw Error(path_,
                  "dataset " + candidate.first.field.name + " cannot be a field: it " + candidate.why_not,
                  candidate.remedy.empty() ? kStoreNumbers : candidate.remedy);
  }
  shards.push_back({shard_path, n_samples, counter->n_rows});
  if (__builtin_add_overflow(n_samples, counter->n_rows, &n_samples))
    throw Error(shard_path, "claims " + std::to_string(counter->n_rows) + " samples", kDamagedRemedy);
}

}  // namespace

Dataset::Dataset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

/// One more column, as it lies in each shard; its type is that of `first`.
void Dataset::Impl::add(const StoredField& first, const std::vector<StoredField>& in_shards) {
  ShardReader::Column column;
  column.name = first.field.name;
  column.row_bytes = first.field.shape.n_elements() * size_of(first.field.dtype);
  column.dtype = first.field.dtype;
  checksums.emplace_back();
  for (const StoredField& stored : in_shards) {
    const bool is_converted = stored.field.dtype != first.field.dtype;  // by HDF5, to the wider type
    column.offset_bytes.push_back(is_converted ? -1 : stored.offset_bytes);
    column.has_chunks_here.push_back(!is_converted && stored.has_chunks_here);
    column.n_rows.push_back(stored.n_elements);
    checksums.back().push_back(stored.checksum);
  }
  columns.push_back(std::move(column));
}

Dataset Dataset::open(const std::string& path, const DatasetOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  Comparison comparison(path, options);
  for (const std::string& shard_path : shard_paths(path))
    comparison.add(shard_path, inspect_shard(shard_path, options));
  if (comparison.n_samples == 0) comparison.refuse_empty();
  if (!options.partial && std::filesystem::is_directory(path)) comparison.parts.check(path);
  impl->n_samples = comparison.n_samples;
  impl->shards = std::move(comparison.shards);
  impl->class_names = std::move(comparison.class_names);

  std::vector<std::string> paths;
  for (const Shard& shard : impl->shards) paths.push_back(shard.path);
  for (const Candidate& candidate : comparison.candidates) {
    if (!candidate.why_not.empty()) {
      impl->passed_over.push_back({candidate.first.field.name, candidate.why_not, candidate.remedy});
      continue;
    }
    const StoredField& first = candidate.first;
    const std::string layout = options.layout.empty() ? first.traits.layout : options.layout;
    std::vector<int64_t> begins{0};
    std::vector<int32_t> lengths;
    for (const StoredField& stored : candidate.in_shards) {
      begins.push_back(begins.back() + stored.n_elements);
      lengths.insert(lengths.end(), stored.lengths.begin(), stored.lengths.end());
    }
    RowTransform transform(first.field, first.traits, layout == "NHWC");
    impl->fields.push_back(transform.delivered());
    impl->transforms.push_back(std::move(transform));
    impl->statistics.push_back(first.statistics);
    impl->traits.push_back(first.traits);
    impl->traits.back().layout = layout;
    impl->vocabularies.push_back(first.vocabulary);
    impl->tokenizers.push_back(first.tokenizer);
    impl->spans.push_back(first.field.ragged ? RowSpans(std::move(lengths)) : RowSpans());
    impl->begins.push_back(std::move(begins));
    impl->add(first, candidate.in_shards);
  }
  for (const Candidate& candidate : comparison.candidates) {
    if (!candidate.why_not.empty() || !candidate.first.field.ragged) continue;
    std::vector<StoredField> offsets;
    for (const StoredField& stored : candidate.in_shards) offsets.push_back(stored.offsets.front());
    impl->add(offsets.front(), offsets);
  }
  impl->reader = std::make_unique<ShardReader>(std::move(paths), impl->columns);
  for (const std::string& name : options.fields) impl->index_of(name);
  return Dataset(std::move(impl));
}

Dataset Dataset::join(std::vector<Part> parts) {
  auto impl = std::make_unique<Impl>();
  for (const Part& part : parts) {
    const Dataset& from = *part.dataset;
    Field field = from.field(part.field);
    field.name = part.name;
    if (impl->fields.empty()) {
      impl->path = from.path();
      impl->n_samples = from.n_samples();
    } else if (from.n_samples() != impl->n_samples) {
      throw Error(from.path(),
                  "has " + std::to_string(from.n_samples()) + " samples of " + part.field + ", but " +
                      impl->path + " has " + std::to_string(impl->n_samples),
                  "fields of several files belong together row by row: give them one row per sample");
    }
    if (impl->class_names.empty()) impl->class_names = from.class_names();
    const Statistics* statistics = from.statistics(part.field);
    impl->statistics.push_back(statistics ? *statistics : Statistics{});
    impl->traits.push_back(from.traits(part.field));
    impl->vocabularies.push_back(from.vocabulary(part.field));
    impl->tokenizers.push_back(from.tokenizer(part.field));
    impl->spans.push_back(from.row_spans(part.field));
    impl->fields.push_back(std::move(field));
    const bool is_new = std::none_of(impl->shards.begin(), impl->shards.end(), [&](const Shard& shard) {
      return shard.path == from.shards().front().path;
    });
    if (is_new) impl->shards.insert(impl->shards.end(), from.shards().begin(), from.shards().end());
  }
  impl->parts = std::move(parts);
  return Dataset(std::move(impl));
}

Dataset Dataset::windows(std::shared_ptr<const Dataset> flat, const std::string& name,
                         const WindowOptions& options) {
  const Field& field = flat->field(name);
  const std::string where = flat->path() + ": field " + name;
  if (field.ragged || field.windows)
    throw Error(where,
                field.ragged ? "has rows of unequal lengths, which no window is cut out of"
                             : "is cut into windows already",
                "name a field whose rows follow one another as one stream");
  int64_t count = 0;
  if (options.length < 1 || options.stride < 1 || options.extra < 0 ||
      __builtin_add_overflow(options.length, options.extra, &count))
    throw Error(where,
                "windows of length " + std::to_string(options.length) + ", stride " +
                    std::to_string(options.stride) + " and " + std::to_string(options.extra) +
                    " further elements are not possible",
                "choose a length and a stride of at least 1");
  if (field.shape.rank() + 2 > Shape::kMaxRank)
    throw Error(where, "elements of shape " + field.shape.str() + " have too many dimensions for windows",
                "store elements of at most " + std::to_string(Shape::kMaxRank - 2) + " dimensions");
  const int64_t n = flat->n_samples();
  if (n < count)
    throw Error(where,
                "has " + std::to_string(n) + " elements, but one window takes " + std::to_string(count) +
                    " (length " + std::to_string(options.length) + " and " + std::to_string(options.extra) +
                    " more)",
                "choose a length of at most " + std::to_string(std::max<int64_t>(0, n - options.extra)) +
                    ", or give more data");
  auto impl = std::make_unique<Impl>();
  impl->path = flat->path();
  impl->n_samples = (n - count) / options.stride + 1;
  impl->class_names = flat->class_names();
  impl->fields.push_back({name, field.dtype, field.shape.with_front(count), false, true});
  const Statistics* statistics = flat->statistics(name);
  impl->statistics.push_back(statistics ? *statistics : Statistics{});
  impl->traits.push_back(flat->traits(name));
  impl->vocabularies.push_back(flat->vocabulary(name));
  impl->tokenizers.push_back(flat->tokenizer(name));
  impl->spans.emplace_back(options.stride, count);
  // A window belongs to the shard that it begins in.
  const auto first_from = [&](int64_t element) {
    return std::min(impl->n_samples, (element + options.stride - 1) / options.stride);
  };
  for (const Shard& shard : flat->shards()) {
    const int64_t first = first_from(shard.first);
    impl->shards.push_back({shard.path, first, first_from(shard.first + shard.n_samples) - first});
  }
  impl->parts.push_back({name, name, std::move(flat)});
  return Dataset(std::move(impl));
}

Dataset Dataset::subset(std::shared_ptr<const Dataset> all, std::vector<int64_t> rows) {
  assert(std::is_sorted(rows.begin(), rows.end()));
  auto impl = std::make_unique<Impl>();
  impl->path = all->path();
  impl->n_samples = static_cast<int64_t>(rows.size());
  impl->class_names = all->class_names();
  impl->passed_over = all->passed_over();
  impl->shards = all->shards();
  const auto kept = std::make_shared<const std::vector<int64_t>>(std::move(rows));
  for (const Field& field : all->fields()) {
    impl->fields.push_back(field);
    impl->statistics.emplace_back();
    impl->traits.push_back(all->traits(field.name));
    impl->vocabularies.push_back(all->vocabulary(field.name));
    impl->tokenizers.push_back(all->tokenizer(field.name));
    impl->spans.emplace_back(all->row_spans(field.name), kept);
    impl->parts.push_back({field.name, field.name, all});
  }
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

void Dataset::set_statistics(const std::string& field, Statistics statistics) {
  impl_->statistics[impl_->index_of(field)] = std::move(statistics);
}

const Dataset::Traits& Dataset::traits(const std::string& field) const {
  return impl_->traits[impl_->index_of(field)];
}

const std::vector<std::string>& Dataset::vocabulary(const std::string& field) const {
  return impl_->vocabularies[impl_->index_of(field)];
}

const std::string& Dataset::tokenizer(const std::string& field) const {
  return impl_->tokenizers[impl_->index_of(field)];
}

const RowSpans& Dataset::row_spans(const std::string& field) const {
  return impl_->spans[impl_->index_of(field)];
}

const std::vector<int32_t>& Dataset::row_lengths(const std::string& field) const {
  return row_spans(field).lengths();
}

int64_t Dataset::n_elements(const std::string& field) const {
  const size_t i = impl_->index_of(field);
  if (!impl_->parts.empty()) return impl_->parts[i].dataset->n_elements(impl_->parts[i].field);
  return impl_->begins[i].back();
}

const std::vector<Dataset::PassedOver>& Dataset::passed_over() const { return impl_->passed_over; }

int64_t Dataset::rows_decoded_together(const std::string& field) const {
  const size_t i = impl_->index_of(field);
  if (!impl_->parts.empty()) return impl_->parts[i].dataset->rows_decoded_together(impl_->parts[i].field);
  return impl_->reader->rows_decoded_together(i, 0);
}

int64_t Dataset::rows_of_block(const std::string& field) const {
  const size_t i = impl_->index_of(field);
  if (!impl_->spans[i].is_identity()) return 1;
  if (!impl_->parts.empty()) return impl_->parts[i].dataset->rows_of_block(impl_->parts[i].field);
  return impl_->transforms[i].is_identity() ? impl_->reader->rows_of_block(i, 0) : 1;
}

void Dataset::keep_blocks(int64_t n_bytes) const {
  for (const Part& part : impl_->parts) part.dataset->keep_blocks(n_bytes);
  if (impl_->reader) impl_->reader->keep_blocks(n_bytes);
}

std::shared_ptr<const std::byte> Dataset::row_of_block(const std::string& field, int64_t row) const {
  return row_of_block(impl_->index_of(field), row);
}

std::shared_ptr<const std::byte> Dataset::row_of_block(size_t i, int64_t row) const {
  assert(row >= 0 && row < n_samples());
  if (!impl_->spans[i].is_identity()) return nullptr;
  if (!impl_->parts.empty()) return impl_->parts[i].dataset->row_of_block(impl_->parts[i].field, row);
  if (!impl_->transforms[i].is_identity()) return nullptr;
  const size_t shard = impl_->shard_of(i, row);
  return impl_->reader->row_of_block(i, shard, row - impl_->begins[i][shard]);
}

size_t Dataset::index_of(const std::string& field) const { return impl_->index_of(field); }

void Dataset::read(const std::string& field, int64_t first, int64_t count, void* dst) const {
  read(impl_->index_of(field), first, count, dst);
}

void Dataset::read(size_t field, int64_t first, int64_t count, void* dst) const {
  assert(first >= 0 && count >= 0 && first + count <= n_samples());
  const RowSpans& spans = impl_->spans[field];
  const Field& of = impl_->fields[field];
  if (spans.is_ragged())
    throw Error(path() + ": field " + of.name, "has rows of unequal lengths", "read it row by row");
  if (count == 0) return;
  if (spans.is_identity()) return impl_->read_elements(field, first, count, dst);
  const int64_t row_bytes = of.shape.n_elements() * size_of(of.dtype);
  for (int64_t row = first; row < first + count; ++row) {
    const RowSpan span = spans.of(row);
    impl_->read_elements(field, span.first, span.count,
                         static_cast<std::byte*>(dst) + (row - first) * row_bytes);
  }
}

void Dataset::read_ragged(const std::string& field, int64_t row, int64_t first_element, int64_t count,
                          void* dst) const {
  assert(row >= 0 && row < n_samples());
  const RowSpan span = row_spans(field).of(row);
  assert(first_element >= 0 && count >= 0 && first_element + count <= span.count);
  if (count > 0) read_elements(field, span.first + first_element, count, dst);
}

void Dataset::read_elements(const std::string& field, int64_t first, int64_t count, void* dst) const {
  assert(first >= 0 && count >= 0 && first + count <= n_elements(field));
  impl_->read_elements(impl_->index_of(field), first, count, dst);
}

void Dataset::Impl::read_elements(size_t field, int64_t first, int64_t count, void* dst) const {
  if (!parts.empty()) return parts[field].dataset->read_elements(parts[field].field, first, count, dst);
  read(field, first, count, static_cast<std::byte*>(dst));
}

void Dataset::Impl::read(size_t field, int64_t first, int64_t count, std::byte* out) const {
  const RowTransform& transform = transforms[field];
  const std::vector<int64_t>& begin = begins[field];
  constexpr int64_t kTransformedBytes = int64_t{4} << 20;
  const int64_t most =
      transform.is_identity()
          ? INT64_MAX
          : std::max<int64_t>(1, kTransformedBytes / std::max<int64_t>(1, transform.src_bytes()));
  thread_local std::vector<std::byte> stored;
  for (size_t shard = shard_of(field, first); count > 0;) {
    const int64_t in_shard = first - begin[shard];
    const int64_t n = std::min({count, begin[shard + 1] - first, most});
    if (n <= 0) {
      ++shard;
      continue;
    }
    if (transform.is_identity()) {
      reader->read(field, shard, in_shard, n, out);
    } else {
      stored.resize(static_cast<size_t>(n * transform.src_bytes()));
      reader->read(field, shard, in_shard, n, stored.data());
      transform.apply(stored.data(), out, n, in_shard, shards[shard].path);
    }
    out += n * transform.dst_bytes();
    first += n;
    count -= n;
  }
}

std::vector<std::string> Dataset::verify(int64_t* n_checked, int64_t* n_unchecked, int part,
                                         int n_parts) const {
  std::vector<std::string> problems;
  *n_checked = *n_unchecked = 0;
  std::vector<const Dataset*> seen;  // fields may be of one dataset
  for (const Part& of : impl_->parts) {
    if (std::find(seen.begin(), seen.end(), of.dataset.get()) != seen.end()) continue;
    seen.push_back(of.dataset.get());
    int64_t checked = 0, unchecked = 0;
    for (std::string& problem : of.dataset->verify(&checked, &unchecked, part, n_parts))
      problems.push_back(std::move(problem));
    *n_checked += checked;
    *n_unchecked += unchecked;
  }
  for (auto shard = static_cast<size_t>(part); impl_->parts.empty() && shard < impl_->shards.size();
       shard += static_cast<size_t>(n_parts)) {
    for (size_t column = 0; column < impl_->columns.size(); ++column) {
      const std::optional<uint64_t>& expected = impl_->checksums[column][shard];
      ++*(expected ? n_checked : n_unchecked);
      const std::string where = impl_->shards[shard].path + ": dataset " + impl_->columns[column].name;
      try {
        if (!expected) {
          impl_->reader->read_through(column, shard);
        } else if (impl_->reader->checksum(column, shard) != *expected) {
          problems.push_back(where + ": wrong checksum");
        }
      } catch (const Error& error) {
        problems.push_back(where + ": cannot be read: " + error.reason());
      }
    }
  }
  return problems;
}

}  // namespace lockstep
