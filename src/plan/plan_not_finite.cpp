// Where a loss that is not finite came from: the forward pass again, step by step, looking at
// every input, parameter and output in the order in which they are used.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/reshape.h"
#include "src/plan/plan_impl.h"

namespace lockstep {

namespace {

/// The index of the first of `n` values that is not finite; -1 where all are.
int64_t first_of(const void* data, DType dtype, int64_t n) {
  if (dtype == DType::kFloat32) {
    const auto* values = static_cast<const float*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(values[i])) return i;
    }
  } else if (dtype == DType::kBFloat16 || dtype == DType::kFloat16) {
    const auto exponent = static_cast<uint16_t>(dtype == DType::kBFloat16 ? 0x7F80 : 0x7C00);
    const auto* bits = static_cast<const uint16_t*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if ((bits[i] & exponent) == exponent) return i;
    }
  } else if (dtype == DType::kFloat64) {
    const auto* values = static_cast<const double*>(data);
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(values[i])) return i;
    }
  }
  return -1;
}

/// On a GPU it looks at a copy.
int64_t first_of(Stream& stream, const Tensor& tensor) {
  if (tensor.empty()) return -1;
  const int64_t n_bytes = tensor.desc.n_bytes();
  std::vector<std::byte> on_host;
  const void* data = tensor.data;
  if (stream.device().kind != Device::Kind::kCpu) {
    on_host.resize(static_cast<size_t>(n_bytes));
    copy(stream, on_host.data(), data, n_bytes);
    stream.synchronize();
    data = on_host.data();
  }
  return first_of(data, tensor.desc.dtype, n_bytes / size_of(tensor.desc.dtype));
}

bool is_finite(Stream& stream, const Tensor& tensor) { return first_of(stream, tensor) < 0; }

/// "row 17 of the dataset, value 5 of the sample"; the row where samples are counted.
std::string place_of(int64_t index, const Tensor& tensor, const BatchContext* batch) {
  const int64_t n_rows = tensor.desc.shape.rank() > 0 ? tensor.desc.shape[0] : 0;
  if (n_rows < 1 || batch == nullptr || batch->sample_ids == nullptr) return "somewhere";
  const int64_t n_values = std::max<int64_t>(1, tensor.desc.shape.n_elements() / n_rows),
                row = index / n_values;
  if (row >= batch->n_valid) return "somewhere";
  return fmt::format("in row {} of the dataset (value {} of the sample)", batch->sample_ids[row],
                     index % n_values);
}

}  // namespace

std::string Plan::first_not_finite() {
  Impl& p = *impl_;
  for (const PlanCall& call : p.forward_calls) {
    PlanStep& step = p.steps[call.step];
    for (size_t i = 0; i < step.src.size(); ++i) {
      if (p.values[step.src[i]].producer >= 0) continue;
      if (const int64_t at = first_of(*p.stream, step.src_t[i]); at >= 0)
        return fmt::format(
            "the data read by {} is not finite {}", step.name,
            // On a GPU the batch's context is no memory of the host.
            place_of(at, step.src_t[i],
                     p.stream->device().kind == Device::Kind::kCpu ? step.args.batch : nullptr));
    }
    for (size_t i = 0; i < step.params_t.size(); ++i) {
      if (is_finite(*p.stream, step.params_t[i])) continue;
      return fmt::format("parameter '{}' of {} was not finite any more",
                         p.arena.of_vertex(p.graph, step.vertex)[i]->name, step.name);
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
