// lockstep tokenizer train | encode | decode: byte-level byte-pair tokenizers made and tried out.
#include <fmt/format.h>

#include <sstream>
#include <utility>

#include "io/convert/text/text_files.h"
#include "io/files/files.h"
#include "io/tokenizer/byte_pair_training.h"
#include "io/tokenizer/tokenizer.h"
#include "jobs/command.h"
#include "kernels/printable.h"
#include "src/config/config.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

int train_tokenizer(const Words& words) {
  CommandLine line(
      "tokenizer train TEXT… --vocab-size N --out tokenizer.json [options]",
      "Learns byte pairs from texts (UTF-8), line by line: the file is that of Hugging Face's BpeTrainer\n"
      "with the byte-level alphabet, and loads in its library.",
      {"TEXT…"});
  line.add()("vocab-size", po::value<int64_t>()->default_value(8000),
             "tokens in all: special ones, 256 bytes and merges")(
      "min-frequency", po::value<int64_t>()->default_value(2), "pairs that occur less often become no token")(
      "special", po::value<std::vector<std::string>>(),
      "a special token, such as <|endoftext|>; may be given several times, the first gets id 0")(
      "lossy", "U+FFFD for bytes that are no UTF-8")("out", po::value<std::string>(), "the file (needed)")(
      "overwrite", "replace a file that exists");
  if (!line.parse(words)) return 0;
  if (!line.has("out"))
    throw UsageError("--out FILE is missing: where the tokenizer goes",
                     "write for instance --out tokenizer.json");
  const std::vector<std::string> texts = line.texts("TEXT…");
  check_output_file(line.text("out"), line.has("overwrite"), texts);
  BytePairTrainingOptions options;
  options.n_tokens = line.get<int64_t>("vocab-size");
  options.min_frequency = line.get<int64_t>("min-frequency");
  if (line.has("special")) options.specials = line.texts("special");

  BytePairTraining training;
  const TextFiles files(texts, line.has("lossy"),
                        [](std::string_view before, std::string_view) { return before.ends_with('\n'); });
  for (int64_t block = 0; block < files.n_blocks(); ++block) {
    const std::string text = files.text_of(block);
    for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
      end = std::min(text.find('\n', begin), text.size() - 1) + 1;
      training.add(std::string_view(text).substr(begin, end - begin));
    }
  }
  const TokenizerSpec spec = training.train(options);
  write_text_file_atomically(line.text("out"), tokenizer_json(spec) + "\n");
  const auto n = static_cast<int64_t>(spec.tokens.size());
  fmt::print("{}: {} tokens, {} merges, from {} pieces of text ({} different ones)\n", line.text("out"), n,
             spec.merges.size(), grouped(static_cast<double>(training.n_pieces())),
             grouped(static_cast<double>(training.n_different())));
  if (n < options.n_tokens)
    fmt::print("  fewer than {}: no other pair occurs {} times\n", options.n_tokens,
               std::max<int64_t>(1, options.min_frequency));
  return 0;
}

int encode_text(const Words& words) {
  CommandLine line(
      "tokenizer encode TOKENIZER TEXT [options]",
      "The ids of a text. TOKENIZER: a tokenizer.json, or the folder of it or of vocab.json and merges.txt.",
      {"TOKENIZER", "TEXT"});
  line.add()("tokens", "the tokens, too, one a line: blanks as Ġ, line feeds as Ċ");
  if (!line.parse(words)) return 0;
  Tokenizer tokenizer = Tokenizer::load(line.text("TOKENIZER"));
  const std::vector<int32_t> ids = tokenizer.encode(line.text("TEXT"));
  if (!line.has("tokens")) {
    fmt::print("{}\n", fmt::join(ids, " "));
    return 0;
  }
  for (const int32_t id : ids)
    fmt::print("{} {}\n", id, printable(tokenizer.spec().tokens[static_cast<size_t>(id)]));
  return 0;
}

int decode_ids(const Words& words) {
  CommandLine line("tokenizer decode TOKENIZER ID…", "The text of ids, without special tokens.",
                   {"TOKENIZER", "ID…"});
  if (!line.parse(words)) return 0;
  const Tokenizer tokenizer = Tokenizer::load(line.text("TOKENIZER"));
  std::vector<int32_t> ids;
  for (const std::string& word : line.texts("ID…")) {
    std::istringstream number(word);
    int32_t id = -1;
    if (!(number >> id) || !number.eof())
      throw UsageError("ID '" + printable(word) + "' is no whole number",
                       "write for instance: … decode FILE 12 7 300");
    ids.push_back(id);
  }
  fmt::print("{}\n", tokenizer.decode(ids));
  return 0;
}

int tokenizer_command(const Words& words) {
  const std::vector<std::pair<std::string, int (*)(const Words&)>> parts = {
      {"train", train_tokenizer}, {"encode", encode_text}, {"decode", decode_ids}};
  const std::string part = words.empty() ? "--help" : words[0];
  const Words rest(words.begin() + !words.empty(), words.end());
  std::vector<std::string> names;
  for (const auto& [name, run] : parts) {
    if (name == part) return run(rest);
    names.push_back(name);
  }
  if (part == "--help" || part == "-h") {
    fmt::print("usage: lockstep tokenizer {} …\nlockstep tokenizer train --help tells more.\n",
               fmt::join(names, "|"));
    return words.empty() ? 2 : 0;
  }
  const std::string near = nearest_word(part, names);
  throw UsageError(fmt::format("there is no tokenizer {}{}; known: {}", printable(part),
                               near.empty() ? "" : "; did you mean '" + near + "'?", fmt::join(names, ", ")),
                   "lockstep tokenizer train --help tells how one is made");
}

const bool tokenizer_registered = commands().add(
    "tokenizer", {.summary = "learn byte pairs from text; try a tokenizer out", .run = tokenizer_command}, 5);

}  // namespace

}  // namespace lockstep
