#include "src/run/generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lockstep {

int64_t draw_token(std::span<const float> scores, const SamplingOptions& options, double uniform,
                   int64_t excluded) {
  std::vector<int64_t> order;
  for (int64_t token = 0; token < static_cast<int64_t>(scores.size()); ++token)
    if (token != excluded) order.push_back(token);
  const auto score = [&](int64_t token) { return scores[static_cast<size_t>(token)]; };
  const auto before = [&](int64_t a, int64_t b) {
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  };
  if (options.temperature == 0) return *std::min_element(order.begin(), order.end(), before);
  std::sort(order.begin(), order.end(), before);
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(order.size()))
    order.resize(static_cast<size_t>(options.top_k));

  std::vector<double> weights;
  for (const int64_t token : order)
    weights.push_back(std::exp((double{score(token)} - score(order[0])) / options.temperature));
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t n_kept = 0;
  double kept = 0;
  while (n_kept < weights.size() && (n_kept == 0 || kept < options.top_p * all)) kept += weights[n_kept++];
  double left = uniform * kept;
  for (size_t i = 0; i + 1 < n_kept; ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[n_kept - 1];
}

}  // namespace lockstep
