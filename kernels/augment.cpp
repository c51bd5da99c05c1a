// Checks and the switch to a backend; see augment.h.
#include "kernels/augment.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_augment(const OpConfig& config, const AugmentDesc& desc) {
  const Shape &src = desc.src.shape, &dst = desc.dst.shape;
  if (src.rank() != 4 || dst.rank() != 4 || src[0] != dst[0] || src[1] != dst[1])
    throw Error("augment", "images " + src.str() + " cannot become " + dst.str(),
                "expected (N, C, H, W) and (N, C, H', W')");
  for (const Shape* shape : {&src, &dst})
    if (shape->n_elements() < 1 || (*shape)[2] >= 1 << 20 || (*shape)[3] >= 1 << 20 ||
        shape->without_front().n_elements() >= int64_t{1} << 31)
      throw Error("augment", "images of shape " + shape->str(),
                  "extents lie in [1, 2^20), and a sample holds less than 2^31 elements");
  if (desc.src.dtype != DType::kUInt8 && desc.src.dtype != DType::kFloat32)
    throw Error("augment", "images of type " + std::string(name_of(desc.src.dtype)),
                "give them as uint8 or float32");
  if (desc.src.layout || desc.dst.layout) throw Error("augment", "images are dense", "leave the layout away");
  check_activation_type("augment", config, desc.dst.dtype);
  for (const std::vector<float>* values : {&desc.mean, &desc.scale}) {
    const auto n = static_cast<int64_t>(values->size());
    if (n > 1 && n != src[1])
      throw Error("augment",
                  std::to_string(n) + " values of mean or scale for " + std::to_string(src[1]) + " channels",
                  "give one value, or one per channel");
  }
  AugmentDesc full = desc;
  const auto n_channels = static_cast<size_t>(src[1]);
  if (full.mean.size() != n_channels) full.mean.assign(n_channels, desc.mean.empty() ? 0.0f : desc.mean[0]);
  if (full.scale.size() != n_channels)
    full.scale.assign(n_channels, desc.scale.empty() ? 1.0f : desc.scale[0]);
  return config.device.kind == Device::Kind::kCuda ? cuda::make_augment(config, full)
                                                   : cpu::make_augment(config, full);
}

}  // namespace lockstep
