// Positions on GPUs: a thread for each pack of neighbours, and for each number of the table's gradient.
#include "kernels/positions.h"

#include "kernels/backend.h"
#include "kernels/cuda/streaming.h"

namespace lockstep::cuda {

namespace {

/// Steps for which there is no position become NaN.
template <typename T>
struct AddPositions {
  int64_t steps, width, max_steps;
  const BatchContext* batch;
  const float* table;
  const T* src;
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    const int64_t step = batch->first_step + i / width % steps, column = i % width;
    Pack<T, W> x = load<W>(src + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float p = step < max_steps ? table[step * width + column + k] : __builtin_nanf("");
      x.at[k] = from_float<T>(to_float(x.at[k]) + p);
    }
    store<W>(dst + i, x);
  }
};

template <typename T>
struct CopyOrZero {
  const T* src;  // may be null: 0
  T* dst;
  template <int W>
  __device__ void at(int64_t i) const {
    Pack<T, W> x;
    if (src)
      x = load<W>(src + i);
    else
#pragma unroll
      for (int k = 0; k < W; ++k) x.at[k] = from_float<T>(0.0f);
    store<W>(dst + i, x);
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    table_gradient(int64_t n, int64_t size, const BatchContext* batch, const T* diff_dst, float* diff) {
  const int64_t i = global_thread();
  if (i >= n) return;
  float sum = 0.0f;
  if (diff_dst && i < size)
    for (int64_t row = 0; row < batch->n_valid; ++row) sum += to_float(diff_dst[row * size + i]);
  diff[i] = sum;
}

class Positions : public Op {
 public:
  Positions(const OpConfig& config, const PositionsDesc& desc) : desc_(desc) {
    info_.src = {{desc.src.shape, config.compute, nullptr}};
    info_.dst = info_.src;
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
    if (!desc.learned) put_table(config.device);
  }

  void forward(Stream& stream, const OpArgs& args) override {
    const Shape& shape = desc_.src.shape;
    const auto* table = desc_.learned ? args.params[0].as<const float>() : table_.as<const float>();
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const auto* src = args.src[0].as<const T>();
      auto* dst = args.dst[0].as<T>();
      stream_groups<kPack<T>>(
          stream, shape.n_elements(), shape[2],
          AddPositions<T>{shape[1], shape[2], desc_.max_steps, args.batch, table, src, dst}, src, dst);
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    const Shape& shape = desc_.src.shape;
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const auto* diff_dst = args.diff_dst[0].as<const T>();
      auto* diff_src = args.diff_src[0].as<T>();
      if (diff_src)
        stream_over<kPack<T>>(stream, shape.n_elements(), CopyOrZero<T>{diff_dst, diff_src}, diff_dst,
                              diff_src);
      const int64_t n = desc_.max_steps * shape[2];
      if (desc_.learned)
        launch(stream, blocks_for(n), kThreads, table_gradient<T>, n, shape[1] * shape[2], args.batch,
               diff_dst, args.diff_params[0].as<float>());
    });
  }

 private:
  void put_table(Device device) {
    const std::vector<float> table = sinusoid_table(desc_.max_steps, desc_.src.shape[2], desc_.sinusoids);
    const auto n_bytes = static_cast<int64_t>(table.size() * sizeof(float));
    table_ = Memory(device, n_bytes);
    if (table_.data() == nullptr) return;
    const std::unique_ptr<Stream> stream = lockstep::make_stream(device);
    lockstep::copy(*stream, table_.data(), table.data(), n_bytes);
    stream->synchronize();
  }

  PositionsDesc desc_;
  Memory table_;  // (max_steps, W), unless learned
};

}  // namespace

std::unique_ptr<Op> make_positions(const OpConfig& config, const PositionsDesc& desc) {
  return std::make_unique<Positions>(config, desc);
}

}  // namespace lockstep::cuda
