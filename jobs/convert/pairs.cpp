// lockstep convert pairs: two texts line by line.
#include <fmt/format.h>

#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_pairs_words(const Words& words, Communicator& comm) {
  CommandLine line("convert pairs SOURCE [TARGET] --out DIR [options]",
                   "Two texts (UTF-8) whose lines belong together, or one of lines source TAB target.",
                   {"SOURCE…"});
  add_common(line);
  line.add()("level", po::value<std::string>()->default_value("characters"),
             "tokens: characters or words; SOURCE,TARGET: one for each")(
      "vocabulary", po::value<std::string>(),
      "most tokens that get an id of their own, <unk> for the others; N, or N,M for source and target")(
      "vocabulary-from", po::value<std::string>(), "take those of a dataset of pairs converted earlier");
  if (!line.parse(words, comm.is_root())) return 0;
  const std::vector<std::string> files = line.texts("SOURCE…");
  if (files.size() > 2)
    throw UsageError(fmt::format("{} files are given", files.size()),
                     "give a source and a target, or one file of lines source TAB target");
  PairsOptions pairs;
  pairs.source = files[0];
  if (files.size() == 2) pairs.target = files[1];
  const std::string level = line.text("level");
  const size_t comma = level.find(',');
  pairs.source_level = read_level(level.substr(0, comma));
  pairs.target_level = comma == level.npos ? pairs.source_level : read_level(level.substr(comma + 1));
  if (line.has("vocabulary")) {
    const std::vector<int64_t> sizes = line.numbers("vocabulary", 1, "8000,8000");
    if (sizes.empty() || sizes.size() > 2)
      throw UsageError("--vocabulary " + line.text("vocabulary") + ": one or two numbers are expected",
                       "write for instance --vocabulary 8000,8000");
    pairs.source_vocabulary = sizes.front();
    pairs.target_vocabulary = sizes.back();
  }
  pairs.vocabulary_from = line.text("vocabulary-from");
  const ConvertOptions options = read_common(line);
  return report_result(convert_pairs(comm, pairs, options), options.out, comm);
}

const bool pairs_converter_registered = converters().add("pairs", convert_pairs_words);

}  // namespace

}  // namespace lockstep
