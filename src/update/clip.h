// Gradient clipping (Pascanu et al. 2013): what the optimizer sees is bounded, so that one steep step does
// not throw the weights away. By the norm of all gradients together, or element by element.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/device.h"
#include "src/config/config.h"

namespace lockstep {

/// Of the mean gradient over the global batch; 0: not.
struct ClipOptions {
  double norm = 0, value = 0;
};

/// The key `clip`: a norm, {norm: 1} or {value: 0.5}.
ClipOptions read_clip(const Config& root);

class Clip {
 public:
  Clip(const ClipOptions& options, Device device);

  /// In place, in the stream's order: n sums of gradients, of which scale * sum is the mean. Every rank clips
  /// the same gradients, so the bits are the same.
  void apply(Stream& stream, int64_t n, float* gradients, double scale);
  bool needs_all_gradients() const { return options_.norm > 0; }
  /// When the stream's work is done: the norm before clipping, if it was computed.
  std::optional<double> norm() const;

 private:
  ClipOptions options_;
  Memory norm_;
};

}  // namespace lockstep
