#include "io/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "io/tokenizer/byte_level.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// Patterns that begin a piece with a character behind a line feed which is no white space, whatever stands
/// before: those of GPT-3.5 and Llama 3, of Qwen 2, of GPT-2.
constexpr std::string_view kPatternsOfLines[] = {
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    kGpt2Pattern,
};

}  // namespace

PreTokenizer::PreTokenizer(const TokenizerSpec& spec, const std::string& where)
    : n_before_blank_(spec.splits.size()), add_prefix_space_(spec.add_prefix_space) {
  for (const SplitStep& split : spec.splits)
    steps_.push_back(
        {split.is_literal ? Pattern::literal(split.pattern, where) : Pattern(split.pattern, where),
         split.keeps_matches, split.keeps_others});
  if (spec.splits_as_gpt2) steps_.push_back({Pattern(std::string(kGpt2Pattern), where), true, true});
}

void PreTokenizer::each_piece(std::string_view text, const Visit& visit) const {
  if (!text.empty()) apply(0, text, 0, visit);
}

void PreTokenizer::apply(size_t step, std::string_view text, int64_t offset, const Visit& visit) const {
  std::string with_blank;
  if (step == n_before_blank_ && add_prefix_space_ && !text.starts_with(' ')) {
    with_blank = " " + std::string(text);
    text = with_blank;
    --offset;
  }
  if (step == steps_.size()) {
    visit(text, offset);
    return;
  }
  const auto go_on = [&](size_t begin, size_t end) {
    apply(step + 1, text.substr(begin, end - begin), offset + static_cast<int64_t>(begin), visit);
  };
  size_t done = 0;
  const Step& of = steps_[step];
  of.pattern.each_match(text, [&](size_t begin, size_t end) {
    if (done < begin && of.keeps_others) go_on(done, begin);
    if (of.keeps_matches) go_on(begin, end);
    done = end;
  });
  if (done < text.size() && of.keeps_others) go_on(done, text.size());
}

Tokenizer::Tokenizer(TokenizerSpec spec, const std::string& where)
    : spec_(std::move(spec)),
      is_special_(spec_.tokens.size()),
      added_(spec_.added),
      pre_tokenizer_(spec_, where),
      pairs_(spec_) {
  for (const AddedToken& token : spec_.added)
    if (token.special) is_special_[static_cast<size_t>(token.id)] = true;
}

int64_t Tokenizer::encode(std::string_view text, std::vector<int32_t>* ids) {
  int64_t bad = -1;
  added_.each_piece(text, [&](std::string_view part, int32_t id) {
    if (bad >= 0) return;
    if (id >= 0) {
      ids->push_back(id);
      return;
    }
    pre_tokenizer_.each_piece(part, [&](std::string_view piece, int64_t offset) {
      if (bad >= 0) return;
      const int64_t at = pairs_.encode(piece, ids);
      if (at >= 0) bad = std::max<int64_t>(0, part.data() - text.data() + offset + at);
    });
  });
  return bad;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) {
  if (const int64_t at = first_byte_beyond_utf8(text); at < static_cast<int64_t>(text.size()))
    throw Error("the text", fmt::format("byte {} begins no UTF-8 character", at), "give it as UTF-8");
  std::vector<int32_t> ids;
  if (const int64_t at = encode(text, &ids); at >= 0)
    throw Error("the text",
                fmt::format("byte {} is {:#04x}, for which the tokenizer has no token", at,
                            static_cast<unsigned>(static_cast<unsigned char>(text[static_cast<size_t>(at)]))),
                "leave it out, or train the tokenizer with all 256 bytes");
  return ids;
}

std::string Tokenizer::bytes_of(int32_t id) const {
  if (id < 0 || id >= size())
    throw Error("decode", fmt::format("{} is none of the ids 0 to {}", id, size() - 1),
                "give ids of this tokenizer");
  return is_special_[static_cast<size_t>(id)] ? "" : bytes_of_token(spec_.tokens[static_cast<size_t>(id)]);
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += bytes_of(id);
  return utf8_with_replacements(bytes);
}

bool Tokenizer::may_cut_between_lines() const {
  const auto cuts_lines = [](const SplitStep& split) {
    return !split.is_literal && std::find(std::begin(kPatternsOfLines), std::end(kPatternsOfLines),
                                          split.pattern) != std::end(kPatternsOfLines);
  };
  const auto spans_lines = [](const AddedToken& token) {
    return token.lstrip || token.content.find('\n') != std::string::npos;
  };
  const bool is_known = spec_.splits.empty() ? spec_.splits_as_gpt2
                                             : spec_.splits.size() == 1 && cuts_lines(spec_.splits.front());
  return is_known && !spec_.add_prefix_space &&
         std::none_of(spec_.added.begin(), spec_.added.end(), spans_lines);
}

}  // namespace lockstep
