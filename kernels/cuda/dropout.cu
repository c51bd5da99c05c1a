// Dropout on GPUs: both directions draw the mask from the counters (random.h), so that nothing is kept. A
// thread draws the four words of a Philox block for four elements that follow each other in dense order:
// neighbours in memory where src is dense, one channel of four places where it is channels-last. There, if
// the places of a sample are no multiple of four, each element draws its own block.
#include "kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/layouts.h"
#include "kernels/cuda/unary_op.h"
#include "kernels/random.h"

namespace lockstep::cuda {

namespace {

enum class Order : uint8_t { kDense, kPlacesOfFour, kPlaces };

/// What is dropped, and how elements lie: a sample has `channels` of `places` elements each; dense: one
/// channel.
struct Drop {
  uint64_t key = 0;
  uint32_t threshold = 0;  // words below it drop their element
  float factor = 1;
  uint32_t channels = 1, places = 0;
  uint32_t items = 0, blocks = 0;  // of a sample: groups of elements that share a draw, blocks of threads
};

constexpr uint32_t kItems = 4;  // of one thread

/// dst = src · factor where the mask keeps, else 0.
template <typename T, Order kOrder>
__global__ void __launch_bounds__(kThreads)
    drop_kernel(Drop drop, const BatchContext* batch, const T* src, T* dst) {
  constexpr int kCount = kOrder == Order::kPlaces ? 1 : 4;  // elements of an item
  __shared__ uint32_t key[2];
  const uint32_t sample = blockIdx.x / drop.blocks;
  if (threadIdx.x == 0) {
    const std::array<uint32_t, 2> of_step = stream_key(
        mix_bits(batch->seed) ^ drop.key, RandomPurpose::kDropout, static_cast<uint32_t>(batch->step));
    key[0] = of_step[0];
    key[1] = of_step[1];
  }
  __syncthreads();
  const auto id = static_cast<uint64_t>(batch->sample_ids[sample]);
  const uint32_t n = drop.channels * drop.places;
  src += static_cast<int64_t>(sample) * n;
  dst += static_cast<int64_t>(sample) * n;
  uint32_t item = blockIdx.x % drop.blocks * (kThreads * kItems) + threadIdx.x;
  for (uint32_t turn = 0; turn < kItems && item < drop.items; ++turn, item += kThreads) {
    // Element number in dense order, and where it and the ones behind it lie in memory.
    uint32_t element = item * 4, at = element, stride = 1;
    if (kOrder != Order::kDense) {
      const uint32_t place = item / drop.channels * kCount, channel = item % drop.channels;
      element = channel * drop.places + place;
      at = place * drop.channels + channel;
      stride = drop.channels;
    }
    const std::array<uint32_t, 4> words = philox(
        {key[0], key[1]}, {element / 4, 0, static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)});
    const auto kept = [&](T x, uint32_t word) {
      return from_float<T>(word >= drop.threshold ? drop.factor * to_float(x) : 0.0f);
    };
    if constexpr (kCount == 1) {
      const uint32_t of_pair[2] = {element % 2 ? words[1] : words[0], element % 2 ? words[3] : words[2]};
      dst[at] = kept(src[at], element % 4 < 2 ? of_pair[0] : of_pair[1]);
    } else if (kOrder == Order::kDense && n % 4 == 0) {
      Pack<T, 4> x = load<4>(src + at);
#pragma unroll
      for (uint32_t k = 0; k < 4; ++k) x.at[k] = kept(x.at[k], words[k]);
      store<4>(dst + at, x);
    } else {
#pragma unroll
      for (uint32_t k = 0; k < 4; ++k)
        if (kOrder == Order::kPlacesOfFour || element + k < n)
          dst[at + k * stride] = kept(src[at + k * stride], words[k]);
    }
  }
}

class Dropout : public Op {
 public:
  explicit Dropout(const DropoutDesc& desc) : n_(desc.src.shape[0]) {
    const int64_t size = desc.src.shape.without_front().n_elements();
    if (size >= int64_t{1} << 31)
      throw Error("dropout", "a sample of 2^31 elements or more", "use smaller samples");
    const bool is_last = is_channels_last(desc.src);
    drop_.key = desc.key;
    drop_.threshold = static_cast<uint32_t>(std::min(std::nearbyint(desc.p * 0x1p32), 0x1p32 - 1));
    drop_.factor = desc.test_time_scaling ? 1.0f : static_cast<float>(1.0 / (1.0 - desc.p));
    drop_.channels = is_last ? static_cast<uint32_t>(desc.src.shape[1]) : 1;
    drop_.places = static_cast<uint32_t>(size) / drop_.channels;
    order_ = !is_last ? Order::kDense : drop_.places % 4 == 0 ? Order::kPlacesOfFour : Order::kPlaces;
    drop_.items = static_cast<uint32_t>(order_ == Order::kPlaces ? size : (size + 3) / 4);
    drop_.blocks = static_cast<uint32_t>(blocks_for(drop_.items, kThreads * kItems));
    info_.src = {desc.src};
    info_.dst = {desc.src};
    info_.backward_needs_src = false;
    info_.backward_needs_dst = false;
  }

  void forward(Stream& stream, const OpArgs& args) override {
    run(stream, args.batch, args.src[0].data, args.dst[0].data);
  }
  void backward(Stream& stream, const OpArgs& args) override {
    if (args.diff_src.empty() || args.diff_src[0].empty()) return;
    run(stream, args.batch, args.diff_dst[0].data, args.diff_src[0].data);
  }

 private:
  void run(Stream& stream, const BatchContext* batch, const void* src, void* dst) const {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const auto kernel = order_ == Order::kDense          ? drop_kernel<T, Order::kDense>
                          : order_ == Order::kPlacesOfFour ? drop_kernel<T, Order::kPlacesOfFour>
                                                           : drop_kernel<T, Order::kPlaces>;
      launch(stream, n_ * drop_.blocks, kThreads, kernel, drop_, batch, static_cast<const T*>(src),
             static_cast<T*>(dst));
    });
  }

  int64_t n_;
  Drop drop_;
  Order order_ = Order::kDense;
};

/// Evaluation after training without scaling.
struct Scale {
  float factor;
  __device__ __forceinline__ float value(float x) const { return factor * x; }
  __device__ __forceinline__ float gradient(float, float g) const { return factor * g; }
};

}  // namespace

std::unique_ptr<Op> make_dropout(const OpConfig& config, const DropoutDesc& desc) {
  if (config.training) return std::make_unique<Dropout>(desc);
  return std::make_unique<UnaryOp<Scale>>(desc.src, Scale{static_cast<float>(1.0 - desc.p)}, true);
}

}  // namespace lockstep::cuda
