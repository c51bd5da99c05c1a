// Checks and the switch to a backend; see additive_attention.h.
#include "kernels/additive_attention.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

std::unique_ptr<Op> make_additive_attention(const OpConfig& config, const AdditiveAttentionDesc& desc) {
  check_activation_type("additive attention", config, config.compute);
  const Shape &query = desc.query.shape, &keys = desc.keys.shape, &values = desc.values.shape;
  if (query.rank() != 2 || keys.rank() != 3 || values.rank() != 3 || keys[0] != query[0] ||
      values[0] != query[0] || keys[2] != query[1] || values[1] != keys[1])
    throw Error("additive attention",
                "query " + query.str() + ", keys " + keys.str() + " and values " + values.str() +
                    " do not fit each other",
                "give query (N, A), keys (N, S, A) and values (N, S, E)");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_additive_attention(config, desc)
                                                  : cuda::make_additive_attention(config, desc);
}

}  // namespace lockstep
