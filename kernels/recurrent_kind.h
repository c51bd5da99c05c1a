// What the backends tell apart of recurrent cells: each GRU convention of the reset gate is a kind of its
// own.
#pragma once

#include <cstdint>

#include "kernels/recurrent.h"

namespace lockstep {

enum class CellKind : uint8_t { kRnnTanh, kRnnRelu, kLstm, kPeephole, kCoupled, kGruAfter, kGruBefore };

inline CellKind kind_of(const RecurrentDesc& desc) {
  switch (desc.cell) {
    case RecurrentCell::kRnnTanh: return CellKind::kRnnTanh;
    case RecurrentCell::kRnnRelu: return CellKind::kRnnRelu;
    case RecurrentCell::kLstm: return CellKind::kLstm;
    case RecurrentCell::kLstmPeephole: return CellKind::kPeephole;
    case RecurrentCell::kLstmCoupled: return CellKind::kCoupled;
    case RecurrentCell::kGru: return desc.reset_after ? CellKind::kGruAfter : CellKind::kGruBefore;
  }
  return CellKind::kLstm;
}

}  // namespace lockstep
