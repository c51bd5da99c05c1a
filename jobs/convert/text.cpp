// lockstep convert text: text as one stream of tokens.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_text_words(const Words& words, Communicator& comm) {
  CommandLine line("convert text FILE… --out DIR [options]",
                   "Text (UTF-8) as one stream of tokens, to be cut into windows by a job.", {"FILE…"});
  add_common(line, true);
  line.add()("level", po::value<std::string>(), "tokens: characters (the default) or words")(
      "vocabulary", po::value<int64_t>()->default_value(0),
      "most tokens that get an id of their own, <unk> for the others; 0: all")(
      "vocabulary-from", po::value<std::string>(),
      "take that, or the tokenizer, of a dataset converted earlier")(
      "tokenizer", po::value<std::string>(),
      "tokens: byte pairs of this tokenizer.json, or of the folder of it or of vocab.json and merges.txt")(
      "lossy", "U+FFFD for bytes that are no UTF-8");
  if (!line.parse(words, comm.is_root())) return 0;
  TextOptions text;
  text.files = line.texts("FILE…");
  if (line.has("level") && line.has("tokenizer"))
    throw UsageError("--level and --tokenizer are both given", "give one of them");
  text.level = read_level(line.has("level") ? line.text("level") : "characters");
  text.vocabulary = line.get<int64_t>("vocabulary");
  text.vocabulary_from = line.text("vocabulary-from");
  text.tokenizer = line.text("tokenizer");
  text.lossy = line.has("lossy");
  text.validation_fraction = read_validation_fraction(line);
  const ConvertOptions options = read_common(line);
  return report_result(convert_text(comm, text, options), options.out, comm);
}

const bool text_converter_registered = converters().add("text", convert_text_words);

}  // namespace

}  // namespace lockstep
