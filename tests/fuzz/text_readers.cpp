// Readers of text: metrics, CSV, tokens and tokenizers.
#include <cmath>
#include <stdexcept>

#include "io/convert/table/csv_file.h"
#include "io/convert/text/text_tokens.h"
#include "io/files/json_parse.h"
#include "io/files/metrics.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer.h"
#include "tests/fuzz/reader.h"

namespace lockstep::fuzz {

namespace {

void read_metrics_lines(std::string_view bytes) {
  attempt([&] {
    // A number that was read is written as text that reads back as the same number.
    for (const auto& [key, value] : parse_json_object(bytes).items) {
      const double* number = std::get_if<double>(&value);
      if (!number || !std::isfinite(*number)) continue;
      const MetricsLine again = parse_json_object("{\"x\": " + json_number(*number) + "}");
      if (*again.number("x") != *number) throw std::logic_error("a number does not round-trip");
    }
  });
  const MemoryFile file(bytes);
  read_metrics(file.path());
}

/// Options first, then the file.
void read_csv(std::string_view bytes) {
  Choices choices(bytes);
  CsvOptions options;
  options.separator = ",;\t "[choices.below(4)];
  options.header_lines = static_cast<int>(choices.below(4)) - 1;
  options.target_column = choices.below(5) - 2;
  options.target_is_class = choices.flag();
  const MemoryFile memory(choices.rest());
  const InputFile file(memory.path(), "data.csv");
  const CsvLayout layout = find_layout(file, options);
  CsvRowParser parser(options.separator, layout.n_columns, layout.target_column);
  std::vector<float> values(static_cast<size_t>(parser.n_inputs()));
  const int64_t middle = line_begin_from(file, std::max<int64_t>(1, file.n_bytes() / 2));
  for (const auto& [begin, end] : {std::pair(layout.data_begin, file.n_bytes()), {middle, file.n_bytes()}}) {
    for_each_line(file, begin, end, [&](std::string_view line, int64_t line_begin) {
      if (is_blank_line(line)) return true;
      try {
        const std::string_view target = parser.parse(line, values.data());
        float number = 0;
        if (!parse_number(target, &number)) quote_for_message(target);
        for (const float value : values) {
          if (!std::isfinite(value)) throw std::logic_error("a value that is not finite");
        }
      } catch (const CsvFault& fault) {
        throw located(file, line_begin, fault);
      }
      return true;
    });
  }
}

/// Tokens of any bytes lie in the text one behind the other, and with white space between them are all of it.
void read_text(std::string_view bytes) {
  Choices choices(bytes);
  const auto level = choices.flag() ? TokenLevel::kWords : TokenLevel::kCharacters;
  const std::string text = with_replacements(choices.rest());
  if (first_invalid_byte(text) != static_cast<int64_t>(text.size()))
    throw std::logic_error("a text with replacements is no text");
  int64_t end = 0;
  each_token(level, text, [&](std::string_view token, int64_t offset) {
    if (offset < end || token.empty()) throw std::logic_error("tokens overlap");
    const bool is_end_of_line = token == kEndOfLine && text[static_cast<size_t>(offset)] == '\n';
    const std::string_view there = is_end_of_line ? "\n" : token;
    if (std::string_view(text).substr(static_cast<size_t>(offset), there.size()) != there)
      throw std::logic_error("a token is not where it is said to be");
    if (level == TokenLevel::kCharacters && offset != end) throw std::logic_error("a character is left out");
    end = offset + static_cast<int64_t>(there.size());
  });
  if (level == TokenLevel::kCharacters && end != static_cast<int64_t>(text.size()))
    throw std::logic_error("the last characters are left out");
}

/// What is a tokenizer is written and read as the same one, and what it encodes comes back.
void read_tokenizer(std::string_view bytes) {
  Tokenizer tokenizer = Tokenizer::parse(bytes, "tokenizer.json");
  const std::string json = tokenizer_json(tokenizer.spec());
  if (tokenizer_json(parse_tokenizer(json, "written")) != json)
    throw std::logic_error("a tokenizer does not round-trip");
  attempt([&] {
    const std::string text = utf8_with_replacements(bytes.substr(0, 256)) + "I'll a  b\n\n12<s>\u00E9";
    for (const int32_t id : tokenizer.encode(text))
      if (id < 0 || id >= tokenizer.size()) throw std::logic_error("an id that is none");
    tokenizer.decode(tokenizer.encode(text));
  });
}

const bool registered = register_reader("csv", read_csv) && register_reader("metrics", read_metrics_lines) &&
                        register_reader("text", read_text) && register_reader("tokenizer", read_tokenizer);

}  // namespace

}  // namespace lockstep::fuzz
