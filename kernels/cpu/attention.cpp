// Attention on the CPU, head by head: a head's keys and values are packed once, in float32, and its queries
// go through the tiles of attention_tiles.h. A head belongs to one thread, so that gradients of keys are
// added up in the order of the queries.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/backend.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/valid_lengths.h"
#include "kernels/error.h"

namespace lockstep::cpu {

namespace {

/// The columns of a head in a tensor (rows, stride).
template <typename T>
struct HeadRows {
  T* data = nullptr;
  int64_t stride = 0;
  HeadRows from(int64_t row) const { return {data + row * stride, stride}; }
};

template <typename T>
LOCKSTEP_INLINE void pack_loop(int64_t rows, int64_t width, int64_t padded, float factor,
                               HeadRows<const T> src, float* dst) {
  for (int64_t r = 0; r < rows; ++r, src.data += src.stride, dst += padded) {
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) dst[c] = factor * to_float(src.data[c]);
    for (int64_t c = width; c < padded; ++c) dst[c] = 0.0f;
  }
}
template <typename T>
LOCKSTEP_INLINE void unpack_loop(int64_t rows, int64_t width, int64_t padded, float factor, const float* src,
                                 HeadRows<T> dst) {
  for (int64_t r = 0; r < rows; ++r, src += padded, dst.data += dst.stride)
#pragma GCC ivdep
    for (int64_t c = 0; c < width; ++c) dst.data[c] = from_float<T>(factor * src[c]);
}
/// dst (rows, padded) = factor src, zeros behind its columns.
LOCKSTEP_VECTORIZE void pack(int64_t rows, int64_t width, int64_t padded, float factor,
                             HeadRows<const float> src, float* dst) {
  pack_loop(rows, width, padded, factor, src, dst);
}
LOCKSTEP_VECTORIZE void pack(int64_t rows, int64_t width, int64_t padded, float factor,
                             HeadRows<const BFloat16> src, float* dst) {
  pack_loop(rows, width, padded, factor, src, dst);
}
LOCKSTEP_VECTORIZE void unpack(int64_t rows, int64_t width, int64_t padded, float factor, const float* src,
                               HeadRows<float> dst) {
  unpack_loop(rows, width, padded, factor, src, dst);
}
LOCKSTEP_VECTORIZE void unpack(int64_t rows, int64_t width, int64_t padded, float factor, const float* src,
                               HeadRows<BFloat16> dst) {
  unpack_loop(rows, width, padded, factor, src, dst);
}
LOCKSTEP_VECTORIZE void keep_factors(int64_t n, uint32_t threshold, float factor, const uint32_t* words,
                                     float* factors) {
  for (int64_t i = 0; i < n; ++i) factors[i] = words[i] >= threshold ? factor : 0.0f;
}
/// delta[r] = a row · b row, in eight lanes.
LOCKSTEP_VECTORIZE void dot_rows(int64_t rows, int64_t padded, const float* a, const float* b, float* delta) {
  for (int64_t r = 0; r < rows; ++r, a += padded, b += padded) {
    float lanes[8] = {};
    for (int64_t c = 0; c < padded; c += 8)
      for (int64_t i = 0; i < 8; ++i) lanes[i] += a[c + i] * b[c + i];
    for (int half = 4; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    delta[r] = lanes[0];
  }
}

/// The random words of one sample; see dropout.h.
struct Drawn {
  std::array<uint32_t, 2> key;
  uint64_t minor;
  uint32_t threshold;
  float factor;
  int64_t keys;  // from query to query
};
void draw_factors(const WeightDropout& dropout, int64_t row, int64_t key, int64_t n, float* factors) {
  const auto& drawn = *static_cast<const Drawn*>(dropout.state);
  const auto first = static_cast<uint64_t>(dropout.first + row * drawn.keys + key);
  const auto skipped = static_cast<int64_t>(first % 4);
  uint32_t words[kBlockKeys + 4];
  philox_words(drawn.key, drawn.minor, first - static_cast<uint64_t>(skipped), n + skipped, words);
  keep_factors(n, drawn.threshold, drawn.factor, words + skipped, factors);
}

/// Keys and values of all steps so far, as the tiles read them: for each sample and head, keys by panels and
/// values by rows.
class StepCache {
 public:
  StepCache() = default;
  StepCache(int64_t n, int64_t heads, int64_t steps, int64_t width)
      : heads_(heads), steps_(steps), width_(width), padded_(padded_to_panels(width)) {
    keys_floats_ = padded_to_panels(steps) * width;
    head_floats_ = keys_floats_ + steps * padded_;
    for (Memory& memory : memory_) memory = Memory(Device{}, n * heads * head_floats_ * 4);
  }

  /// Sample n takes over the first `steps` of sample parents[n].
  void reorder(const int32_t* parents, int64_t n_valid, int64_t steps) {
    const float* from = memory_[0].as<float>();
    float* to = memory_[1].as<float>();
#pragma omp parallel for schedule(static) if (n_valid * heads_ * steps * width_ >= kParallelElements)
    for (int64_t i = 0; i < n_valid * heads_; ++i) {
      const float* of_parent = from + (parents[i / heads_] * heads_ + i % heads_) * head_floats_;
      float* head = to + i * head_floats_;
      std::copy_n(of_parent, padded_to_panels(steps) * width_, head);
      std::copy_n(of_parent + keys_floats_, steps * padded_, head + keys_floats_);
    }
    std::swap(memory_[0], memory_[1]);
  }

  /// keys, values (n, padded) become steps [first, first + n) of head `item`.
  void append(int64_t item, int64_t first, int64_t n, const float* keys, const float* values) {
    float* panels = memory_[0].as<float>() + item * head_floats_;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t step = first + i;
      float* column = panels + step / kHeadPanel * kHeadPanel * width_ + step % kHeadPanel;
      for (int64_t c = 0; c < width_; ++c) column[c * kHeadPanel] = keys[i * padded_ + c];
    }
    std::copy_n(values, n * padded_, panels + keys_floats_ + first * padded_);
  }
  const float* keys_t(int64_t item) const { return memory_[0].as<const float>() + item * head_floats_; }
  const float* values(int64_t item) const { return keys_t(item) + keys_floats_; }
  int64_t steps() const { return steps_; }

 private:
  int64_t heads_ = 0, steps_ = 0, width_ = 0, padded_ = 0;
  int64_t keys_floats_ = 0, head_floats_ = 0;
  Memory memory_[2];  // the steps, and where reorder() puts them
};

template <typename T>
class Attention : public Op {
 public:
  Attention(const OpConfig& config, const AttentionDesc& desc)
      : desc_(desc),
        tiles_(attention_tiles()),
        n_(desc.query.shape[0]),
        queries_(desc.query.shape[1]),
        keys_(desc.packed ? queries_ : desc.keys.shape[1]),
        features_(desc.query.shape[2] / (desc.packed ? 3 : 1)),
        width_(features_ / desc.heads),
        padded_(padded_to_panels(width_)),
        training_(config.training) {
    info_.src = {desc.query.dense()};
    if (!desc.packed) info_.src.insert(info_.src.end(), {desc.keys.dense(), desc.values.dense()});
    for (TensorDesc& src : info_.src) src.dtype = config.compute;
    if (desc.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    info_.dst = {{Shape{n_, queries_, features_}, config.compute, nullptr}};
    if (desc.wants_weights)
      info_.dst.push_back({Shape{n_, desc.heads, queries_, keys_}, config.compute, nullptr});
    if (training_) info_.workspace_bytes = n_ * desc.heads * queries_ * 4;
    drops_ = training_ && desc.dropout > 0;
    threshold_ = static_cast<uint32_t>(std::min(std::nearbyint(desc.dropout * 0x1p32), 0x1p32 - 1));
    if (desc.cache_steps > 0) cache_ = StepCache(n_, desc.heads, desc.cache_steps, width_);
    n_parts_ = std::clamp<int64_t>(n_ * queries_ * keys_ * features_ / kParallelElements, 1,
                                   std::min<int64_t>(compute_threads(), n_ * desc.heads));
    divide_scratch();
    info_.scratchpad_bytes = n_parts_ * part_floats_ * 4;
  }

  void forward(Stream&, const OpArgs& args) override {
    int64_t first = 0;
    if (desc_.cache_steps > 0) {
      first = args.batch->first_step;
      if (first + queries_ > desc_.cache_steps)
        throw Error("attention",
                    "steps up to " + std::to_string(first + queries_) + " do not fit a cache of " +
                        std::to_string(desc_.cache_steps),
                    "give cache_steps for all steps of a sequence");
      if (args.batch->parents && first > 0) cache_.reorder(args.batch->parents, args.batch->n_valid, first);
    }
    for_heads(args, [&](int64_t item, float* scratch) { head_forward(args, item, first, scratch); });
  }

  void backward(Stream&, const OpArgs& args) override {
    for_heads(args, [&](int64_t item, float* scratch) { head_backward(args, item, scratch); });
  }

 private:
  /// A thread's arrays, in floats from its part of the scratchpad on.
  void divide_scratch() {
    const auto take = [&](int64_t n) {
      const int64_t at = part_floats_;
      part_floats_ += padded_to_panels(n);
      return at;
    };
    const int64_t keys = padded_to_panels(keys_), tile = kTileQueries * padded_;
    keys_at_ = take(keys * padded_);
    values_at_ = take(keys * padded_);
    keys_t_at_ = take(keys * width_);
    query_at_ = take(tile);
    context_at_ = take(tile);
    scores_at_ = take(kTileQueries * kBlockKeys);
    log_sum_at_ = take(kTileQueries);
    if (desc_.wants_weights) weights_at_ = take(kTileQueries * keys_);
    if (!training_) return;
    values_t_at_ = take(keys * width_);
    diff_keys_at_ = take(keys * padded_);
    diff_values_at_ = take(keys * padded_);
    diff_context_at_ = take(tile);
    diff_query_at_ = take(tile);
    delta_at_ = take(kTileQueries);
    diff_scores_at_ = take(kTileQueries * kBlockKeys);
    factors_at_ = take(drops_ ? kTileQueries * kBlockKeys : 0);
  }

  template <typename Body>
  void for_heads(const OpArgs& args, const Body& body) const {
    const int64_t items = n_ * desc_.heads;
#pragma omp parallel for schedule(static) if (n_parts_ > 1)
    for (int64_t part = 0; part < n_parts_; ++part)
      for (int64_t item = items * part / n_parts_; item < items * (part + 1) / n_parts_; ++item)
        body(item, reinterpret_cast<float*>(args.scratchpad) + part * part_floats_);
  }

  int64_t row_stride() const { return desc_.packed ? 3 * features_ : features_; }
  /// Query (0), keys (1) or values (2) of a head, of src or diff_src.
  template <typename U>
  HeadRows<U> head_of(std::span<const Tensor> tensors, int64_t which, int64_t item) const {
    const int64_t sample = item / desc_.heads, head = item % desc_.heads;
    const Tensor& tensor = tensors[desc_.packed ? 0 : static_cast<size_t>(which)];
    if (tensor.empty()) return {nullptr, row_stride()};
    return {tensor.as<U>() + sample * (which == 0 ? queries_ : keys_) * row_stride() + head * width_ +
                (desc_.packed ? which * features_ : 0),
            row_stride()};
  }
  template <typename U>
  HeadRows<U> context_of(const Tensor& tensor, int64_t item) const {
    return {tensor.as<U>() + item / desc_.heads * queries_ * features_ + item % desc_.heads * width_,
            features_};
  }

  struct Extent {
    int64_t queries, keys;  // that take part; none where one of them is 0
  };
  Extent extent_of(const OpArgs& args, int64_t item, int64_t first) const {
    const int64_t sample = item / desc_.heads;
    const auto* lengths = desc_.has_lengths ? args.src.back().template as<const int32_t>() : nullptr;
    const int64_t length = valid_length(*args.batch, lengths, keys_, sample);
    const bool ends = desc_.packed || desc_.self || length == 0;
    return {ends ? std::min(length, queries_) : queries_, length > 0 ? first + length : 0};
  }
  QueryTile tile_of(const Extent& extent, int64_t first, float* scratch) const {
    QueryTile tile;
    tile.keys = extent.keys;
    tile.causal = desc_.causal;
    tile.first = first;
    tile.width = width_;
    tile.padded = padded_;
    tile.query = scratch + query_at_;
    tile.keys_t = scratch + keys_t_at_;
    tile.values = scratch + values_at_;
    tile.scores = scratch + scores_at_;
    tile.log_sum = scratch + log_sum_at_;
    tile.context = scratch + context_at_;
    return tile;
  }
  Drawn drawn_for(const OpArgs& args, int64_t item) const {
    const RandomStream stream(mix_bits(args.batch->seed) ^ desc_.key, RandomPurpose::kDropout,
                              static_cast<uint32_t>(args.batch->step),
                              static_cast<uint64_t>(args.batch->sample_ids[item / desc_.heads]));
    return {stream.key(), stream.minor(), threshold_, static_cast<float>(1.0 / (1.0 - desc_.dropout)), keys_};
  }
  WeightDropout dropout_of(const Drawn& drawn, int64_t item) const {
    return {draw_factors, &drawn, item % desc_.heads * queries_ * keys_};
  }
  float scale() const { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(width_))); }
  float query_factor() const {  // powers of 2 stand for exponentials
    return static_cast<float>(std::numbers::log2e / std::sqrt(static_cast<double>(width_)));
  }

