// Tokens are found on bytes: what the rules of 13a ask of a character (is it a digit, a mark) every byte of a
// character beyond ASCII answers alike.
#include "src/run/generate/bleu.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string_view>

namespace lockstep {

namespace {

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

bool is_digit_byte(char c) { return c >= '0' && c <= '9'; }

/// Marks that stand alone everywhere: ASCII but letters, digits, ' , - . and what controls.
bool stands_alone(char c) {
  const std::string_view ranges[] = {"{~", "[`", " &", "(+", ":@", "//"};
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [&](std::string_view range) { return c >= range[0] && c <= range[1]; });
}

bool is_period_or_comma(char c) { return c == '.' || c == ','; }

/// Replaces each pair of neighbours that `is` holds for, from the left and without overlap.
template <typename Is>
std::string replace_pairs(const std::string& text, const Is& is, const char* before, const char* between,
                          const char* after) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && is(text[i], text[i + 1])) {
      result += before;
      result += text[i];
      result += between;
      result += text[++i];
      result += after;
    } else {
      result += text[i];
    }
  }
  return result;
}

/// Bytes of the white space (as Python's str.split takes it) that `text` begins with; 0: it begins with none.
size_t n_bytes_of_space(std::string_view text) {
  const auto c = static_cast<unsigned char>(text[0]);
  if (c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F)) return 1;
  for (const std::string_view space :
       {"\u0085", "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
        "\u2007", "\u2008", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"})
    if (text.starts_with(space)) return space.size();
  return 0;
}

std::vector<std::string> split_at_space(const std::string& text) {
  std::vector<std::string> words;
  bool is_inside = false;
  for (size_t i = 0; i < text.size();) {
    const size_t n_space = n_bytes_of_space(std::string_view(text).substr(i));
    if (n_space == 0) {
      if (!is_inside) words.emplace_back();
      words.back() += text[i];
    }
    is_inside = n_space == 0;
    i += std::max<size_t>(1, n_space);
  }
  return words;
}

/// White space at the end goes first: it decides whether a "-" ends a line.
std::string without_trailing_space(std::string text) {
  size_t end = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t n_space = n_bytes_of_space(std::string_view(text).substr(i));
    i += std::max<size_t>(1, n_space);
    if (n_space == 0) end = i;
  }
  text.resize(end);
  return text;
}

using NGramCounts = std::map<std::vector<std::string>, int64_t>;

NGramCounts count_n_grams(const std::vector<std::string>& tokens, size_t n) {
  NGramCounts counts;
  for (size_t i = 0; i + n <= tokens.size(); ++i)
    ++counts[{tokens.begin() + static_cast<int64_t>(i), tokens.begin() + static_cast<int64_t>(i + n)}];
  return counts;
}

}  // namespace

std::vector<std::string> tokens_13a(const std::string& text) {
  std::string line = without_trailing_space(text);
  line = replace_all(line, "<skipped>", "");
  line = replace_all(line, "-\n", "");
  line = replace_all(line, "\n", " ");
  line = replace_all(line, "&quot;", "\"");
  line = replace_all(line, "&amp;", "&");
  line = replace_all(line, "&lt;", "<");
  line = replace_all(line, "&gt;", ">");
  std::string apart = " ";
  for (const char c : line + " ") {
    if (stands_alone(c)) apart += ' ';
    apart += c;
    if (stands_alone(c)) apart += ' ';
  }
  line = replace_pairs(
      apart, [](char a, char b) { return !is_digit_byte(a) && is_period_or_comma(b); }, "", " ", " ");
  line = replace_pairs(
      line, [](char a, char b) { return is_period_or_comma(a) && !is_digit_byte(b); }, " ", " ", "");
  line = replace_pairs(
      line, [](char a, char b) { return is_digit_byte(a) && b == '-'; }, "", " ", " ");
  return split_at_space(line);
}

Bleu corpus_bleu(const std::vector<std::string>& written, const std::vector<std::string>& targets) {
  Bleu bleu;
  std::array<int64_t, kBleuOrder> right{}, all{};
  for (size_t i = 0; i < written.size(); ++i) {
    const std::vector<std::string> tokens = tokens_13a(written[i]), wanted = tokens_13a(targets[i]);
    bleu.written_length += static_cast<int64_t>(tokens.size());
    bleu.target_length += static_cast<int64_t>(wanted.size());
    for (size_t n = 1; n <= kBleuOrder; ++n) {
      const NGramCounts there = count_n_grams(wanted, n);
      for (const auto& [n_gram, count] : count_n_grams(tokens, n)) {
        all[n - 1] += count;
        // One that the target has once is right once.
        if (const auto found = there.find(n_gram); found != there.end())
          right[n - 1] += std::min(count, found->second);
      }
    }
  }
  if (bleu.written_length < bleu.target_length) {
    const double ratio = static_cast<double>(bleu.target_length) / static_cast<double>(bleu.written_length);
    bleu.brevity_penalty = bleu.written_length > 0 ? std::exp(1 - ratio) : 0;
  }
  if (std::all_of(right.begin(), right.end(), [](int64_t n) { return n == 0; })) return bleu;
  double smoothing = 1, sum_of_logs = 0;
  for (size_t n = 0; n < kBleuOrder && all[n] > 0; ++n) {
    // An order without any right n-gram counts as half of one, the next such as a quarter, and so on.
    const double counted = right[n] > 0 ? static_cast<double>(right[n]) : 1 / (smoothing *= 2);
    bleu.precisions[n] = 100 * counted / static_cast<double>(all[n]);
  }
  for (const double precision : bleu.precisions) {
    if (precision == 0) return bleu;  // all texts are shorter than that
    sum_of_logs += std::log(precision);
  }
  bleu.score = bleu.brevity_penalty * std::exp(sum_of_logs / kBleuOrder);
  return bleu;
}

}  // namespace lockstep
