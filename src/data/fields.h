// What the files of this folder ask of a dataset's fields.
#pragma once

#include <map>
#include <string>

#include "src/data/data.h"

namespace lockstep {

/// "image uint8 (1, 28, 28), label int64 ()", for messages.
std::string field_list(const Dataset& dataset);
/// The graph's inputs and their fields; a single one is called "input".
std::map<std::string, std::string> named_inputs(const DataFields& fields);
/// What is left of a row (T, …); of ragged ones, of the longest.
Shape delivered(const Field& field, const DataFields::Cut& cut, int64_t longest = 0);
/// The vocabulary of a network that guesses masked tokens: that of the data, where none is the mask with one
/// more.
std::vector<std::string> with_mask_token(std::vector<std::string> vocabulary,
                                         const DataOptions::Masking& masking);
/// Elements of the longest row of a field as it is read, cut to max_length (0: not).
int64_t longest_row(const Dataset& data, const std::string& field, int64_t max_length);
/// data.normalize: mean_image: means of each number of the input over all samples, deviations of 1. Throws
/// Error for sequences, and beside augmentation.
Normalization mean_image(const Dataset& data, const DataFields& fields, const DataOptions& job);
/// The vertex that is augmented; -1: none is.
int augmented_input(const DataOptions& job, const Graph& graph);
/// The field that an input of the graph reads.
const Field& field_of_input(const Dataset& dataset, const DataFields& fields, const Graph& graph, int vertex);

}  // namespace lockstep
