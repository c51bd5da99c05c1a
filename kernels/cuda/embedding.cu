// Embeddings on GPUs. Backward without atomics: each place finds the next one with the same id; the threads
// of the first place of an id follow that chain and sum in its order, each a few columns. Chains are found by
// comparing all pairs of places, which costs less than sorting up to some 10^5 of them.
#include "kernels/embedding.h"

#include "kernels/backend.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/scratch.h"

namespace lockstep::cuda {

namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads)
    look_up(int64_t n, int64_t width, int64_t vocabulary, const int32_t* ids, const float* table, T* dst) {
  const int64_t i = global_thread();
  if (i >= n * width) return;
  const int64_t id = ids[i / width];
  const bool is_row = id >= 0 && id < vocabulary;
  dst[i] = from_float<T>(is_row ? table[id * width + i % width] : __builtin_nanf(""));
}

/// next (n): the next place with the same id, or n; first (n): 1 where none comes before. Places that count
/// nothing have first 0. `skipped`: an id whose places count nothing, or -1.
__global__ void __launch_bounds__(kThreads)
    find_chains(int64_t n, int64_t of_sample, int64_t vocabulary, int64_t skipped, const int32_t* ids,
                const BatchContext* batch, int32_t* next, int32_t* first) {
  __shared__ int32_t tile[kThreads];
  const int64_t valid = batch->n_valid * of_sample < n ? batch->n_valid * of_sample : n;
  const int64_t i = global_thread();
  const int32_t id = i < valid ? ids[i] : -1;
  const bool counts = id >= 0 && id < vocabulary && id != skipped;
  int64_t behind = n;
  bool is_first = counts;
  for (int64_t begin = 0; begin < valid; begin += kThreads) {
    __syncthreads();
    const int64_t mine = begin + threadIdx.x;
    tile[threadIdx.x] = mine < valid ? ids[mine] : -1;
    __syncthreads();
    if (!counts) continue;
    for (int64_t k = 0; k < kThreads; ++k) {
      if (tile[k] != id) continue;
      const int64_t place = begin + k;
      if (place < i) is_first = false;
      if (place > i && place < behind) behind = place;
    }
  }
  if (i >= n) return;
  next[i] = static_cast<int32_t>(behind);
  first[i] = is_first ? 1 : 0;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_chains(int64_t n, int64_t width, const int32_t* ids, const int32_t* next, const int32_t* first,
               const T* diff_dst, float* diff) {
  const int64_t i = global_thread();
  if (i >= n * width || first[i / width] == 0) return;
  float sum = 0.0f;
  for (int64_t place = i / width; place < n; place = next[place])
    sum += to_float(diff_dst[place * width + i % width]);
  diff[static_cast<int64_t>(ids[i / width]) * width + i % width] = sum;
}

__global__ void __launch_bounds__(kThreads) write_zeros_kernel(int64_t n, float* to) {
  const int64_t i = global_thread();
  if (i < n) to[i] = 0.0f;
}

class Embedding : public Op {
 public:
  Embedding(const OpConfig& config, const EmbeddingDesc& desc)
      : desc_(desc),
        n_(desc.ids.n_elements()),
        of_sample_(desc.ids.shape[0] > 0 ? n_ / desc.ids.shape[0] : 0) {
    if (n_ >= int64_t{1} << 31)
      throw Error("embedding", "2^31 ids or more in a micro-batch", "use a smaller micro-batch");
    Shape dst = desc.ids.shape.with_front(1);
    for (int i = 0; i + 1 < dst.rank(); ++i) dst[i] = desc.ids.shape[i];
    dst[dst.rank() - 1] = desc.width;
    info_.src = {desc.ids.dense()};
    info_.dst = {{dst, config.compute, nullptr}};
    info_.backward_needs_dst = false;
    Scratch scratch;
    next_ = scratch.take(n_ * 4);
    first_ = scratch.take(n_ * 4);
    if (config.training) info_.scratchpad_bytes = scratch.n_bytes();
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.dst[0].dtype, [&]<typename T>() {
      launch(stream, blocks_for(n_ * desc_.width), kThreads, look_up<T>, n_, desc_.width, desc_.vocabulary,
             args.src[0].as<const int32_t>(), args.params[0].as<const float>(), args.dst[0].as<T>());
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    const auto* ids = args.src[0].as<const int32_t>();
    auto* next = reinterpret_cast<int32_t*>(args.scratchpad + next_);
    auto* first = reinterpret_cast<int32_t*>(args.scratchpad + first_);
    float* diff = args.diff_params[0].as<float>();
    const int64_t table = desc_.vocabulary * desc_.width;
    launch(stream, blocks_for(table), kThreads, write_zeros_kernel, table, diff);
    if (args.diff_dst[0].empty()) return;
    launch(stream, blocks_for(n_), kThreads, find_chains, n_, of_sample_, desc_.vocabulary,
           desc_.padding_id.value_or(-1), ids, args.batch, next, first);
    with_element(info_.dst[0].dtype, [&]<typename T>() {
      launch(stream, blocks_for(n_ * desc_.width), kThreads, sum_chains<T>, n_, desc_.width, ids,
             static_cast<const int32_t*>(next), static_cast<const int32_t*>(first),
             args.diff_dst[0].as<const T>(), diff);
    });
  }

 private:
  EmbeddingDesc desc_;
  int64_t n_, of_sample_;  // ids of all, of a sample
  int64_t next_ = 0, first_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_embedding(const OpConfig& config, const EmbeddingDesc& desc) {
  return std::make_unique<Embedding>(config, desc);
}

}  // namespace lockstep::cuda
