// Writes sequences with an encoder and a decoder: greedily, or with a beam of the most probable beginnings.
// Each step runs the decoder over what has been written so far, so that any network that reads `previous` and
// scores what follows can be used, whatever it is made of.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/run/trained_model.h"

namespace lockstep {

struct DecodingOptions {
  int64_t beams = 1;  // 1: greedy
  /// A hypothesis counts its log-probability / length^penalty, its end counted (as Hugging Face's).
  double length_penalty = 1;
  int64_t max_length = 0;  // tokens, the end counted; 0: as the longest target of training
};

/// A token's log-probability for each of `scores`, by softmax.
std::vector<double> log_softmax(std::span<const float> scores);

class SequenceDecoder {
 public:
  /// samples: written at a time. `steps`: of the other inputs that are sequences. `model` must outlive it.
  /// Throws Error where no input is the sequence written so far, or its vocabulary has no <s> and </s>.
  SequenceDecoder(const TrainedModel& model, const std::map<std::string, int64_t>& steps, int64_t samples,
                  const DecodingOptions& options);
  ~SequenceDecoder();

  /// The decoder's input, and the graph's inputs that arrays must be given for, in their order: all but that
  /// one and its lengths.
  const std::string& previous() const;
  std::vector<std::string> given_inputs() const;
  const Graph& graph() const;  // that of a step, for arrays: their shapes

  /// arrays: of given_inputs(), each (samples, …) as the graph's inputs. Returns the ids of each of the first
  /// n samples without <s> and </s>.
  std::vector<std::vector<int64_t>> write(const std::vector<const void*>& arrays, int64_t n);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
