// Where a loss that is not finite came from: the forward pass again, step by step, looking at
// every input, parameter and output in the order in which they are used.
#include <fmt/format.h>

#include <cmath>

#include "kernels/reshape.h"
#include "src/plan_impl.h"

namespace lockstep {

namespace {

bool is_finite(const void* data, DType dtype, int64_t n) {
  if (dtype == DType::kFloat32) {
    const auto* values = static_cast<const float*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(values[i])) return false;
    }
  } else if (dtype == DType::kBFloat16) {  // an exponent of ones
    const auto* bits = static_cast<const uint16_t*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if ((bits[i] & 0x7F80u) == 0x7F80u) return false;
    }
  } else if (dtype == DType::kFloat64) {
    const auto* values = static_cast<const double*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(values[i])) return false;
    }
  }
  return true;
}

bool is_finite(const Tensor& tensor) {
  if (tensor.empty()) return true;
  return is_finite(tensor.data, tensor.desc.dtype, tensor.desc.n_bytes() / size_of(tensor.desc.dtype));
}

}  // namespace

std::string Plan::first_not_finite() {
  Impl& p = *impl_;
  for (const PlanCall& call : p.forward_calls) {
    PlanStep& step = p.steps[call.step];
    for (size_t i = 0; i < step.src.size(); ++i) {
      if (p.values[step.src[i]].producer < 0 && !is_finite(step.src_t[i]))
        return fmt::format("the data read by {} holds values that are not finite", step.name);
    }
    for (size_t i = 0; i < step.params_t.size(); ++i) {
      if (is_finite(step.params_t[i])) continue;
      return fmt::format("parameter '{}' of {} was not finite any more",
                         p.arena.of_vertex(step.vertex)[i]->name, step.name);
    }
    if (step.op->info().aliases_src) continue;
    step.op->forward(*p.stream, step.args);
    p.stream->synchronize();
    for (const Tensor& dst : step.dst_t) {
      if (!is_finite(dst)) return fmt::format("{} was the first whose output was not finite", step.name);
    }
  }
  return "no layer's output was found";
}

}  // namespace lockstep
