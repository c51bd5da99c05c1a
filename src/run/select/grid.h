// The cells of a sweep: every combination of listed values (grid), or draws from ranges (random search,
// Bergstra and Bengio 2012).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/run/select/trial.h"

namespace lockstep {

/// grid: "KEY=VALUE,VALUE,…" each; commas within brackets, braces and quotes belong to a value. Cells
/// "cell-1" … in the order of the lists, the last one changing fastest. ranges: "KEY=uniform(A,B)",
/// "KEY=log(A,B)" (uniform in the logarithm), "KEY=int(A,B)" (whole numbers, both ends) or a list as for a
/// grid, of which one value is drawn; n_random cells for each cell of the grid. Draw i of range r is a
/// function of (seed, i, r) alone, so that more cells leave the first ones as they are. Throws Error naming
/// the option and what to write.
std::vector<Trial> sweep_cells(const std::vector<std::string>& grid, const std::vector<std::string>& ranges,
                               int64_t n_random, uint64_t seed);

}  // namespace lockstep
