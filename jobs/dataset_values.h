// What a dataset's numbers are: for `lockstep inspect`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/dataset/dataset.h"

namespace lockstep {

/// Of all numbers of a field, as read() gives them.
struct FieldValues {
  int64_t n = 0, n_nan = 0, n_infinite = 0;
  double least = 0, most = 0, mean = 0;  // of the finite ones; 0 where there are none
};

/// Reads the whole field, ragged or not. The mean is summed in double in the order of the numbers.
FieldValues read_field_values(const Dataset& dataset, const Field& field);

struct Duplicates {
  int64_t n = 0;                            // samples whose input equals that of an earlier one
  int64_t n_other = 0;                      // of these, with another class than the first of their kind
  int64_t first_row = -1, second_row = -1;  // an example; of another class where there is one
};
/// Compares the bytes of a field's rows by a hash of 128 bits. class_ids: of all samples, or empty.
Duplicates find_duplicates(const Dataset& dataset, const Field& field, const std::vector<int64_t>& class_ids);

/// A bar of up to `width` characters for `part` of `most`; at least one where part > 0.
std::string text_bar(int64_t part, int64_t most, int width);

}  // namespace lockstep
