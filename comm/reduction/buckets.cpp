// Cuts the gradient arena into buckets at segment borders.
#include <algorithm>

#include "comm/reduction/gradient_reducer.h"
#include "kernels/error.h"

namespace lockstep {

std::vector<Bucket> make_buckets(std::span<const int64_t> borders, int64_t first_bytes,
                                 int64_t bucket_bytes) {
  if (borders.empty() || borders.front() != 0 || !std::is_sorted(borders.begin(), borders.end()))
    throw Error("make_buckets", "segment borders must ascend from 0",
                "sort the borders and begin them with 0");
  std::vector<Bucket> buckets;
  const int64_t end = borders.back();
  int64_t begin = 0;
  for (const int64_t border : borders) {
    const int64_t wanted_bytes = buckets.empty() ? first_bytes : bucket_bytes;
    if (border == begin || (border < end && (border - begin) * int64_t(sizeof(float)) < wanted_bytes))
      continue;
    buckets.push_back({begin, border});
    begin = border;
  }
  return buckets;
}

}  // namespace lockstep
