// Generator: a trained language model goes on with a text, token by token. Its recurrent layers carry their
// state from one to the next, and attention keeps the keys and values of the steps before, so that a token
// costs one step. Attention sees as many tokens as in training: when those are full, it goes on from the
// later half of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/run/generate/sampling.h"
#include "src/run/trained_model.h"

namespace lockstep {

class Generator {
 public:
  /// `checkpoint`: where the model is from, for messages. Throws Error where its network gives no scores per
  /// token of one sequence of tokens, or where some of its layers need the whole sequence (a backward
  /// direction).
  Generator(TrainedModel model, const std::string& checkpoint);
  ~Generator();

  /// What the network expects of its data: what each id stands for.
  const DataContract& contract() const;
  int64_t n_tokens() const;  // V

  /// Forgets what it has read.
  void begin();
  /// Reads one more token.
  void read(int64_t token);
  /// Draws the next token by the scores behind what it has read, and reads it.
  int64_t next(const SamplingOptions& options);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
