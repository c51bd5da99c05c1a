// Attention on GPUs (Dao et al. 2022, FlashAttention): a block of threads for each tile of queries, forward
// and for their gradients, and for each tile of keys for theirs. A tile of scores of kRows x kRows lies in
// shared memory and is computed again by each pass; no two blocks add to one number. Heads of more than
// kMostColumns columns have a block for each part of them, which computes the scores for itself.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/attention_gradients.h"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/scratch.h"

namespace lockstep::cuda {

namespace {

template <int kColumns, typename T>
__global__ void __launch_bounds__(kThreads) attend(Heads<T> a, View<T> context) {
  __shared__ __align__(16) float shared[kShared], tile[kRows * kStride];
  const int64_t tiles = (a.queries + kRows - 1) / kRows;
  const Place p = place_of(blockIdx.x, a.heads, tiles, a.width, kColumns);
  const Extent extent = extent_of(a, p.sample);
  const Corner corner;
  const int64_t head = p.head * a.width, row = p.tile * kRows, n_rows = a.queries - row;
  const int64_t last = row + kRows < extent.queries ? row + kRows : extent.queries;
  const int64_t keys = last > row ? extent.visible(last - 1) : 0;
  const T* query = a.query.at(p.sample, head) + row * a.query.row;
  const T *key_rows = a.key_rows.at(p.sample, head), *value_rows = a.value_rows.at(p.sample, head + p.column);
  WeightDropout dropout(a, p.sample);
  float sums[kEach][kColumns / kSide] = {}, most[kEach], total[kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) most[i] = Maximum::none<float>();
  for (int64_t key = 0; key < keys; key += kRows) {
    const int64_t n_keys = keys - key < kRows ? keys - key : kRows;
    float scores[kEach][kEach];
    multiply_rows(query, a.query.row, last - row, key_rows + key * a.key_rows.row, a.key_rows.row, n_keys,
                  a.width, shared, scores);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t of_row = row + corner.row + i, seen = extent.visible(of_row) - key - corner.column;
      float largest = Maximum::none<float>();
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        scores[i][j] = j < seen ? scores[i][j] * a.scale : Maximum::none<float>();
        largest = Maximum{}(largest, scores[i][j]);
      }
      largest = Maximum{}(side_reduce(largest, Maximum{}), most[i]);
      const float base = largest == Maximum::none<float>() ? 0.0f : largest, shrinks = expf(most[i] - base);
      most[i] = largest;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const float weight = j < seen ? expf(scores[i][j] - base) : 0.0f;
        sum += weight;
        const int64_t element = (p.head * a.queries + of_row) * a.keys + key + corner.column + j;
        scores[i][j] = weight * dropout.of(static_cast<uint64_t>(element));
      }
      total[i] = total[i] * shrinks + side_reduce(sum, Sum{});
#pragma unroll
      for (int c = 0; c < kColumns / kSide; ++c) sums[i][c] *= shrinks;
    }
    put_corner(scores, tile);
    add_product<kColumns>(tile, value_rows + key * a.value_rows.row, a.value_rows.row, n_keys,
                          a.width - p.column, shared, sums);
  }
  put_sums<kColumns>(sums, context.at(p.sample, head + p.column) + row * context.row, context.row, n_rows,
                     a.width - p.column,
                     [&](int i) { return total[i] > 0.0f || total[i] != total[i] ? 1.0f / total[i] : 0.0f; });
  if (a.log_sums == nullptr || p.column > 0 || corner.column > 0) return;
#pragma unroll
  for (int i = 0; i < kEach; ++i)
    if (corner.row + i < n_rows)
      a.log_sums[(p.sample * a.heads + p.head) * a.queries + row + corner.row + i] = most[i] + logf(total[i]);
}

/// Weights (N, heads, Tq, Tk) from the logarithms of the sums: a block for each pair of tiles.
template <typename T>
__global__ void __launch_bounds__(kThreads) put_weights(Heads<T> a, T* weights) {
  __shared__ __align__(16) float shared[kShared];
  const int64_t key_tiles = (a.keys + kRows - 1) / kRows, tiles = (a.queries + kRows - 1) / kRows;
  const Place p = place_of(blockIdx.x / key_tiles, a.heads, tiles, 1, 1);
  const int64_t key = blockIdx.x % key_tiles * kRows, row = p.tile * kRows, head = p.head * a.width;
  const Extent extent = extent_of(a, p.sample);
  const Corner corner;
  float scores[kEach][kEach];
  multiply_rows(a.query.at(p.sample, head) + row * a.query.row, a.query.row, extent.queries - row,
                a.key_rows.at(p.sample, head) + key * a.key_rows.row, a.key_rows.row, extent.keys - key,
                a.width, shared, scores);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t of_row = row + corner.row + i, seen = extent.visible(of_row);
    if (of_row >= a.queries) continue;
    const int64_t at = (p.sample * a.heads + p.head) * a.queries + of_row;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t column = key + corner.column + j;
      if (column < a.keys)
        weights[at * a.keys + column] =
            from_float<T>(column < seen ? expf(scores[i][j] * a.scale - a.log_sums[at]) : 0.0f);
    }
  }
}

