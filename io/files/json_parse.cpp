// A JSON reader by recursive descent (RFC 8259): numbers by std::from_chars, so that a
// double printed by json_number() comes back with the same bits.
#include "io/files/json_parse.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int kMaxDepth = 100;  // of nested arrays and objects

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  MetricsLine object_line() {
    MetricsLine line;
    skip_space();
    expect('{');
    skip_space();
    if (!take('}')) {
      do {
        skip_space();
        std::string key = string();
        skip_space();
        expect(':');
        skip_space();
        line.items.emplace_back(std::move(key), value());
        skip_space();
      } while (take(','));
      expect('}');
    }
    skip_space();
    if (at_ != text_.size()) fail("more text after the object");
    return line;
  }

  JsonValue whole() {
    skip_space();
    JsonValue result = tree(0);
    skip_space();
    if (at_ != text_.size()) fail("more text after the value");
    return result;
  }

 private:
  JsonValue tree(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    switch (peek()) {
      case '{': {
        JsonMembers members;
        elements('{', '}', [&] {
          std::string key = string();
          skip_space();
          expect(':');
          skip_space();
          members.push_back({std::move(key), tree(depth + 1)});
        });
        return {std::move(members)};
      }
      case '[': {
        JsonArray array;
        elements('[', ']', [&] { array.push_back(tree(depth + 1)); });
        return {std::move(array)};
      }
      case '"': return {string()};
      case 't': word("true"); return {true};
      case 'f': word("false"); return {false};
      case 'n': word("null"); return {};
      default: return {number()};
    }
  }

  template <typename Read>
  void elements(char open, char close, Read read) {
    expect(open);
    skip_space();
    if (take(close)) return;
    do {
      skip_space();
      read();
      skip_space();
    } while (take(','));
    expect(close);
  }

  MetricsValue value() {
    switch (peek()) {
      case '"': return string();
      case '{':
      case '[': {
        const size_t first = at_;
        skip_nested(0);
        return std::string(text_.substr(first, at_ - first));
      }
      case 't': word("true"); return true;
      case 'f': word("false"); return false;
      case 'n': word("null"); return std::numeric_limits<double>::quiet_NaN();
      default: return number();
    }
  }

  void skip_nested(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    const char open = peek();
    elements(open, open == '{' ? '}' : ']', [&] {
      if (open == '{') {
        string();
        skip_space();
        expect(':');
        skip_space();
      }
      if (peek() == '{' || peek() == '[') {
        skip_nested(depth + 1);
      } else {
        value();
      }
    });
  }

  /// JSON's grammar is narrower than from_chars: no "inf", no "01", no "1.".
  double number() {
    const size_t first = at_;
    take('-');
    if (!take('0')) digits();
    if (take('.')) digits();
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      digits();
    }
    double result = 0;
    const auto status = std::from_chars(text_.data() + first, text_.data() + at_, result).ec;
    if (status == std::errc::result_out_of_range) fail("a number outside the range of double");
    if (status != std::errc()) fail("a number is expected");
    return result;
  }

  void digits() {
    if (peek() < '0' || peek() > '9') fail("a digit is expected");
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      const char c = next();
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character inside a string");
      if (c != '\\') {
        out += c;
        continue;
      }
      switch (next()) {
        case '"': out += '"'; break;
        case '\\': out += '\\'; break;
        case '/': out += '/'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case 'n': out += '\n'; break;
        case 'r': out += '\r'; break;
        case 't': out += '\t'; break;
        case 'u': append_utf8(out, code_point()); break;
        default: fail("an unknown escape");
      }
    }
  }

  uint32_t code_point() {
    const uint32_t first = four_hex();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || next() != '\\' || next() != 'u') fail("half of a surrogate pair");
    const uint32_t second = four_hex();
    if (second < 0xDC00 || second > 0xDFFF) fail("half of a surrogate pair");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  uint32_t four_hex() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = next();
      code <<= 4;
      if (c >= '0' && c <= '9') {
        code |= static_cast<uint32_t>(c - '0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        code |= static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      } else {
        fail("four hexadecimal digits are expected");
      }
    }
    return code;
  }

  void word(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) fail("a value is expected");
    at_ += expected.size();
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  char next() {
    if (at_ == text_.size()) fail("the line ends too early");
    return text_[at_++];
  }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(std::string("'") + c + "' is expected");
  }
  void skip_space() {
    while (take(' ') || take('\t') || take('\n') || take('\r')) {
    }
  }
  [[noreturn]] void fail(const std::string& what) const {
    const std::string_view before = text_.substr(0, at_);
    const auto n_lines = std::count(before.begin(), before.end(), '\n');
    const size_t column = n_lines == 0 ? at_ + 1 : at_ - before.rfind('\n');
    throw Error("", "broken JSON at " + (n_lines == 0 ? "" : "line " + std::to_string(n_lines + 1) + ", ") +
                        "column " + std::to_string(column) + ": " + what);
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view name) const {
  const JsonValue* found = nullptr;
  if (const JsonMembers* all = members())
    for (const auto& [key, member] : *all)
      if (key == name) found = &member;
  return found;
}

JsonValue parse_json(std::string_view text) { return Parser(text).whole(); }

MetricsLine parse_json_object(std::string_view text) { return Parser(text).object_line(); }

}  // namespace lockstep
