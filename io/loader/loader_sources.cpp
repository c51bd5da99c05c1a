#include "io/loader/loader_sources.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "kernels/error.h"

namespace lockstep {

namespace {

void check_field(const Dataset& dataset, const LoaderField& wanted) {
  const Field& stored = dataset.field(wanted.name);
  const std::string where = dataset.path() + ": field " + wanted.name;
  if (wanted.lengths_only) {
    if (wanted.dtype != DType::kInt32 || wanted.shape.rank() > 0)
      throw Error(where, "lengths are one int32 a sample", "ask for int32, without dimensions");
    if (!stored.ragged)
      throw Error(where, "has samples of one length, " + stored.shape.str(), "ask for no lengths of them");
  }
  if (wanted.drop_first < 0 || wanted.drop_last < 0 || wanted.max_length < 0)
    throw Error(where, "numbers of elements to drop or to keep must not be negative", "give 0 or more");
  if (!stored.ragged && wanted.max_length > 0)
    throw Error(where, "has samples of one length, which are not cut", "let the windows be shorter");
  if (stored.ragged && wanted.max_length > 0 && wanted.max_length <= wanted.drop_first + wanted.drop_last)
    throw Error(where,
                "rows cut to " + std::to_string(wanted.max_length) + " elements have none left when " +
                    std::to_string(wanted.drop_first + wanted.drop_last) + " are dropped",
                "let rows be longer");
  if (wanted.lengths_only) return;
  Shape taken = wanted.window.rank() > 0 ? wanted.window : stored.shape;
  if (!stored.ragged && taken.rank() > 0)
    taken[0] = std::max<int64_t>(0, taken[0] - wanted.drop_first - wanted.drop_last);
  if (taken.n_elements() != wanted.shape.n_elements()) {
    throw Error(dataset.path(),
                "field " + wanted.name + " has " + (stored.ragged ? "elements" : "samples") + " of shape " +
                    taken.str() + ", which cannot be seen as " + wanted.shape.str(),
                "give the model the input shape " + taken.str() + ", or convert the data again");
  }
}

}  // namespace

void check_loader(const Dataset& dataset, const LoaderOptions& o, int64_t start_step) {
  const auto fail = [](const std::string& what, const std::string& remedy) {
    throw Error("data loader", what, remedy);
  };
  if (o.micro_batch < 1 || o.global_batch < 1 || o.global_batch % o.micro_batch != 0)
    fail("global batch " + std::to_string(o.global_batch) + " is not a multiple of micro-batch " +
             std::to_string(o.micro_batch),
         "choose batch.global as a multiple of batch.micro");
  const int64_t n_micros = o.global_batch / o.micro_batch;
  if (o.first_micro < 0 || o.n_micro < 1 || o.first_micro + o.n_micro > n_micros)
    fail("micro-batches " + std::to_string(o.first_micro) + " to " +
             std::to_string(o.first_micro + o.n_micro - 1) + " are outside the " + std::to_string(n_micros) +
             " of a step",
         "let first_micro and n_micro name some of them");
  if (o.prefetch < 1)
    fail("prefetch must be at least 1, found " + std::to_string(o.prefetch), "set data.prefetch: 2");
  if (o.threads < 0)
    fail("the number of threads must not be negative, found " + std::to_string(o.threads),
         "set data.threads: 1 or more; 0 chooses by the device");
  if (o.shuffle.window < 0 || o.shuffle.block < 1 ||
      (o.shuffle.window > 0 && o.shuffle.block > o.shuffle.window))
    fail("the shuffle's window of " + std::to_string(o.shuffle.window) + " samples and blocks of " +
             std::to_string(o.shuffle.block) + " do not fit together",
         "choose data.shuffle.block between 1 and the window");
  if (start_step < 0)
    fail("the first step must not be negative, found " + std::to_string(start_step), "begin with step 0");
  if (o.fields.empty()) fail("no field was asked for", "name the fields to load in `fields`");
  steps_per_epoch(o, dataset);
  for (const LoaderField& wanted : o.fields) check_field(dataset, wanted);
}

namespace {

/// Chunks and blocks that a window touches, both ends of each of the shuffle's blocks included.
int64_t window_bytes(const Dataset& dataset, const std::string& field, const Shuffle& shuffle) {
  const Field& stored = dataset.field(field);
  if (stored.ragged) return 0;
  const int64_t together = dataset.rows_of_block(field);
  if (together == 1) return 0;
  const int64_t rows = shuffle.window / shuffle.block * (shuffle.block + 2 * together);
  return std::min(rows, dataset.n_samples() + together) * stored.shape.n_elements() * size_of(stored.dtype);
}

}  // namespace

bool LoaderSources::make_cache(const Dataset& dataset, const LoaderOptions& options) {
  int64_t n_bytes = 0, n_cache_bytes = 0;
  for (const LoaderField& wanted : options.fields) {
    if (wanted.lengths_only || !offsets_.emplace(wanted.name, n_cache_bytes).second) continue;
    const Field& stored = dataset.field(wanted.name);
    n_bytes += dataset.n_elements(wanted.name) * stored.element().n_elements() * size_of(stored.dtype);
    n_cache_bytes += RowCache::n_bytes(dataset, wanted.name);
    if (n_bytes > options.cache_limit_bytes) return false;
  }
  if (n_cache_bytes == 0) return false;  // lengths alone
  const bool is_alone = !options.ranks || options.ranks->size() == 1;
  if (!is_alone) {
    if (std::optional<NodeMemory> shared = NodeMemory::shared(*options.ranks, n_cache_bytes)) {
      memory_ = std::move(*shared);
      return true;
    }
    if (n_bytes * options.ranks->local_size() > options.cache_limit_bytes) return false;
  }
  memory_ = NodeMemory(n_cache_bytes);
  return true;
}

LoaderSources::LoaderSources(const Dataset& dataset, const LoaderOptions& options,
                             const LengthBuckets& buckets) {
  const bool cached = make_cache(dataset, options), in_order = options.order == Order::kShuffled;
  const bool in_blocks = !cached && in_order && options.shuffle.is_on && options.shuffle.window > 0;
  int64_t n_window_bytes = 0;
  for (const LoaderField& wanted : options.fields) {
    std::optional<RowCache> cache;
    if (cached && !wanted.lengths_only) {
      cache.emplace(dataset, wanted.name, memory_.data() + offsets_.at(wanted.name));
    } else if (in_blocks) {
      n_window_bytes += window_bytes(dataset, wanted.name, options.shuffle);
    }
    const Field& stored = dataset.field(wanted.name);
    if (stored.ragged) {
      const int64_t longest = buckets.extents().back()[fields_.size()];
      fields_.emplace_back(RaggedSource(dataset, wanted, cache, longest));
      continue;
    }
    RowConverter converter(stored, wanted.dtype, wanted.mean, wanted.stddev, wanted.n_classes, dataset.path(),
                           wanted.window, wanted.drop_first, wanted.drop_last);
    fields_.emplace_back(
        RowSource(dataset, wanted.name, std::move(converter), cache, options.micro_batch, in_blocks));
  }
  if (n_window_bytes > 0) dataset.keep_blocks(n_window_bytes);
  wants_sorted_ = !cached && (!in_order || options.shuffle.is_on);
}

int64_t FieldSource::most_row_bytes() const {
  if (const auto* ragged = std::get_if<RaggedSource>(&source_))
    return std::max<int64_t>(1, ragged->longest()) * ragged->element_bytes();
  return std::get<RowSource>(source_).converter().dst_bytes();
}

int64_t FieldSource::staging_bytes() const {
  return std::visit([](const auto& source) { return source.staging_bytes(); }, source_);
}

void FieldSource::fill(std::span<const RowRequest> requests, int64_t micro_batch, int64_t extent,
                       std::byte* dst, std::byte* staging) const {
  if (const auto* ragged = std::get_if<RaggedSource>(&source_))
    return ragged->gather(requests, micro_batch, extent, dst, staging);
  const auto& rows = std::get<RowSource>(source_);
  const auto n = static_cast<int64_t>(requests.size());
  const int64_t row_bytes = rows.converter().dst_bytes();
  rows.gather(requests.data(), n, dst, staging);
  std::memset(dst + n * row_bytes, 0, static_cast<size_t>((micro_batch - n) * row_bytes));
}

}  // namespace lockstep
