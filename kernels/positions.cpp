// Checks, the table of sinusoids and the switch to a backend; see positions.h.
#include "kernels/positions.h"

#include <cmath>

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_positions(const OpConfig& config, const PositionsDesc& desc) {
  check_activation_type("positions", config, config.compute);
  const Shape& src = desc.src.shape;
  if (src.rank() != 3)
    throw Error("positions", "src must be (N, T, W), not " + src.str(),
                "give samples two dimensions, steps and features");
  if (src[1] > desc.max_steps)
    throw Error("positions",
                "sequences of " + std::to_string(src[1]) + " steps, but positions for " +
                    std::to_string(desc.max_steps),
                "raise max_steps, or read shorter sequences");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_positions(config, desc)
                                                  : cuda::make_positions(config, desc);
}

std::vector<float> sinusoid_table(int64_t max_steps, int64_t width, Sinusoids sinusoids) {
  std::vector<float> table(static_cast<size_t>(max_steps * width));
  const int64_t n_sines = (width + 1) / 2;
  for (int64_t column = 0; column < width; ++column) {
    const bool is_sine = sinusoids == Sinusoids::kInterleaved ? column % 2 == 0 : column < n_sines;
    const int64_t i = sinusoids == Sinusoids::kInterleaved ? column / 2 : is_sine ? column : column - n_sines;
    const double frequency = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(width));
    for (int64_t t = 0; t < max_steps; ++t) {
      const double angle = static_cast<double>(t) * frequency;
      table[static_cast<size_t>(t * width + column)] =
          static_cast<float>(is_sine ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

}  // namespace lockstep
