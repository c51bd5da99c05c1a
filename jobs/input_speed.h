// What `bench input` measures on one dataset: samples/s of the loader in several orders, and its memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/dataset/dataset.h"
#include "io/loader/sampler.h"

namespace lockstep {

/// What is measured on one dataset.
struct InputWish {
  int64_t micro = 64, cache_bytes = 0;
  int threads = 1;
  Shuffle window;  // window 0: none is measured
  double time_s = 5;
};

struct InputOrder {
  std::string name;
  std::vector<double> rates;  // samples/s of all ranks, per round
};

struct InputSpeed {
  std::string layout;
  std::vector<InputOrder> orders;  // the first is sequential
  double sample_bytes = 0;         // stored
  double peak_mb = 0, conversion_rate = 0;
};

/// Collective. Kinds of order take turns, so that a machine's moods meet all of them.
InputSpeed measure_input(const Dataset& data, const std::string& layout, const InputWish& wish,
                         Communicator& comm);

/// Lines of a table: medians over the rounds.
void print_input(const InputSpeed& speed);
std::string json_of_input(const InputSpeed& speed);

}  // namespace lockstep
