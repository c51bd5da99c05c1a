// The bounds of the buckets are found by dynamic programming over the histogram of lengths, in whole numbers:
// the cost of a bucket is its number of rows times its bound.
#include "io/loader/length_buckets.h"

#include <algorithm>
#include <limits>
#include <map>

#include "kernels/error.h"

namespace lockstep {

namespace {

struct LengthBin {
  int64_t top = 0, n_rows = 0;  // the largest length in it, and rows
};

/// One bin per length that occurs, or of several lengths each where there are many.
std::vector<LengthBin> histogram(const std::map<int64_t, int64_t>& n_of_length) {
  constexpr int64_t kMostBins = 512;
  const int64_t first = n_of_length.begin()->first, last = n_of_length.rbegin()->first;
  const int64_t width = (last - first) / kMostBins + 1;
  std::vector<LengthBin> bins;
  int64_t current = -1;
  for (const auto& [length, n_rows] : n_of_length) {
    const int64_t bin = (length - first) / width;
    if (bin != current) bins.emplace_back();
    current = bin;
    bins.back().top = length;
    bins.back().n_rows += n_rows;
  }
  return bins;
}

/// The tops of at most `most` runs of bins with the least rows times top in all.
std::vector<int64_t> best_bounds(const std::vector<LengthBin>& bins, int most) {
  const size_t n = bins.size();
  std::vector<int64_t> rows_below(n + 1, 0);
  for (size_t i = 0; i < n; ++i) rows_below[i + 1] = rows_below[i] + bins[i].n_rows;
  // cost[k][end]: of the bins before `end` in k + 1 runs; from[k][end]: where the last of these begins.
  const auto n_runs = std::min(static_cast<size_t>(most), n);
  const auto never = std::numeric_limits<int64_t>::max();
  std::vector<std::vector<int64_t>> cost(n_runs, std::vector<int64_t>(n + 1, never));
  std::vector<std::vector<size_t>> from(n_runs, std::vector<size_t>(n + 1, 0));
  for (size_t k = 0; k < n_runs; ++k) {
    for (size_t end = k + 1; end <= n; ++end) {
      for (size_t begin = k; begin < (k == 0 ? 1 : end); ++begin) {
        const int64_t before = k == 0 ? 0 : cost[k - 1][begin];
        const int64_t all = before + (rows_below[end] - rows_below[begin]) * bins[end - 1].top;
        if (all >= cost[k][end]) continue;
        cost[k][end] = all;
        from[k][end] = begin;
      }
    }
  }
  size_t best = 0;
  for (size_t k = 1; k < n_runs; ++k)
    if (cost[k][n] < cost[best][n]) best = k;
  std::vector<int64_t> bounds;
  for (size_t k = best + 1, end = n; k-- > 0; end = from[k][end]) bounds.push_back(bins[end - 1].top);
  std::reverse(bounds.begin(), bounds.end());
  return bounds;
}

}  // namespace

LengthBuckets::LengthBuckets(const Dataset& dataset, const std::vector<LoaderField>& fields, bool by_length) {
  for (const LoaderField& field : fields) {
    if (lengths_ || !dataset.field(field.name).ragged) continue;
    lengths_ = &dataset.row_lengths(field.name);
    decides_ = field;
  }
  if (by_length && !lengths_)
    throw Error(dataset.path(), "has no field with rows of unequal lengths among those that are used",
                "leave out the order by length, or name such a field");
  const int64_t n_rows = dataset.n_samples();
  if (by_length) {
    std::map<int64_t, int64_t> n_of_length;
    for (const int32_t length : *lengths_) ++n_of_length[delivered_length(decides_, length)];
    bounds_ = best_bounds(histogram(n_of_length), kMost);
  }
  const auto n = bounds_.size();
  std::vector<int64_t> counts(n, 0);
  extents_.assign(n, std::vector<int64_t>(fields.size(), 0));
  for (int64_t row = 0; by_length && row < n_rows; ++row) ++counts[static_cast<size_t>(bucket_of(row))];
  for (size_t f = 0; f < fields.size(); ++f) {
    if (fields[f].lengths_only || !dataset.field(fields[f].name).ragged) continue;
    const std::vector<int32_t>& lengths = dataset.row_lengths(fields[f].name);
    for (int64_t row = 0; row < n_rows; ++row) {
      int64_t& longest = extents_[static_cast<size_t>(bucket_of(row))][f];
      longest = std::max(longest, delivered_length(fields[f], lengths[static_cast<size_t>(row)]));
    }
    int64_t longest = 1;
    for (std::vector<int64_t>& extents : extents_) extents[f] = longest = std::max(longest, extents[f]);
  }
  if (!by_length) return;
  begins_.assign(n + 1, 0);
  for (size_t bucket = 0; bucket < n; ++bucket) begins_[bucket + 1] = begins_[bucket] + counts[bucket];
  std::vector<int64_t> next(begins_.begin(), begins_.end() - 1);
  rows_.resize(static_cast<size_t>(n_rows));
  for (int64_t row = 0; row < n_rows; ++row)
    rows_[static_cast<size_t>(next[static_cast<size_t>(bucket_of(row))]++)] = row;
}

int LengthBuckets::bucket_of(int64_t row) const {
  if (bounds_.size() == 1) return 0;
  const int64_t length = delivered_length(decides_, (*lengths_)[static_cast<size_t>(row)]);
  return static_cast<int>(std::lower_bound(bounds_.begin(), bounds_.end() - 1, length) - bounds_.begin());
}

}  // namespace lockstep
