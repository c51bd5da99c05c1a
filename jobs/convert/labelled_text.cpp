// lockstep convert labelled-text: lines of text with a class.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_labelled_text_words(const Words& words, Communicator& comm) {
  CommandLine line("convert labelled-text FILE --out DIR [options]",
                   "Lines LABEL TAB text (UTF-8), whose texts have lengths of their own.", {"FILE"});
  add_common(line);
  line.add()("level", po::value<std::string>()->default_value("words"), "tokens: characters or words")(
      "vocabulary", po::value<int64_t>()->default_value(0),
      "most tokens that get an id of their own, <unk> for the others; 0: all")(
      "vocabulary-from", po::value<std::string>(), "take that of a dataset converted earlier");
  if (!line.parse(words, comm.is_root())) return 0;
  LabelledTextOptions text;
  text.path = line.text("FILE");
  text.level = read_level(line.text("level"));
  text.vocabulary = line.get<int64_t>("vocabulary");
  text.vocabulary_from = line.text("vocabulary-from");
  const ConvertOptions options = read_common(line);
  return report_result(convert_labelled_text(comm, text, options), options.out, comm);
}

const bool labelled_text_converter_registered =
    converters().add("labelled-text", convert_labelled_text_words);

}  // namespace

}  // namespace lockstep
