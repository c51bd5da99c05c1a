// Candidates lie in a heap by their count when they were put there; one whose count has changed since is put
// back with the new one. A token that is made of two different pairs ("a" "bc" and "ab" "c") can bring back a
// pair that is a candidate already; it is one twice then, each with words of its own, as in the library.
#include "io/tokenizer/byte_pair_training.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "io/tokenizer/byte_level.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

using Pair = std::pair<int32_t, int32_t>;

struct PairHash {
  size_t operator()(const Pair& pair) const {
    return std::hash<uint64_t>()(static_cast<uint64_t>(static_cast<uint32_t>(pair.first)) << 32 |
                                 static_cast<uint32_t>(pair.second));
  }
};

struct Candidate {
  int64_t count = 0;
  Pair pair;
  std::vector<int32_t> words;  // in which it has become a pair
};

/// The most frequent first; of equal ones that of the lower ids.
bool comes_later(const Candidate& a, const Candidate& b) {
  return a.count != b.count ? a.count < b.count : b.pair < a.pair;
}

struct Word {
  std::vector<int32_t> ids;
  int64_t count = 0;
};

class Merging {
 public:
  explicit Merging(std::vector<Word> words) : words_(std::move(words)) {
    for (size_t w = 0; w < words_.size(); ++w) {
      const std::vector<int32_t>& ids = words_[w].ids;
      for (size_t i = 0; i + 1 < ids.size(); ++i) change({ids[i], ids[i + 1]}, 1, static_cast<int32_t>(w));
    }
    offer();
  }

  /// The next pair to merge; false: none is left that occurs `least` times.
  bool next(int64_t least, Candidate* result) {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), comes_later);
      Candidate top = std::move(heap_.back());
      heap_.pop_back();
      const int64_t count = counts_[top.pair];
      if (count == top.count) {
        if (count < 1 || count < least) return false;
        *result = std::move(top);
        return true;
      }
      top.count = count;
      push(std::move(top));
    }
    return false;
  }

  void merge(const Candidate& candidate, int32_t id) {
    for (const int32_t w : candidate.words) {
      std::vector<int32_t>& ids = words_[static_cast<size_t>(w)].ids;
      size_t n = 0;  // ids that stay
      for (size_t i = 0; i < ids.size(); ++i, ++n) {
        const bool is_pair = i + 1 < ids.size() && Pair(ids[i], ids[i + 1]) == candidate.pair;
        if (!is_pair) {
          ids[n] = ids[i];
          continue;
        }
        if (n > 0) {
          change({ids[n - 1], ids[i]}, -1, w);
          change({ids[n - 1], id}, 1, w);
        }
        if (i + 2 < ids.size()) {
          change({ids[i + 1], ids[i + 2]}, -1, w);
          change({id, ids[i + 2]}, 1, w);
        }
        ids[n] = id;
        ++i;
      }
      ids.resize(n);
    }
    offer();
  }

 private:
  void change(const Pair& pair, int64_t by, int32_t word) {
    counts_[pair] += by * words_[static_cast<size_t>(word)].count;
    if (by < 0) return;
    std::vector<int32_t>& in = new_[pair];
    if (in.empty() || in.back() != word) in.push_back(word);
  }

  void offer() {
    for (auto& [pair, words] : new_)
      if (const int64_t count = counts_[pair]; count > 0) push({count, pair, std::move(words)});
    new_.clear();
  }

  void push(Candidate candidate) {
    heap_.push_back(std::move(candidate));
    std::push_heap(heap_.begin(), heap_.end(), comes_later);
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, int64_t, PairHash> counts_;
  std::unordered_map<Pair, std::vector<int32_t>, PairHash> new_;  // the words in which a pair has appeared
  std::vector<Candidate> heap_;
};

/// Special tokens, and the characters of bytes by code point.
std::vector<std::string> first_tokens(const BytePairTrainingOptions& options) {
  std::set<std::string> alphabet;  // as UTF-8, whose order is that of code points
  for (int byte = 0; byte < 256; ++byte) alphabet.insert(byte_character(static_cast<uint8_t>(byte)));
  std::vector<std::string> tokens = options.specials;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool is_again = std::count(tokens.begin(), tokens.end(), tokens[i]) > 1;
    if (tokens[i].empty() || is_again || alphabet.count(tokens[i]) > 0 || !is_utf8(tokens[i]))
      throw Error("tokenizer train",
                  fmt::format("the special token '{}' {}", printable(tokens[i]),
                              is_again ? "is given twice" : "is none"),
                  "give texts such as <|endoftext|>, each once");
  }
  tokens.insert(tokens.end(), alphabet.begin(), alphabet.end());
  if (options.n_tokens < static_cast<int64_t>(tokens.size()))
    throw Error("tokenizer train",
                fmt::format("a vocabulary of {} has no room for 256 bytes and {} special tokens",
                            options.n_tokens, options.specials.size()),
                fmt::format("give --vocab-size {} or more, such as 8000", tokens.size()));
  return tokens;
}

TokenizerSpec gpt2_spec() {
  TokenizerSpec spec;
  spec.splits_as_gpt2 = true;
  return spec;
}

}  // namespace

BytePairTraining::BytePairTraining() : pieces_(gpt2_spec(), "tokenizer train") {}

void BytePairTraining::add(std::string_view line) {
  pieces_.each_piece(line, [&](std::string_view piece, int64_t) {
    ++counts_[std::string(piece)];
    ++n_pieces_;
  });
}

TokenizerSpec BytePairTraining::train(const BytePairTrainingOptions& options) const {
  TokenizerSpec spec = gpt2_spec();
  spec.tokens = first_tokens(options);
  std::unordered_map<std::string, int32_t> ids;
  for (size_t id = 0; id < spec.tokens.size(); ++id) ids.emplace(spec.tokens[id], static_cast<int32_t>(id));
  std::vector<Word> words;
  for (const auto& [piece, count] : std::map<std::string, int64_t>(counts_.begin(), counts_.end())) {
    Word word{{}, count};
    for (const char byte : piece) word.ids.push_back(ids.at(byte_character(static_cast<uint8_t>(byte))));
    words.push_back(std::move(word));
  }

  Merging merging(std::move(words));
  std::map<Pair, size_t> ranks;
  for (Candidate best; static_cast<int64_t>(spec.tokens.size()) < options.n_tokens &&
                       merging.next(options.min_frequency, &best);) {
    const std::string token = spec.tokens[static_cast<size_t>(best.pair.first)] +
                              spec.tokens[static_cast<size_t>(best.pair.second)];
    const auto [entry, is_new] = ids.emplace(token, static_cast<int32_t>(spec.tokens.size()));
    if (is_new) spec.tokens.push_back(token);
    const int32_t id = entry->second;
    merging.merge(best, id);
    // Of a pair that is merged twice the later rank counts.
    if (const auto found = ranks.find(best.pair); found != ranks.end())
      spec.merges[found->second].result = -1;
    ranks[best.pair] = spec.merges.size();
    spec.merges.push_back({best.pair.first, best.pair.second, id});
  }
  std::erase_if(spec.merges, [](const Merge& merge) { return merge.result < 0; });
  spec.in_model.assign(spec.tokens.size(), true);
  for (size_t id = 0; id < options.specials.size(); ++id)
    spec.added.push_back({options.specials[id], static_cast<int32_t>(id), true});
  return spec;
}

}  // namespace lockstep
