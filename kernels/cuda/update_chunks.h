// How an update on a GPU goes over its ranges: one launch for all of them. A block takes one chunk; its
// threads take packs of 16 bytes.
#pragma once

#include "kernels/cuda/streaming.h"
#include "kernels/update_ranges.h"

namespace lockstep::cuda {

template <int W, typename F>
__global__ void __launch_bounds__(kThreads) chunks_kernel(const UpdateChunk* chunks, F f) {
  const UpdateChunk chunk = chunks[blockIdx.x];
  for (int i = static_cast<int>(threadIdx.x) * W; i < chunk.n; i += kThreads * W) {
    if (i + W <= chunk.n) {
      f.template at<W>(chunk.begin + i, chunk.state + i, chunk.factor);
    } else {
      for (int k = i; k < chunk.n; ++k) f.template at<1>(chunk.begin + k, chunk.state + k, chunk.factor);
    }
  }
}

/// f at all elements of the ranges; `is_aligned`: the arrays that f reads or writes begin at multiples of 16
/// bytes.
template <typename F>
void over_chunks(Stream& stream, const UpdateRanges& ranges, const F& f, bool is_aligned) {
  launch(stream, ranges.n_chunks(), kThreads,
         ranges.is_aligned() && is_aligned ? chunks_kernel<4, F> : chunks_kernel<1, F>, ranges.chunks(), f);
}

/// Whether all begin at multiples of 16 bytes.
template <typename... Pointers>
bool are_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace lockstep::cuda
