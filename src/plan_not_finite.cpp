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
  } else if (dtype == DType::kBFloat16 || dtype == DType::kFloat16) {
    const auto exponent = static_cast<uint16_t>(dtype == DType::kBFloat16 ? 0x7F80 : 0x7C00);
    const auto* bits = static_cast<const uint16_t*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if ((bits[i] & exponent) == exponent) return false;
    }
  } else if (dtype == DType::kFloat64) {
    const auto* values = static_cast<const double*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(values[i])) return false;
    }
  }
  return true;
}

/// On a GPU it looks at a copy.
bool is_finite(Stream& stream, const Tensor& tensor) {
  if (tensor.empty()) return true;
  const int64_t n_bytes = tensor.desc.n_bytes();
  std::vector<std::byte> on_host;
  const void* data = tensor.data;
  if (stream.device().kind != Device::Kind::kCpu) {
    on_host.resize(static_cast<size_t>(n_bytes));
    copy(stream, on_host.data(), data, n_bytes);
    stream.synchronize();
    data = on_host.data();
  }
  return is_finite(data, tensor.desc.dtype, n_bytes / size_of(tensor.desc.dtype));
}

}  // namespace

std::string Plan::first_not_finite() {
  Impl& p = *impl_;
  for (const PlanCall& call : p.forward_calls) {
    PlanStep& step = p.steps[call.step];
    for (size_t i = 0; i < step.src.size(); ++i) {
      if (p.values[step.src[i]].producer < 0 && !is_finite(*p.stream, step.src_t[i]))
        return fmt::format("the data read by {} holds values that are not finite", step.name);
    }
    for (size_t i = 0; i < step.params_t.size(); ++i) {
      if (is_finite(*p.stream, step.params_t[i])) continue;
      return fmt::format("parameter '{}' of {} was not finite any more",
                         p.arena.of_vertex(step.vertex)[i]->name, step.name);
    }
    if (step.op->info().aliases_src) continue;
    step.op->forward(*p.stream, step.args);
    p.stream->synchronize();
    for (const Tensor& dst : step.dst_t) {
      if (!is_finite(*p.stream, dst))
        return fmt::format("{} was the first whose output was not finite", step.name);
    }
  }
  return "no layer's output was found";
}

}  // namespace lockstep
