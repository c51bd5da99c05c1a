// The regular expressions by which tokenizers split text, run by PCRE2. Files write them for Oniguruma in its
// Ruby syntax; what reads otherwise there is rewritten (white space, which PCRE2 sees in U+180E too) or
// refused. Letters and numbers are those of the Unicode version that PCRE2 was built with.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace lockstep {

class Pattern {
 public:
  /// Throws Error with `where` where it is no pattern, or uses what PCRE2 would read otherwise.
  Pattern(const std::string& pattern, const std::string& where);
  /// A text to be found as it is.
  static Pattern literal(std::string_view text, const std::string& where);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// Calls visit(begin, end) for each match that is not empty, from left to right; `text` is valid UTF-8.
  /// Throws Error where the search needs more memory or steps than PCRE2 allows. Not for several threads at a
  /// time.
  void each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace lockstep
