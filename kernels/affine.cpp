// Checks and the switch to a backend.
#include "kernels/affine.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

AffineExtents::AffineExtents(const AffineDesc& desc) : dst(desc.src.shape) {
  const int last = dst.rank() - 1;
  in = dst[last];
  dst[last] = 1;
  rows = dst.n_elements();
  dst[last] = desc.out_features;
}

std::unique_ptr<Op> make_affine(const OpConfig& config, const AffineDesc& desc) {
  check_activation_type("affine", config, config.compute);
  if (desc.src.shape.rank() < 2) {
    throw Error("affine", "src must be (N, …, I), not " + desc.src.shape.str(),
                "put a flatten layer before it");
  }
  if (desc.out_features < 1) {
    throw Error("affine", "out_features must be at least 1, not " + std::to_string(desc.out_features),
                "give the number of outputs, for instance 10");
  }
  return config.device.kind == Device::Kind::kCpu ? cpu::make_affine(config, desc)
                                                  : cuda::make_affine(config, desc);
}

}  // namespace lockstep
