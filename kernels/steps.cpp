// Checks and the switch to a backend; see steps.h.
#include "kernels/steps.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

bool on_cpu(const OpConfig& config) { return config.device.kind == Device::Kind::kCpu; }

/// `least`: 1 for (N, …), 2 for (N, T, …).
void check_elements(const char* op, const OpConfig& config, const TensorDesc& src, int least) {
  if (src.shape.rank() < least)
    throw Error(op, "the source " + src.shape.str() + " has no steps", "give it the shape (N, T, …)");
  if (src.dtype != DType::kInt32) check_activation_type(op, config, src.dtype);
}

}  // namespace

std::unique_ptr<Op> make_split_steps(const OpConfig& config, const TensorDesc& src) {
  check_elements("split steps", config, src, 2);
  return on_cpu(config) ? cpu::make_split_steps(config, src) : cuda::make_split_steps(config, src);
}

std::unique_ptr<Op> make_join_steps(const OpConfig& config, const TensorDesc& step, int64_t n_steps) {
  check_elements("join steps", config, step, 1);
  if (n_steps < 1 || step.shape.rank() >= Shape::kMaxRank)
    throw Error("join steps", std::to_string(n_steps) + " steps of " + step.shape.str(),
                "join one step or more, of fewer than 8 dimensions");
  return on_cpu(config) ? cpu::make_join_steps(config, step, n_steps)
                        : cuda::make_join_steps(config, step, n_steps);
}

std::unique_ptr<Op> make_pick_step(const OpConfig& config, const PickStepDesc& desc) {
  check_elements("pick step", config, desc.src, 2);
  return on_cpu(config) ? cpu::make_pick_step(config, desc) : cuda::make_pick_step(config, desc);
}

std::unique_ptr<Op> make_select_rows(const OpConfig& config, const SelectRowsDesc& desc) {
  check_elements("select rows", config, desc.rows, 1);
  return on_cpu(config) ? cpu::make_select_rows(config, desc) : cuda::make_select_rows(config, desc);
}

std::unique_ptr<Op> make_reverse_steps(const OpConfig& config, const ReverseStepsDesc& desc) {
  check_elements("reverse steps", config, desc.src, 2);
  return on_cpu(config) ? cpu::make_reverse_steps(config, desc) : cuda::make_reverse_steps(config, desc);
}

std::unique_ptr<Op> make_mean_steps(const OpConfig& config, const MeanStepsDesc& desc) {
  check_elements("mean over steps", config, desc.src, 2);
  if (desc.src.dtype == DType::kInt32)
    throw Error("mean over steps", "the source holds integers", "give it floating-point values");
  return on_cpu(config) ? cpu::make_mean_steps(config, desc) : cuda::make_mean_steps(config, desc);
}

}  // namespace lockstep
