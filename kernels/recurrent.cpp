// Checks and the switch to a backend; see recurrent.h.
#include "kernels/recurrent.h"

#include "kernels/backend.h"
#include "kernels/error.h"

namespace lockstep {

int64_t gates_of(RecurrentCell cell) {
  switch (cell) {
    case RecurrentCell::kRnnTanh:
    case RecurrentCell::kRnnRelu: return 1;
    case RecurrentCell::kLstm:
    case RecurrentCell::kLstmPeephole: return 4;
    case RecurrentCell::kLstmCoupled:
    case RecurrentCell::kGru: return 3;
  }
  return 0;
}

bool is_lstm(RecurrentCell cell) {
  return cell == RecurrentCell::kLstm || cell == RecurrentCell::kLstmPeephole ||
         cell == RecurrentCell::kLstmCoupled;
}

std::unique_ptr<Op> make_recurrent(const OpConfig& config, const RecurrentDesc& desc) {
  check_activation_type("recurrent", config, config.compute);
  if (desc.src.shape.rank() != 3)
    throw Error("recurrent", "src must be (N, T, D), not " + desc.src.shape.str(),
                "give samples two dimensions, steps and features");
  if (desc.hidden < 1)
    throw Error("recurrent", "hidden must be at least 1, not " + std::to_string(desc.hidden),
                "give the number of hidden units, for instance 256");
  return config.device.kind == Device::Kind::kCpu ? cpu::make_recurrent(config, desc)
                                                  : cuda::make_recurrent(config, desc);
}

}  // namespace lockstep