/// The rows of samples with another parent go to `to`, or from there to where they belong.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    move_to_children(const BatchContext* batch, bool returns, int64_t n, int64_t steps, int64_t columns,
                     T* cache, T* other) {
  if (batch->parents == nullptr || batch->first_step == 0) return;
  const int64_t i = global_thread(), sample = i / (steps * columns), at = i % (steps * columns);
  if (sample >= n || sample >= batch->n_valid || at >= batch->first_step * columns) return;
  const int64_t parent = batch->parents[sample];
  if (parent == sample) return;
  if (returns)
    cache[i] = other[i];
  else
    other[i] = cache[parent * steps * columns + at];
}

/// src (N, steps, columns of a row) goes behind the steps of cache (N, cached, columns).
template <typename T>
__global__ void __launch_bounds__(kThreads)
    append_steps(const BatchContext* batch, View<const T> src, int64_t n, int64_t steps, int64_t columns,
                 int64_t cached, T* cache) {
  const int64_t i = global_thread(), column = i % columns, step = i / columns % steps,
                sample = i / columns / steps;
  const int64_t to = batch->first_step + step;
  if (sample >= n || to >= cached) return;
  cache[(sample * cached + to) * columns + column] = src.at(sample, column)[step * src.row];
}

/// body.operator()<kColumns>(): columns of a head that a block takes.
template <typename Body>
void with_columns(int64_t width, const Body& body) {
  if (width <= 32) return body.template operator()<32>();
  if (width <= 64) return body.template operator()<64>();
  body.template operator()<kMostColumns>();
}

class Attention : public Op {
 public:
  Attention(const OpConfig& config, const AttentionDesc& desc)
      : desc_(desc),
        n_(desc.query.shape[0]),
        queries_(desc.query.shape[1]),
        keys_(desc.packed ? queries_ : desc.keys.shape[1]),
        features_(desc.query.shape[2] / (desc.packed ? 3 : 1)),
        width_(features_ / desc.heads) {
    const auto activation = [&](const Shape& shape) { return TensorDesc{shape, config.compute, nullptr}; };
    info_.src = {activation(desc.query.shape)};
    if (!desc.packed) info_.src.insert(info_.src.end(), 2, activation(desc.keys.shape));
    if (desc.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    info_.dst = {activation(Shape{n_, queries_, features_})};
    if (desc.wants_weights) info_.dst.push_back(activation(Shape{n_, desc.heads, queries_, keys_}));
    const int64_t n_rows = n_ * desc.heads * queries_;
    if (config.training) info_.workspace_bytes = n_rows * 4;
    if (config.training || desc.wants_weights) info_.scratchpad_bytes = n_rows * 4;
    if (config.training && desc.dropout > 0)
      threshold_ = static_cast<uint32_t>(std::min(std::nearbyint(desc.dropout * 0x1p32), 0x1p32 - 1));
    for (Memory& memory : cache_)
      memory = Memory(config.device, n_ * desc.cache_steps * features_ * size_of(config.compute));
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      if (desc_.cache_steps > 0) remember<T>(stream, args);
      Heads<T> heads = heads_of<T>(args);
      if (desc_.wants_weights) heads.log_sums = reinterpret_cast<float*>(args.scratchpad);
      with_columns(width_, [&]<int kColumns>() {
        launch(stream, blocks(queries_, kColumns), kThreads, attend<kColumns, T>, heads,
               context_view(args.dst[0].as<T>()));
      });
      if (desc_.wants_weights)
        launch(stream, blocks(queries_, static_cast<int>(width_)) * blocks_for(keys_, kRows), kThreads,
               put_weights<T>, heads, args.dst[1].as<T>());
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() { backward_of<T>(stream, args); });
  }