  void head_forward(const OpArgs& args, int64_t item, int64_t first, float* scratch) {
    const Extent extent = extent_of(args, item, first);
    const HeadRows<T> context = context_of<T>(args.dst[0], item);
    zero(context, extent.keys > 0 ? extent.queries : 0, queries_);
    T* weights = desc_.wants_weights ? args.dst[1].as<T>() + item * queries_ * keys_ : nullptr;
    if (weights) std::fill_n(weights, queries_ * keys_, T{});
    if (extent.keys == 0) return;
    const int64_t new_keys = extent.keys - first;
    pack(new_keys, width_, padded_, 1, head_of<const T>(args.src, 1, item), scratch + keys_at_);
    pack(new_keys, width_, padded_, 1, head_of<const T>(args.src, 2, item), scratch + values_at_);
    QueryTile tile = tile_of(extent, first, scratch);
    if (desc_.cache_steps > 0) {
      cache_.append(item, first, new_keys, scratch + keys_at_, scratch + values_at_);
      tile.keys_t = cache_.keys_t(item);
      tile.values = cache_.values(item);
    } else {
      tiles_.to_panels(scratch + keys_at_, padded_, extent.keys, width_, scratch + keys_t_at_);
    }
    const Drawn drawn = drops_ ? drawn_for(args, item) : Drawn{};
    const WeightDropout dropout = dropout_of(drawn, item);
    if (drops_) tile.dropout = &dropout;
    const HeadRows<const T> query = head_of<const T>(args.src, 0, item);
    for (tile.row = 0; tile.row < extent.queries; tile.row += tile.rows) {
      tile.rows = std::min(kTileQueries, extent.queries - tile.row);
      pack(tile.rows, width_, padded_, query_factor(), query.from(tile.row), scratch + query_at_);
      tiles_.forward(tile);
      unpack(tile.rows, width_, padded_, 1, tile.context, context.from(tile.row));
      if (training_)
        std::copy_n(tile.log_sum, tile.rows,
                    reinterpret_cast<float*>(args.workspace) + item * queries_ + tile.row);
      if (weights) {
        tiles_.weights(tile, scratch + weights_at_, keys_);
        unpack(1, tile.rows * keys_, 0, 1, scratch + weights_at_, HeadRows<T>{weights + tile.row * keys_, 0});
      }
    }
  }

