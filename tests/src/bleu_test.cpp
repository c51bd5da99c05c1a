// BLEU against the numbers of sacrebleu 2.6.0: tokens of 13a, and scores of small corpora with its defaults.
#include "src/run/generate/bleu.h"

#include <gtest/gtest.h>

#include <utility>

namespace lockstep {
namespace {

using Texts = std::vector<std::string>;

TEST(Bleu, TokensAreThoseOf13a) {
  const std::vector<std::pair<std::string, Texts>> cases{
      {"don't", {"don't"}},
      {"U.S.", {"U", ".", "S", "."}},
      {"10-year", {"10", "-", "year"}},
      {"well-known", {"well-known"}},
      {"1,000.5", {"1,000.5"}},
      {"He said: \"3.5% (or $4), maybe...\"",
       {"He", "said", ":", "\"", "3.5", "%", "(", "or", "$", "4", ")", ",", "maybe", ".", ".", ".", "\""}},
      {"a &amp;lt; b &quot;x&quot;", {"a", "<", "b", "\"", "x", "\""}},
      {"x<skipped>y z-\nb", {"xy", "zb"}},
      {"end -\n", {"end", "-"}},
      {"caf\u00e9,na\u00efve.\u3000\u4e2d\u6587.",
       {"caf\u00e9", ",", "na\u00efve", ".", "\u4e2d\u6587", "."}},
      {"a\u00a0b\u2009c", {"a", "b", "c"}},
      {"..,,.", {".", ".", ",", ",", "."}},
      {"3.,4", {"3", ".", ",", "4"}},
      {"5-5-5 -6", {"5", "-", "5", "-", "5", "-6"}},
      {"[a]{b}`c`^d_e\\f|~",
       {"[", "a", "]", "{", "b", "}", "`", "c", "`", "^", "d", "_", "e", "\\", "f", "|", "~"}},
      {"/usr/bin;x=y#z@w*v+u!?",
       {"/", "usr", "/", "bin", ";", "x", "=", "y", "#", "z", "@", "w", "*", "v", "+", "u", "!", "?"}},
      {"", {}},
      {"  \n", {}},
  };
  for (const auto& [text, tokens] : cases) EXPECT_EQ(tokens_13a(text), tokens) << text;
}

TEST(Bleu, ScoresAreSacrebleus) {
  struct Case {
    Texts written, targets;
    double score;
    std::array<double, kBleuOrder> precisions;
    double brevity_penalty;
    int64_t written_length, target_length;
  };
  const std::vector<Case> cases{
      {{"the cat sat on the mat", "a dog, barking loudly."},
       {"the cat sat on a mat", "the dog is barking loudly."},
       39.12711450183219,
       {75, 50, 37.5, 100.0 / 6},
       1,
       12,
       12},
      // No n-gram of three or four is right: a half, a quarter …
      {{"the the the the"},
       {"the cat is on the mat"},
       11.521590992286539,
       {50, 100.0 / 6, 12.5, 12.5},
       0.6065306597126334,
       4,
       6},
      {{"a b x d e", "q"},
       {"a b c d e f g h", "r"},
       17.509031982842505,
       {200.0 / 3, 50, 100.0 / 6, 12.5},
       0.6065306597126334,
       6,
       9},
      {{"2026-11-20", "1999-01-02"},
       {"2026-11-20", "1999-01-03"},
       83.75922397086269,
       {90, 87.5, 250.0 / 3, 75},
       1,
       10,
       10},
      {{"one two three four five six"}, {"one two three four five six"}, 100, {100, 100, 100, 100}, 1, 6, 6},
      // Texts of three tokens have no n-gram of four.
      {{"a b c"}, {"a b c"}, 0, {100, 100, 100, 0}, 1, 3, 3},
      {{"x"}, {"y"}, 0, {0, 0, 0, 0}, 1, 1, 1},
      {{""}, {"y"}, 0, {0, 0, 0, 0}, 0, 0, 1},
  };
  for (const Case& c : cases) {
    const Bleu bleu = corpus_bleu(c.written, c.targets);
    EXPECT_NEAR(bleu.score, c.score, 1e-10) << c.written[0];
    for (size_t n = 0; n < kBleuOrder; ++n)
      EXPECT_NEAR(bleu.precisions[n], c.precisions[n], 1e-10) << c.written[0] << ": n-grams of " << n + 1;
    EXPECT_NEAR(bleu.brevity_penalty, c.brevity_penalty, 1e-15) << c.written[0];
    EXPECT_EQ(bleu.written_length, c.written_length) << c.written[0];
    EXPECT_EQ(bleu.target_length, c.target_length) << c.written[0];
  }
}

}  // namespace
}  // namespace lockstep
