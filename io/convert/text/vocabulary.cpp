#include "io/convert/text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "io/convert/table/csv_row.h"
#include "io/dataset/dataset.h"
#include "kernels/error.h"

namespace lockstep {

void TokenCounts::add(std::string_view token, int64_t n) {
  const auto found = counts_.find(token);
  if (found != counts_.end())
    found->second += n;
  else
    counts_.emplace(token, n);
}

void TokenCounts::share(Communicator& comm) {
  std::string mine;  // "COUNT BYTES:token" one after the other; a token may hold any byte
  for (const auto& [token, n] : counts_) mine += fmt::format("{} {}:{}", n, token.size(), token);
  counts_.clear();
  for (const std::string& theirs : comm.all_gather_strings(mine)) {
    for (size_t at = 0; at < theirs.size();) {
      const size_t blank = theirs.find(' ', at), colon = theirs.find(':', blank);
      const int64_t n = std::stoll(theirs.substr(at, blank - at));
      const auto n_bytes = static_cast<size_t>(std::stoll(theirs.substr(blank + 1, colon - blank - 1)));
      add(std::string_view(theirs).substr(colon + 1, n_bytes), n);
      at = colon + 1 + n_bytes;
    }
  }
}

Vocabulary::Vocabulary(std::vector<std::string> tokens, const std::string& where)
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i)
    if (!ids_.emplace(tokens_[i], static_cast<int32_t>(i)).second)
      throw Error(where, "the vocabulary holds " + quote_for_message(tokens_[i]) + " twice",
                  "name each token once");
  if (const auto found = ids_.find(kUnknown); found != ids_.end()) unknown_ = found->second;
}

Vocabulary Vocabulary::choose(const TokenCounts& counts, TokenLevel level,
                              const std::vector<std::string>& specials, int64_t limit) {
  std::vector<std::pair<int64_t, std::string_view>> found;
  for (const auto& [token, n] : counts.counts()) found.emplace_back(-n, token);
  std::vector<std::string> tokens = specials;
  const auto n_all = static_cast<int64_t>(specials.size() + found.size());
  const bool has_unknown = std::find(specials.begin(), specials.end(), kUnknown) != specials.end();
  if (limit > 0 && limit < n_all) {
    if (!has_unknown) tokens.emplace(tokens.begin(), kUnknown);
    const int64_t room = limit - static_cast<int64_t>(tokens.size());
    if (room < 1)
      throw Error(
          "convert",
          fmt::format("a vocabulary of {} has no room for tokens beside {}", limit, fmt::join(tokens, ", ")),
          fmt::format("give --vocabulary {} or more", tokens.size() + 1));
    std::sort(found.begin(), found.end());
    found.resize(static_cast<size_t>(room));
  }
  std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
    return level == TokenLevel::kCharacters ? a.second < b.second : a < b;
  });
  for (const auto& [n, token] : found) tokens.emplace_back(token);
  return {std::move(tokens), "convert"};
}

Vocabulary Vocabulary::of_dataset(const std::string& path, const std::string& field) {
  DatasetOptions options;
  options.fields = {field};
  options.with_others = false;
  const Dataset dataset = Dataset::open(path, options);
  if (dataset.vocabulary(field).empty())
    throw Error(path, "field " + field + " has no vocabulary",
                "name a dataset that lockstep convert made of text, or one with a dataset of texts called " +
                    field + "_vocabulary");
  return {dataset.vocabulary(field), path};
}

int64_t Vocabulary::n_unknown(const TokenCounts& counts) const {
  int64_t n_unknown = 0;
  for (const auto& [token, n] : counts.counts())
    if (ids_.find(token) == ids_.end()) n_unknown += n;
  return n_unknown;
}

}  // namespace lockstep
