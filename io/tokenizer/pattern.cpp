#define PCRE2_CODE_UNIT_WIDTH 8
#include "io/tokenizer/pattern.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <utility>

#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

/// Unicode's White_Space, and the characters of words (Alphabetic, marks, digits, connectors), for [...].
constexpr const char* kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr const char* kWord = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9})";

/// A pattern of Oniguruma's Ruby syntax as PCRE2's.
class Rewriting {
 public:
  Rewriting(const std::string& pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string result() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        if (c == '[') refuse("a class within a class");
        if (pattern_.compare(at_, 2, "&&") == 0) refuse("an intersection of classes");
        if (c == ']') in_class_ = false;
        out_ += c;
        ++at_;
      } else if (c == '[') {
        in_class_ = true;
        out_ += c;
        ++at_;
        if (at_ < pattern_.size() && pattern_[at_] == '^') out_ += pattern_[at_++];
      } else if (c == '{') {
        interval();
      } else {
        if (pattern_.compare(at_, 2, "(?") == 0) group();
        out_ += c;
        ++at_;
      }
    }
    return out_;
  }

 private:
  void escape() {
    if (at_ + 1 == pattern_.size()) refuse("a backslash at its end");
    const char c = pattern_[at_ + 1];
    if (c == 'p' || c == 'P') {
      category();
      return;
    }
    at_ += 2;
    const std::string set = c == 's' || c == 'S' ? kSpace : c == 'w' || c == 'W' ? kWord : "";
    if (!set.empty()) {
      const bool negated = c == 'S' || c == 'W';
      if (in_class_ && negated) refuse(std::string("\\") + c + " within a class");
      out_ += in_class_ ? set : (negated ? "[^" : "[") + set + "]";
      return;
    }
    const bool is_alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (is_alphanumeric && std::string_view("nrtdDfv").find(c) == std::string_view::npos)
      refuse(std::string("\\") + c);
    if (c == 'v') {
      out_ += "\\x{b}";  // in PCRE2 \v is any vertical space
      return;
    }
    out_ += '\\';
    out_ += c;
  }

  /// \p{L}, \p{Lu}, \pL; scripts and other properties mean different sets in the two libraries.
  void category() {
    size_t begin = at_ + 2, end = begin + 1;
    if (begin < pattern_.size() && pattern_[begin] == '{') {
      ++begin;
      if (begin < pattern_.size() && pattern_[begin] == '^') ++begin;
      end = pattern_.find('}', begin);
      if (end == std::string::npos || end - begin < 1 || end - begin > 2)
        refuse("a property that is no general category such as \\p{L} or \\p{Lu}");
      ++end;
    } else {
      refuse("\\p without braces");
    }
    out_ += pattern_.substr(at_, end - at_);
    at_ = end;
  }

  /// {1,3}: what follows it as '+' repeats it there, and makes it possessive in PCRE2.
  void interval() {
    const size_t end = pattern_.find('}', at_);
    if (end == std::string::npos) refuse("'{' without '}'");
    if (end + 1 < pattern_.size() && pattern_[end + 1] == '+') refuse("'+' behind {…}");
    out_ += pattern_.substr(at_, end + 1 - at_);
    at_ = end + 1;
  }

  void group() {
    for (const char* known : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
      if (pattern_.compare(at_, std::string_view(known).size(), known) == 0) return;
    refuse("the group " + pattern_.substr(at_, 4));
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(
        where_,
        fmt::format("its pattern {} uses {}, which is not supported", printable(pattern_), printable(what)),
        "write the pattern without it, or use a tokenizer that splits text as GPT-2, Llama 3 or Qwen do");
  }

  const std::string& pattern_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string text_of_error(int code) {
  PCRE2_UCHAR text[200] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

struct Deleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

}  // namespace

struct Pattern::Compiled {
  std::string where;
  std::unique_ptr<pcre2_code, Deleter> code;
  std::unique_ptr<pcre2_match_data, Deleter> data;
  std::unique_ptr<pcre2_jit_stack, Deleter> stack;
  std::unique_ptr<pcre2_match_context, Deleter> context;

  Compiled(const std::string& pattern, uint32_t options, std::string place) : where(std::move(place)) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP | options, &error, &offset, nullptr));
    if (!code)
      throw Error(where,
                  fmt::format("its pattern is none: {} at character {}", text_of_error(error), offset + 1),
                  "get the file again from where it came");
    data.reset(pcre2_match_data_create_from_pattern(code.get(), nullptr));
    context.reset(pcre2_match_context_create(nullptr));
    if (pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE) == 0) {  // without it the pattern is interpreted
      constexpr size_t kStackBytes = size_t{1} << 20;
      stack.reset(pcre2_jit_stack_create(size_t{1} << 15, kStackBytes, nullptr));
      pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    }
  }
};

Pattern::Pattern(const std::string& pattern, const std::string& where)
    : compiled_(std::make_unique<Compiled>(Rewriting(pattern, where).result(), PCRE2_MULTILINE, where)) {}

Pattern Pattern::literal(std::string_view text, const std::string& where) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') &&
        !(c >= 'A' && c <= 'Z'))
      pattern += fmt::format("\\x{{{:x}}}", static_cast<unsigned>(c));
    else
      pattern += c;
  }
  Pattern result("", where);
  result.compiled_ = std::make_unique<Compiled>(pattern, 0, where);
  return result;
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

void Pattern::each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
  const Compiled& of = *compiled_;
  for (size_t at = 0; at < text.size();) {
    const int status = pcre2_match(of.code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                   PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, of.data.get(), of.context.get());
    if (status == PCRE2_ERROR_NOMATCH) return;
    if (status < 0)
      throw Error(of.where, "its pattern cannot be searched for in this text: " + text_of_error(status),
                  "break the text into lines, or use a tokenizer with a simpler pattern");
    const PCRE2_SIZE* place = pcre2_get_ovector_pointer(of.data.get());
    if (place[1] <= place[0]) return;
    visit(place[0], place[1]);
    at = place[1];
  }
}

}  // namespace lockstep
