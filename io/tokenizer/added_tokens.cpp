#include "io/tokenizer/added_tokens.h"

#include <algorithm>

#include "io/tokenizer/byte_level.h"

namespace lockstep {

namespace {

size_t character_before(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (text[end] & 0xC0) == 0x80);
  return end;
}

size_t character_end(std::string_view text, size_t begin) {
  do ++begin;
  while (begin < text.size() && (text[begin] & 0xC0) == 0x80);
  return begin;
}

size_t white_space_before(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t begin = character_before(text, end);
    if (!is_white_space(text.substr(begin, end - begin))) break;
    end = begin;
  }
  return end;
}

size_t white_space_behind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const size_t end = character_end(text, begin);
    if (!is_white_space(text.substr(begin, end - begin))) break;
    begin = end;
  }
  return begin;
}

}  // namespace

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens)
    : word_("[\\w\u200C\u200D]", "the characters of words") {
  for (const AddedToken& token : tokens) groups_[token.normalized ? 1 : 0].tokens.push_back(token);
  for (Group& group : groups_) {
    std::stable_sort(group.tokens.begin(), group.tokens.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.content.size() > b.content.size();
    });
    if (!group.tokens.empty()) group.by_first_byte.resize(256);
    for (size_t i = 0; i < group.tokens.size(); ++i)
      group.by_first_byte[static_cast<uint8_t>(group.tokens[i].content[0])].push_back(i);
  }
}

void AddedTokens::each_piece(std::string_view text, const Visit& visit) const {
  split(groups_[0], text, [&](std::string_view piece, int32_t id) {
    if (id >= 0)
      visit(piece, id);
    else
      split(groups_[1], piece, visit);
  });
}

bool AddedTokens::stands_in_word(std::string_view text, size_t begin, size_t end) const {
  const auto is_word = [&](size_t first, size_t last) {
    bool found = false;
    word_.each_match(text.substr(first, last - first), [&](size_t, size_t) { found = true; });
    return found;
  };
  return (begin > 0 && is_word(character_before(text, begin), begin)) ||
         (end < text.size() && is_word(end, character_end(text, end)));
}

void AddedTokens::split(const Group& group, std::string_view text, const Visit& visit) const {
  size_t done = 0;
  if (!group.tokens.empty()) {
    for (size_t at = 0; at < text.size();) {
      const AddedToken* token = nullptr;
      for (const size_t i : group.by_first_byte[static_cast<uint8_t>(text[at])]) {
        if (text.compare(at, group.tokens[i].content.size(), group.tokens[i].content) != 0) continue;
        token = &group.tokens[i];
        break;
      }
      if (!token) {
        ++at;
        continue;
      }
      size_t begin = at, end = at + token->content.size();
      at = end;
      if (token->single_word && stands_in_word(text, begin, end)) continue;
      if (token->lstrip) begin = std::max(white_space_before(text, begin), done);
      if (token->rstrip) end = white_space_behind(text, end);
      if (done < begin) visit(text.substr(done, begin - done), -1);
      visit(text.substr(begin, end - begin), token->id);
      done = end;
    }
  }
  if (done < text.size()) visit(text.substr(done), -1);
}

}  // namespace lockstep
