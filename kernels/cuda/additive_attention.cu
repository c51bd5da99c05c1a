// Additive attention on GPUs, a block for each row of the batch. Scores and their gradients are sums of a
// warp per step; what sums over steps is a thread per feature, in their order.
#include "kernels/additive_attention.h"

#include "kernels/backend.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/element.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/valid_lengths.h"

namespace lockstep::cuda {

namespace {

constexpr int kWarps = kThreads / kWarp;

template <typename T>
struct Attention {
  int64_t n, steps, features, width;  // N, S, A, E
  const BatchContext* batch;
  const int32_t* lengths;
  const T *query, *keys, *values;
  const float* v;
  float* scores;  // (N, S): of both directions
};

template <typename T>
__global__ void __launch_bounds__(kThreads) attend(Attention<T> a, T* context, T* weights) {
  const int64_t row = blockIdx.x, length = valid_length(a.batch, a.lengths, a.steps, row);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  float* scores = a.scores + row * a.steps;
  for (int64_t s = warp; s < length; s += kWarps) {
    float sum = 0.0f;
    for (int64_t j = lane; j < a.features; j += kWarp)
      sum += a.v[j] * tanhf(to_float(a.query[row * a.features + j]) +
                            to_float(a.keys[(row * a.steps + s) * a.features + j]));
    sum = warp_reduce(sum, Sum{});
    if (lane == 0) scores[s] = sum;
  }
  __syncthreads();
  float largest = Maximum::none<float>();
  for (int64_t s = threadIdx.x; s < length; s += kThreads) largest = Maximum{}(largest, scores[s]);
  largest = block_reduce(largest, Maximum{});
  double total = 0;
  for (int64_t s = threadIdx.x; s < length; s += kThreads) total += expf(scores[s] - largest);
  total = block_sum(total);
  __syncthreads();
  const float factor = length > 0 ? static_cast<float>(1.0 / total) : 0.0f;
  for (int64_t s = threadIdx.x; s < a.steps; s += kThreads) {
    const float weight = s < length ? expf(scores[s] - largest) * factor : 0.0f;
    scores[s] = weight;
    weights[row * a.steps + s] = from_float<T>(weight);
  }
  __syncthreads();
  for (int64_t e = threadIdx.x; e < a.width; e += kThreads) {
    float sum = 0.0f;
    for (int64_t s = 0; s < length; ++s)
      sum += scores[s] * to_float(a.values[(row * a.steps + s) * a.width + e]);
    context[row * a.width + e] = from_float<T>(sum);
  }
}

template <typename T>
struct AttentionGradients {
  const T *weights, *diff_context, *diff_weights;  // the gradients may be null: 0
  T *diff_query, *diff_keys, *diff_values;         // may be null: not wanted
  float* diff_v;                                   // (N, A)
};

template <typename T>
__global__ void __launch_bounds__(kThreads) attend_backward(Attention<T> a, AttentionGradients<T> g) {
  const int64_t row = blockIdx.x, length = valid_length(a.batch, a.lengths, a.steps, row);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  float* scores = a.scores + row * a.steps;
  const T* weights = g.weights + row * a.steps;
  const T* diff_context = g.diff_context ? g.diff_context + row * a.width : nullptr;
  for (int64_t s = warp; s < length; s += kWarps) {
    float sum = 0.0f;
    for (int64_t e = lane; diff_context && e < a.width; e += kWarp)
      sum += to_float(diff_context[e]) * to_float(a.values[(row * a.steps + s) * a.width + e]);
    sum = warp_reduce(sum, Sum{});
    if (lane == 0) scores[s] = sum + (g.diff_weights ? to_float(g.diff_weights[row * a.steps + s]) : 0.0f);
  }
  __syncthreads();
  double projection = 0;
  for (int64_t s = threadIdx.x; s < length; s += kThreads)
    projection += static_cast<double>(scores[s]) * to_float(weights[s]);
  projection = block_sum(projection);
  __syncthreads();
  for (int64_t s = threadIdx.x; s < length; s += kThreads)
    scores[s] = to_float(weights[s]) * static_cast<float>(static_cast<double>(scores[s]) - projection);
  __syncthreads();
  for (int64_t j = threadIdx.x; j < a.features; j += kThreads) {
    const float query = to_float(a.query[row * a.features + j]), v = a.v[j];
    float of_query = 0.0f, of_v = 0.0f;
    for (int64_t s = 0; s < a.steps; ++s) {
      const int64_t at = (row * a.steps + s) * a.features + j;
      float diff = 0.0f;
      if (s < length) {
        const float u = tanhf(query + to_float(a.keys[at]));
        diff = scores[s] * v * (1.0f - u * u);
        of_query += diff;
        of_v += scores[s] * u;
      }
      if (g.diff_keys) g.diff_keys[at] = from_float<T>(diff);
    }
    if (g.diff_query) g.diff_query[row * a.features + j] = from_float<T>(of_query);
    g.diff_v[row * a.features + j] = of_v;
  }
  if (g.diff_values == nullptr) return;
  for (int64_t i = threadIdx.x; i < a.steps * a.width; i += kThreads) {
    const int64_t s = i / a.width;
    const bool counts = s < length && diff_context != nullptr;
    g.diff_values[row * a.steps * a.width + i] =
        from_float<T>(counts ? to_float(weights[s]) * to_float(diff_context[i % a.width]) : 0.0f);
  }
}

class AdditiveAttention : public Op {
 public:
  AdditiveAttention(const OpConfig& config, const AdditiveAttentionDesc& desc)
      : n_(desc.keys.shape[0]),
        steps_(desc.keys.shape[1]),
        features_(desc.keys.shape[2]),
        width_(desc.values.shape[2]) {
    const auto activation = [&](const Shape& shape) { return TensorDesc{shape, config.compute, nullptr}; };
    info_.src = {activation(desc.query.shape), activation(desc.keys.shape), activation(desc.values.shape)};
    if (desc.has_lengths) info_.src.push_back({Shape{n_}, DType::kInt32, nullptr});
    info_.dst = {activation(Shape{n_, width_}), activation(Shape{n_, steps_})};
    Scratch scratch;
    scores_ = scratch.take(n_ * steps_ * 4);
    diff_v_ = scratch.take(config.training ? n_ * features_ * 4 : 0);
    partials_ = scratch.take(config.training ? column_sums_bytes(n_, features_) : 0);
    info_.scratchpad_bytes = scratch.n_bytes();
  }

