#include "io/loader/loader_sources.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "kernels/error.h"

namespace lockstep {

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
  for (const LoaderField& wanted : o.fields) {
    const Field& stored = dataset.field(wanted.name);
    const int64_t n = (wanted.window.rank() > 0 ? wanted.window : stored.shape).n_elements();
    if (n != wanted.shape.n_elements()) {
      throw Error(dataset.path(),
                  "field " + wanted.name + " has samples of shape " + stored.shape.str() +
                      ", which cannot be seen as " + wanted.shape.str(),
                  "give the model the input shape " + stored.shape.str() + ", or convert the data again");
    }
  }
}

namespace {

/// Chunks and blocks that a window touches, both ends of each of the shuffle's blocks included.
int64_t window_bytes(const Dataset& dataset, const std::string& field, const Shuffle& shuffle) {
  const Field& stored = dataset.field(field);
  const int64_t together = dataset.rows_of_block(field);
  if (together == 1) return 0;
  const int64_t rows = shuffle.window / shuffle.block * (shuffle.block + 2 * together);
  return std::min(rows, dataset.n_samples() + together) * stored.shape.n_elements() * size_of(stored.dtype);
}

}  // namespace

bool LoaderSources::make_cache(const Dataset& dataset, const LoaderOptions& options) {
  int64_t n_bytes = 0, n_cache_bytes = 0;
  for (const LoaderField& wanted : options.fields) {
    const Field& stored = dataset.field(wanted.name);
    n_bytes += dataset.n_samples() * stored.shape.n_elements() * size_of(stored.dtype);
  }
  if (n_bytes > options.cache_limit_bytes) return false;
  for (const LoaderField& wanted : options.fields) n_cache_bytes += RowCache::n_bytes(dataset, wanted.name);
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

LoaderSources::LoaderSources(const Dataset& dataset, const LoaderOptions& options) {
  const bool cached = make_cache(dataset, options);
  std::byte* at = memory_.data();
  const bool in_blocks = !cached && options.shuffle.is_on && options.shuffle.window > 0;
  int64_t n_window_bytes = 0;
  for (const LoaderField& wanted : options.fields) {
    RowConverter converter(dataset.field(wanted.name), wanted.dtype, wanted.mean, wanted.stddev,
                           wanted.n_classes, dataset.path(), wanted.window);
    std::optional<RowCache> cache;
    if (cached) {
      cache.emplace(dataset, wanted.name, at);
      at += RowCache::n_bytes(dataset, wanted.name);
    } else if (in_blocks) {
      n_window_bytes += window_bytes(dataset, wanted.name, options.shuffle);
    }
    fields_.emplace_back(dataset, wanted.name, std::move(converter), cache, options.micro_batch, in_blocks);
  }
  if (n_window_bytes > 0) dataset.keep_blocks(n_window_bytes);
  wants_sorted_ = !cached && options.shuffle.is_on;
}

}  // namespace lockstep
