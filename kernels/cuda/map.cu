// Functions of each element, in the layout given. One kernel for all: it waits for memory, and all threads
// take the same branch.
#include "kernels/arithmetic.h"
#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/streaming.h"
#include "kernels/cuda/valid_rows.h"

namespace lockstep::cuda {

namespace {

struct MapFunction {
  Map map;
  float c;

  __device__ __forceinline__ float value(float x) const {
    switch (map) {
      case Map::kScale: return c * x;
      case Map::kShift: return x + c;
      case Map::kPower: return c == 2.0f ? x * x : powf(x, c);
      case Map::kAbsolute: return fabsf(x);
      case Map::kSquareRoot: return sqrtf(x);
      case Map::kLog: return logf(x);
      case Map::kExp: return expf(x);
    }
    return 0.0f;
  }
  /// kept: src or dst, whatever tells the derivative.
  __device__ __forceinline__ float gradient(float kept, float g) const {
    switch (map) {
      case Map::kScale: return c * g;
      case Map::kShift: return g;
      case Map::kPower: return c == 2.0f ? 2.0f * kept * g : g * c * powf(kept, c - 1.0f);
      case Map::kAbsolute: return kept > 0.0f ? g : kept < 0.0f ? -g : 0.0f;
      case Map::kSquareRoot: return 0.5f * g / kept;
      case Map::kLog: return g / kept;
      case Map::kExp: return g * kept;
    }
    return 0.0f;
  }
};

template <typename T>
struct MapRows {
  MapFunction f;
  int64_t n_samples, row;
  const BatchContext* batch;
  const T *src, *kept;  // kept: null forward, and where the derivative does not depend on it
  T* dst;
  bool is_backward;
  template <int W>
  __device__ void at(int64_t i) const {
    const int64_t n = valid_elements(batch, n_samples, row);
    Pack<T, W> x = load<W>(src + i), value{};
    if (kept) value = load<W>(kept + i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float g = to_float(x.at[k]);
      const float y = is_backward ? f.gradient(to_float(value.at[k]), g) : f.value(g);
      x.at[k] = from_float<T>(i + k < n ? y : 0.0f);
    }
    store<W>(dst + i, x);
  }
};

class MapOp : public Op {
 public:
  MapOp(const MapDesc& desc, const TensorDesc& form) : f_{desc.map, static_cast<float>(desc.parameter)} {
    info_.src = {form};
    info_.dst = {form};
    info_.backward_needs_dst = f_.map == Map::kSquareRoot || f_.map == Map::kExp;
    info_.backward_needs_src = f_.map == Map::kPower || f_.map == Map::kAbsolute || f_.map == Map::kLog;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    run(stream, args, args.src[0], nullptr, args.dst[0], false);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src[0].empty()) return;
    const void* kept = info_.backward_needs_dst   ? args.dst[0].data
                       : info_.backward_needs_src ? args.src[0].data
                                                  : nullptr;
    run(stream, args, args.diff_dst[0], kept, args.diff_src[0], true);
  }

 private:
  void run(Stream& stream, const OpArgs& args, const Tensor& src, const void* kept, const Tensor& dst,
           bool is_backward) const {
    const TensorDesc& desc = info_.src[0];
    with_element(desc.dtype, [&]<typename T>() {
      const MapRows<T> rows{f_,          desc.shape[0],     desc.shape.without_front().n_elements(),
                            args.batch,  src.as<const T>(), static_cast<const T*>(kept),
                            dst.as<T>(), is_backward};
      stream_over<kPack<T>>(stream, desc.n_elements(), rows, rows.src, rows.kept, rows.dst);
    });
  }

  MapFunction f_;
};

}  // namespace

std::unique_ptr<Op> make_map(const OpConfig& config, const MapDesc& desc) {
  return std::make_unique<MapOp>(desc, like_layout(desc.src, desc.src.shape, config.compute));
}

}  // namespace lockstep::cuda