  void head_backward(const OpArgs& args, int64_t item, float* scratch) {
    const auto diff = [&](int64_t which) { return head_of<T>(args.diff_src, which, item); };
    const bool wants_keys = diff(1).data != nullptr, wants_values = diff(2).data != nullptr;
    Extent extent = extent_of(args, item, 0);
    if (args.diff_dst[0].empty()) extent.keys = 0;
    if (extent.keys == 0) extent.queries = 0;
    zero(diff(0), extent.queries, queries_);
    zero(diff(1), extent.keys, keys_);
    zero(diff(2), extent.keys, keys_);
    if (extent.keys == 0) return;
    QueryTile tile = tile_of(extent, 0, scratch);
    pack(extent.keys, width_, padded_, 1, head_of<const T>(args.src, 1, item), scratch + keys_at_);
    pack(extent.keys, width_, padded_, 1, head_of<const T>(args.src, 2, item), scratch + values_at_);
    tiles_.to_panels(scratch + keys_at_, padded_, extent.keys, width_, scratch + keys_t_at_);
    tiles_.to_panels(scratch + values_at_, padded_, extent.keys, width_, scratch + values_t_at_);
    tile.keys_rows = scratch + keys_at_;
    tile.values_t = scratch + values_t_at_;
    tile.diff_context = scratch + diff_context_at_;
    tile.delta = scratch + delta_at_;
    tile.diff_scores = scratch + diff_scores_at_;
    tile.factors = scratch + factors_at_;
    tile.diff_query = scratch + diff_query_at_;
    const int64_t n_gradients = extent.keys * padded_;
    if (wants_keys) tile.diff_keys = std::fill_n(scratch + diff_keys_at_, n_gradients, 0.0f) - n_gradients;
    if (wants_values)
      tile.diff_values = std::fill_n(scratch + diff_values_at_, n_gradients, 0.0f) - n_gradients;
    const Drawn drawn = drops_ ? drawn_for(args, item) : Drawn{};
    const WeightDropout dropout = dropout_of(drawn, item);
    if (drops_) tile.dropout = &dropout;
    const HeadRows<const T> query = head_of<const T>(args.src, 0, item);
    const HeadRows<const T> context = context_of<const T>(args.dst[0], item),
                            diff_context = context_of<const T>(args.diff_dst[0], item);
    for (tile.row = 0; tile.row < extent.queries; tile.row += tile.rows) {
      tile.rows = std::min(kTileQueries, extent.queries - tile.row);
      pack(tile.rows, width_, padded_, query_factor(), query.from(tile.row), scratch + query_at_);
      pack(tile.rows, width_, padded_, 1, diff_context.from(tile.row), scratch + diff_context_at_);
      pack(tile.rows, width_, padded_, 1, context.from(tile.row), scratch + context_at_);
      dot_rows(tile.rows, padded_, tile.context, tile.diff_context, scratch + delta_at_);
      std::copy_n(reinterpret_cast<const float*>(args.workspace) + item * queries_ + tile.row, tile.rows,
                  tile.log_sum);
      tiles_.backward(tile);
      if (diff(0).data) unpack(tile.rows, width_, padded_, scale(), tile.diff_query, diff(0).from(tile.row));
    }
    // Queries were multiplied by the scale and by log2(e).
    if (wants_keys)
      unpack(extent.keys, width_, padded_, static_cast<float>(std::numbers::ln2), tile.diff_keys, diff(1));
    if (wants_values) unpack(extent.keys, width_, padded_, 1, tile.diff_values, diff(2));
  }