  void forward(Stream& stream, const OpArgs& args) override {
    with_element(info_.src[0].dtype, [&]<typename T>() {
      launch(stream, n_, kThreads, attend<T>, attention<T>(args), args.dst[0].as<T>(), args.dst[1].as<T>());
    });
  }

  void backward(Stream& stream, const OpArgs& args) override {
    auto* diff_v = reinterpret_cast<float*>(args.scratchpad + diff_v_);
    with_element(info_.src[0].dtype, [&]<typename T>() {
      const AttentionGradients<T> gradients{args.dst[1].as<const T>(),
                                            args.diff_dst[0].as<const T>(),
                                            args.diff_dst[1].as<const T>(),
                                            args.diff_src[0].as<T>(),
                                            args.diff_src[1].as<T>(),
                                            args.diff_src[2].as<T>(),
                                            diff_v};
      launch(stream, n_, kThreads, attend_backward<T>, attention<T>(args), gradients);
    });
    column_sums(stream, DType::kFloat32, n_, features_, diff_v, args.diff_params[0].as<float>(),
                args.scratchpad + partials_);
  }

 private:
  template <typename T>
  Attention<T> attention(const OpArgs& args) const {
    return {n_,
            steps_,
            features_,
            width_,
            args.batch,
            args.src.size() > 3 ? args.src[3].as<const int32_t>() : nullptr,
            args.src[0].as<const T>(),
            args.src[1].as<const T>(),
            args.src[2].as<const T>(),
            args.params[0].as<const float>(),
            reinterpret_cast<float*>(args.scratchpad + scores_)};
  }

  int64_t n_, steps_, features_, width_;            // N, S, A, E
  int64_t scores_ = 0, diff_v_ = 0, partials_ = 0;  // in the scratchpad
};

}  // namespace

std::unique_ptr<Op> make_additive_attention(const OpConfig& config, const AdditiveAttentionDesc& desc) {
  return std::make_unique<AdditiveAttention>(config, desc);
}

}  // namespace lockstep::cuda
