// Embeddings on the CPU: copies of rows forward; backward, each thread owns a range of the table's rows and
// reads all ids in order, so that a row's sum has one order whatever the threads.
#include "kernels/embedding.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/backend.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/through_float32.h"
#include "kernels/vectorize.h"

namespace lockstep::cpu {

namespace {

constexpr int64_t kLeastTableRows = 64;  // of a thread

LOCKSTEP_VECTORIZE void add_gradient_row(int64_t n, const float* from, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

class Embedding : public Op {
 public:
  Embedding(const OpConfig&, const EmbeddingDesc& desc)
      : desc_(desc),
        n_ids_(desc.ids.n_elements()),
        row_ids_(n_ids_ / std::max<int64_t>(1, desc.ids.shape[0])) {
    Shape dst = desc.ids.shape.with_front(1);  // one more dimension
    for (int i = 0; i + 1 < dst.rank(); ++i) dst[i] = desc.ids.shape[i];
    dst[dst.rank() - 1] = desc.width;
    info_.src = {desc.ids.dense()};
    info_.dst = {{dst}};
    info_.backward_needs_dst = false;
  }

  void forward(Stream&, const OpArgs& args) override {
    const auto* ids = args.src[0].as<const int32_t>();
    const auto* table = args.params[0].as<const float>();
    float* dst = args.dst[0].as<float>();
    const int64_t width = desc_.width;
#pragma omp parallel for schedule(static) if (n_ids_ * width >= kParallelElements)
    for (int64_t i = 0; i < n_ids_; ++i) {
      if (is_row(ids[i]))
        std::memcpy(dst + i * width, table + ids[i] * width, static_cast<size_t>(width) * sizeof(float));
      else
        std::fill_n(dst + i * width, width, std::numeric_limits<float>::quiet_NaN());
    }
  }

  void backward(Stream&, const OpArgs& args) override {
    const auto* ids = args.src[0].as<const int32_t>();
    float* diff = args.diff_params[0].as<float>();
    const int64_t width = desc_.width, n = args.diff_dst[0].empty() ? 0 : args.batch->n_valid * row_ids_;
    const auto* diff_dst = args.diff_dst[0].as<const float>();
    const int64_t ranges =
        std::clamp<int64_t>(desc_.vocabulary / kLeastTableRows, 1, std::max(1, compute_threads()));
#pragma omp parallel for schedule(static) if (ranges > 1 && \
                                              (n + desc_.vocabulary) * width >= kParallelElements)
    for (int64_t range = 0; range < ranges; ++range) {
      const int64_t begin = desc_.vocabulary * range / ranges, end = desc_.vocabulary * (range + 1) / ranges;
      std::memset(diff + begin * width, 0, static_cast<size_t>((end - begin) * width) * sizeof(float));
      for (int64_t i = 0; i < n; ++i) {
        const int64_t id = ids[i];
        if (id < begin || id >= end || id == desc_.padding_id) continue;
        add_gradient_row(width, diff_dst + i * width, diff + id * width);
      }
    }
  }

 private:
  bool is_row(int64_t id) const { return id >= 0 && id < desc_.vocabulary; }

  EmbeddingDesc desc_;
  int64_t n_ids_, row_ids_;  // all, of a sample
};

}  // namespace

std::unique_ptr<Op> make_embedding(const OpConfig& config, const EmbeddingDesc& desc) {
  auto op = std::make_unique<Embedding>(config, desc);
  if (config.compute == DType::kBFloat16) return through_float32(std::move(op));
  return op;
}

}  // namespace lockstep::cpu
