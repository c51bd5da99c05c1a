// What a network of images does with its data, in pictures: what it gets wrong, what it looks at, what its
// layers make of an image, and what its units answer to.
#pragma once

#include <string>
#include <vector>

#include "src/run/explain/pictures.h"
#include "src/run/explain/subject.h"

namespace lockstep {

struct Explanation {
  int64_t step = 0;  // of the checkpoint
  std::vector<PictureGroup> groups;
};

/// One process. Throws Error for networks of other inputs, and for layers, units and samples that are not
/// there.
Explanation explain(const ExplainOptions& options);

}  // namespace lockstep
