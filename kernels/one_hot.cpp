// Checks and the switch to a backend; see one_hot.h.
#include "kernels/one_hot.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_one_hot(const OpConfig& config, const OneHotDesc& desc) {
  check_activation_type("one hot", config, config.compute);
  const int rank = desc.ids.shape.rank();
  if (rank < 1 || rank >= Shape::kMaxRank || desc.ids.dtype != DType::kInt32)
    throw Error(
        "one hot",
        "ids must be (N, …) int32, not " + desc.ids.shape.str() + " " + std::string(name_of(desc.ids.dtype)),
        "read a field of integers, such as token ids");
  if (desc.classes < 1) throw Error("one hot", std::to_string(desc.classes) + " classes", "give at least 1");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_one_hot(config, desc)
                                                  : cuda::make_one_hot(config, desc);
}

}  // namespace lockstep
