// Checks and the switch to a backend; see attention.h.
#include "kernels/attention.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

void check_shapes(const AttentionDesc& desc) {
  const Shape &query = desc.query.shape, &keys = desc.keys.shape, &values = desc.values.shape;
  if (desc.packed) {
    if (query.rank() != 3 || query[2] % 3 != 0)
      throw Error("attention", "the packed source must be (N, T, 3 D), not " + query.str(),
                  "give each step's query, key and value side by side, D columns each");
    return;
  }
  if (query.rank() != 3 || keys.rank() != 3 || keys != values || keys[0] != query[0] || keys[2] != query[2] ||
      (desc.self && keys[1] != query[1]))
    throw Error("attention",
                "query " + query.str() + ", keys " + keys.str() + " and values " + values.str() +
                    " do not fit each other",
                desc.self ? "give all three as (N, T, D): they are steps of one sequence"
                          : "give query (N, Tq, D), keys and values (N, Tk, D)");
}

void check_cache(const OpConfig& config, const AttentionDesc& desc) {
  if (desc.cache_steps == 0) return;
  if (config.training || !desc.causal || !(desc.packed || desc.self) || desc.has_lengths ||
      desc.wants_weights)
    throw Error("attention",
                "a cache of steps is for evaluation of causal self-attention, without lengths or weights",
                "leave cache_steps at 0 for everything else");
  if (desc.query.shape[1] > desc.cache_steps)
    throw Error("attention",
                "a call of " + std::to_string(desc.query.shape[1]) + " steps does not fit a cache of " +
                    std::to_string(desc.cache_steps),
                "give cache_steps for all steps of a sequence");
}

}  // namespace

std::unique_ptr<Op> make_attention(const OpConfig& config, const AttentionDesc& desc) {
  check_activation_type("attention", config, config.compute);
  check_shapes(desc);
  const int64_t width = desc.query.shape[2] / (desc.packed ? 3 : 1);
  if (desc.heads < 1 || width % desc.heads != 0)
    throw Error("attention",
                std::to_string(desc.heads) + " heads do not divide " + std::to_string(width) + " features",
                "choose a number of heads that divides the features, such as features / 64");
  if (!(desc.dropout >= 0 && desc.dropout < 1))
    throw Error("attention", "dropout is a probability in [0, 1), not " + std::to_string(desc.dropout),
                "give for instance 0.1");
  if (desc.wants_weights && config.training)
    throw Error("attention", "weights are an output of evaluation alone: training never holds all of them",
                "leave wants_weights off in training");
  check_cache(config, desc);
  return config.device.kind == Device::Kind::kCpu ? cpu::make_attention(config, desc)
                                                  : cuda::make_attention(config, desc);
}

}  // namespace lockstep
