// Which rows of a dataset go to which part of a split: a function of the labels (or groups), the shares and
// the seed alone, so that any number of ranks finds the same.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

struct SplitPart {
  std::string name;
  double share = 0;   // of all rows, in (0, 1); 0: `count` says it
  int64_t count = 0;  // rows
};

/// "train=0.8,validation=0.1,test=0.1" or "train=50000,test=10000". Throws Error: no NAME=SIZE, fewer than
/// two parts, names that are no folders' or are there twice, shares that do not sum to one, shares beside
/// counts.
std::vector<SplitPart> read_split_parts(const std::string& text);

enum class SplitRule : uint8_t {
  kRandom,      // any row anywhere
  kStratified,  // each class's rows in each part are its share of them, rounded up or down
  kGrouped,     // rows of one group stay together; parts come as near to their sizes as that allows
  kInOrder      // the first rows, the next …
};

struct SplitRules {
  std::vector<SplitPart> parts;
  SplitRule rule = SplitRule::kRandom;
  uint64_t seed = 0;
  std::span<const int64_t> labels;  // of all rows: of kStratified, and to find classes left empty; or none
  std::vector<std::string> class_names;  // for messages; may be empty
  std::span<const int64_t> groups;       // of all rows: of kGrouped
  bool may_be_empty = false;             // a part may lack a class
};

/// The rows of each part, ascending. With counts that sum to less than n_rows the others are in no part.
/// Throws Error: more rows are asked for than there are, an empty part, a class without a row in a part
/// (named, with its counts).
std::vector<std::vector<int64_t>> split_rows(const SplitRules& rules, int64_t n_rows);

}  // namespace lockstep
