// One pass over the data: what a network gets wrong, and what excites its units.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "src/run/explain/subject.h"
#include "src/run/explain/unit_gradient.h"

namespace lockstep {

struct JudgedSample {
  int64_t sample = 0;
  double loss = 0;
  int64_t truth = -1, predicted = -1;  // classes; -1: there are none
  double probability = 0;              // of the predicted class
};

struct ScannedData {
  std::vector<JudgedSample> worst;  // by loss, the largest first
  /// Of each pair (true class, predicted class) that differ: how many, and some of them.
  struct Mistake {
    int64_t count = 0;
    std::vector<int64_t> first;
  };
  std::map<std::pair<int64_t, int64_t>, Mistake> mistakes;
  /// Of each unit: the samples with its largest values anywhere in the image, the largest first.
  std::vector<std::vector<std::pair<double, int64_t>>> exciting;
  JudgedSample asked;  // the sample that the options name
};

/// Losses are those of classifiers by softmax, and squared distances otherwise; none without targets. Samples
/// of equal value keep the order of the data.
ScannedData scan(const ExplainedModel& subject, const std::vector<Unit>& units, size_t most, int64_t asked);

}  // namespace lockstep
