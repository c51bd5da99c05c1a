// Checks and the switch to a backend; see embedding.h.
#include "kernels/embedding.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_embedding(const OpConfig& config, const EmbeddingDesc& desc) {
  check_activation_type("embedding", config, config.compute);
  if (desc.ids.shape.rank() < 1 || desc.ids.dtype != DType::kInt32)
    throw Error(
        "embedding",
        "ids must be (N, …) int32, not " + desc.ids.shape.str() + " " + std::string(name_of(desc.ids.dtype)),
        "read a field of integers, such as token ids");
  if (desc.vocabulary < 1 || desc.width < 1)
    throw Error("embedding",
                "a table of " + std::to_string(desc.vocabulary) + " rows of " + std::to_string(desc.width),
                "give a vocabulary and a width of at least 1");
  if (desc.ids.shape.rank() >= Shape::kMaxRank)
    throw Error("embedding", "ids of rank " + std::to_string(desc.ids.shape.rank()), "reshape them");
  if (desc.padding_id && (*desc.padding_id < 0 || *desc.padding_id >= desc.vocabulary))
    throw Error("embedding",
                "padding_id " + std::to_string(*desc.padding_id) + " is no row of a table of " +
                    std::to_string(desc.vocabulary),
                "choose an id in [0, vocabulary)");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_embedding(config, desc)
                                                  : cuda::make_embedding(config, desc);
}

}  // namespace lockstep
