#include "src/step/micro_batch_tree.h"

#include <array>
#include <bit>

#include "kernels/bfloat16_wire.h"
#include "kernels/elementwise.h"

namespace lockstep {

MicroBatchTree::MicroBatchTree(const ParameterArena& arena, int64_t n_micro, Wire wire, bool feedback)
    : n_micro_(n_micro), wire_(wire), own_result_(arena.make_parallel()), result_(own_result_.as<float>()) {
  for (int64_t m = 0; m < n_micro && feedback; ++m) residuals_.push_back(arena.make_parallel());
  for (int64_t span = 1; span < n_micro; span *= 2) levels_.push_back(arena.make_parallel());
}

void MicroBatchTree::place_result(float* memory) {
  result_ = memory;
  own_result_ = Memory();
}

float* MicroBatchTree::target(int64_t m) {
  // An even micro-batch that is not the last waits on level 0 for its sibling.
  const bool waits = m % 2 == 0 && m + 1 < n_micro_;
  return waits ? levels_[0].as<float>() : result();
}

void MicroBatchTree::merge(Stream& stream, int64_t m, int64_t begin, int64_t end) {
  if (wire_ == Wire::kBFloat16) {
    float* residual = residuals_.empty() ? nullptr : residuals_[m].as<float>() + begin;
    round_to_bfloat16(stream, end - begin, target(m) + begin, residual);
  }
  const bool last = m + 1 == n_micro_;
  const auto bits = static_cast<uint64_t>(m);
  const int ones = std::countr_one(bits);
  if (!last && ones == 0) return;
  // Pending partial sums are the set bits of m; all of them close with the last micro-batch,
  // else the trailing ones. The widest comes first.
  std::array<const float*, 16> pending{};
  size_t n = 0;
  for (int level = last ? 63 - std::countl_zero(bits | 1) : ones - 1; level >= 0; --level) {
    if (bits >> level & 1) pending[n++] = levels_[level].as<float>() + begin;
  }
  float* dst = (last ? result() : levels_[ones].as<float>()) + begin;
  if (n == 0) return;
  const auto add_up = wire_ == Wire::kBFloat16 ? add_chain_bfloat16 : add_chain;
  add_up(stream, end - begin, {pending.data(), n}, result() + begin, dst);
}

void tree_sum_rows(double* rows, int64_t n_rows, int64_t n_values) {
  for (int64_t span = 1; span < n_rows; span *= 2) {
    for (int64_t r = 0; r + span < n_rows; r += 2 * span) {
      for (int64_t i = 0; i < n_values; ++i) rows[r * n_values + i] += rows[(r + span) * n_values + i];
    }
  }
}

}  // namespace lockstep