  /// Rows [begin, end) of a head become 0.
  void zero(HeadRows<T> rows, int64_t begin, int64_t end) const {
    for (int64_t r = begin; rows.data && r < end; ++r) std::fill_n(rows.from(r).data, width_, T{});
  }

  AttentionDesc desc_;
  const AttentionTiles& tiles_;
  int64_t n_, queries_, keys_, features_;  // N, Tq, Tk, D
  int64_t width_, padded_;                 // columns of a head
  bool training_, drops_ = false;
  uint32_t threshold_ = 0;
  StepCache cache_;
  int64_t n_parts_ = 1, part_floats_ = 0;
  int64_t keys_at_ = 0, values_at_ = 0, keys_t_at_ = 0, values_t_at_ = 0, query_at_ = 0, context_at_ = 0,
          scores_at_ = 0, log_sum_at_ = 0, weights_at_ = 0, diff_keys_at_ = 0, diff_values_at_ = 0,
          diff_context_at_ = 0, diff_query_at_ = 0, delta_at_ = 0, diff_scores_at_ = 0, factors_at_ = 0;
};

}  // namespace

const AttentionTiles& attention_tiles() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma")) return attention_tiles_avx512();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return attention_tiles_avx2();
#endif
  return attention_tiles_any();
}

std::unique_ptr<Op> make_attention(const OpConfig& config, const AttentionDesc& desc) {
  if (config.compute == DType::kBFloat16) return std::make_unique<Attention<BFloat16>>(config, desc);
  return std::make_unique<Attention<float>>(config, desc);
}

}  // namespace lockstep::cpu