 private:
  template <typename T>
  void backward_of(Stream& stream, const OpArgs& args) const {
    if (args.diff_dst[0].empty()) {
      for (const Tensor& diff : args.diff_src)
        if (!diff.empty())
          check(cudaMemsetAsync(diff.data, 0, static_cast<size_t>(diff.desc.n_bytes()), handle_of(stream)),
                "cudaMemsetAsync");
      return;
    }
    const Heads<T> heads = heads_of<T>(args);
    Gradients<T> g;
    g.context = context_view(args.dst[0].as<const T>());
    g.diff_context = context_view(args.diff_dst[0].as<const T>());
    g.deltas = reinterpret_cast<float*>(args.scratchpad);
    g.diff_query = view<T>(args.diff_src, 0);
    g.diff_keys = view<T>(args.diff_src, 1);
    g.diff_values = view<T>(args.diff_src, 2);
    const int64_t n_rows = n_ * desc_.heads * queries_;
    launch(stream, blocks_for(n_rows, kThreads / kWarp), kThreads, put_deltas<T>, heads, g, n_rows);
    with_columns(width_, [&]<int kColumns>() {
      if (g.diff_query.data)
        launch(stream, blocks(queries_, kColumns), kThreads, query_gradients<kColumns, T>, heads, g);
      if (g.diff_keys.data || g.diff_values.data)
        launch(stream, blocks(keys_, kColumns), kThreads, key_gradients<kColumns, T>, heads, g);
    });
  }

  /// The cache: samples take over their parents' steps, then the new ones come behind them.
  template <typename T>
  void remember(Stream& stream, const OpArgs& args) {
    const int64_t n_elements = n_ * desc_.cache_steps * features_, n_new = n_ * queries_ * features_;
    for (int which = 0; which < 2; ++which) {
      T *cache = cache_[which].as<T>(), *other = cache_[2].as<T>();
      for (const bool returns : {false, true})
        launch(stream, blocks_for(n_elements), kThreads, move_to_children<T>, args.batch, returns, n_,
               desc_.cache_steps, features_, cache, other);
      launch(stream, blocks_for(n_new), kThreads, append_steps<T>, args.batch,
             view<const T>(args.src, which + 1), n_, queries_, features_, desc_.cache_steps, cache);
    }
  }

  int64_t blocks(int64_t rows, int columns) const {
    return n_ * desc_.heads * blocks_for(rows, kRows) * blocks_for(width_, columns);
  }
  /// Query (0), keys (1) or values (2) of src or diff_src.
  template <typename T>
  View<T> view(std::span<const Tensor> tensors, int which) const {
    const int64_t row = desc_.packed ? 3 * features_ : features_;
    const Tensor& tensor = tensors[desc_.packed ? 0 : static_cast<size_t>(which)];
    if (tensor.empty()) return {};
    return {tensor.as<T>() + (desc_.packed ? which * features_ : 0), (which == 0 ? queries_ : keys_) * row,
            row};
  }
  template <typename T>
  View<T> context_view(T* data) const {
    return {data, queries_ * features_, features_};
  }
  template <typename T>
  Heads<T> heads_of(const OpArgs& args) const {
    Heads<T> a;
    a.queries = queries_;
    a.keys = keys_;
    a.cached = desc_.cache_steps;
    a.heads = desc_.heads;
    a.width = width_;
    a.causal = desc_.causal;
    a.self = desc_.packed || desc_.self;
    a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width_)));
    a.key = desc_.key;
    a.threshold = threshold_;
    a.factor = static_cast<float>(1.0 / (1.0 - desc_.dropout));
    a.batch = args.batch;
    a.lengths = desc_.has_lengths ? args.src.back().template as<const int32_t>() : nullptr;
    a.query = view<const T>(args.src, 0);
    a.key_rows = view<const T>(args.src, 1);
    a.value_rows = view<const T>(args.src, 2);
    if (desc_.cache_steps > 0) {
      a.key_rows = {cache_[0].as<const T>(), desc_.cache_steps * features_, features_};
      a.value_rows = {cache_[1].as<const T>(), desc_.cache_steps * features_, features_};
    }
    a.log_sums = reinterpret_cast<float*>(info_.workspace_bytes > 0 ? args.workspace : nullptr);
    return a;
  }

  AttentionDesc desc_;
  int64_t n_, queries_, keys_, features_, width_;  // N, Tq, Tk, D, columns of a head
  uint32_t threshold_ = 0;
  Memory cache_[3];  // keys, values (N, cache_steps, D), and where samples wait that move
};

}  // namespace

std::unique_ptr<Op> make_attention(const OpConfig& config, const AttentionDesc& desc) {
  return std::make_unique<Attention>(config, desc);
}

}  // namespace lockstep::cuda
