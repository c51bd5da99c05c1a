// lockstep convert KIND … --out DIR: foreign files to sharded HDF5.
#include <fmt/format.h>

#include "jobs/convert/converter.h"
#include "kernels/printable.h"
#include "src/config/config.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

Family<Converter>& converters() {
  static Family<Converter> family("converter", "converters");
  return family;
}

void add_common(CommandLine& line, bool has_order) {
  line.add()("out", po::value<std::string>(), "output folder (needed)")(
      "shards", po::value<int64_t>()->default_value(0), "number of files; 0: about 64 MiB each")(
      "overwrite", "replace the shards in the output folder");
  if (has_order)
    line.add()("validation-fraction", po::value<double>()->default_value(0),
               "the last part of the input goes to DIR/validation, the first to DIR/train");
  else
    line.add()("shuffle", "random order before sharding and splitting")(
        "seed", po::value<uint64_t>()->default_value(0), "of the random order")(
        "skip", po::value<int64_t>()->default_value(0), "leave out the first samples (after shuffling)")(
        "limit", po::value<int64_t>()->default_value(-1), "take so many samples; -1: all that remain");
}

ConvertOptions read_common(const CommandLine& line) {
  if (!line.has("out"))
    throw UsageError("--out DIR is missing: where the HDF5 files go", "write for instance --out data/train");
  ConvertOptions options;
  options.out = line.text("out");
  options.n_shards = line.get<int64_t>("shards");
  options.shuffle = line.has("shuffle");
  if (line.has("seed")) options.seed = line.get<uint64_t>("seed");
  if (line.has("skip")) options.skip = line.get<int64_t>("skip");
  if (line.has("limit")) options.limit = line.get<int64_t>("limit");
  options.overwrite = line.has("overwrite");
  if (options.n_shards < 0)
    throw UsageError(fmt::format("--shards must not be negative, found {}", options.n_shards),
                     "write for instance --shards 4, or leave it out");
  if (options.skip < 0)
    throw UsageError(fmt::format("--skip must not be negative, found {}", options.skip),
                     "give the number of rows to leave out at the beginning, for instance --skip 1000");
  return options;
}

char read_separator(const CommandLine& line) {
  const std::string separator = line.text("separator");
  if (separator != "tab" && separator.size() != 1)
    throw UsageError("--separator must be one character, or tab", "write for instance --separator ';'");
  return separator == "tab" ? '\t' : separator[0];
}

double read_validation_fraction(const CommandLine& line) {
  const auto fraction = line.get<double>("validation-fraction");
  if (!(fraction >= 0 && fraction < 1))
    throw UsageError(fmt::format("--validation-fraction must be from 0 to less than 1, found {}", fraction),
                     "write for instance --validation-fraction 0.1");
  return fraction;
}

TokenLevel read_level(const std::string& word) {
  if (word != "characters" && word != "words")
    throw UsageError("--level is characters or words, found " + word, "write for instance --level words");
  return word == "words" ? TokenLevel::kWords : TokenLevel::kCharacters;
}

OnError read_on_error(const CommandLine& line) {
  const std::string on_error = line.text("on-error");
  if (on_error != "stop" && on_error != "skip")
    throw UsageError("--on-error is stop or skip, found " + on_error,
                     "write --on-error skip to leave out what cannot be read");
  return on_error == "skip" ? OnError::kSkip : OnError::kStop;
}

int report_result(const ConvertResult& result, const std::string& out, Communicator& comm) {
  if (comm.is_root()) {
    fmt::print("{}: {} samples in {} file{}, {:.1f} MB, {:.2f} s, {} samples/s\n", out,
               grouped(static_cast<double>(result.n_samples)), result.n_shards,
               result.n_shards == 1 ? "" : "s", static_cast<double>(result.n_bytes) * 1e-6, result.time_s,
               grouped(static_cast<double>(result.n_samples) / result.time_s));
    for (const std::string& note : result.notes) fmt::print("  {}\n", printable(note));
  }
  return 0;
}

static int convert_command(const Words& words, Communicator& comm) {
  const std::string kind = words.empty() ? "--help" : words[0];
  const Words rest(words.begin() + !words.empty(), words.end());
  const std::vector<std::string> kinds = converters().names();
  if (const Converter* converter = converters().find(kind)) return (*converter)(rest, comm);
  if (kind == "--help" || kind == "-h") {
    if (comm.is_root())
      fmt::print("usage: lockstep convert {} … --out DIR\nlockstep convert csv --help tells more.\n",
                 fmt::join(kinds, "|"));
    return words.empty() ? 2 : 0;
  }
  const std::string near = nearest_word(kind, kinds);
  throw UsageError(fmt::format("cannot convert from '{}'{}; known: {}", kind,
                               near.empty() ? "" : "; did you mean '" + near + "'?", fmt::join(kinds, ", ")),
                   "lockstep convert csv --help tells how CSV is converted, the others likewise");
}

namespace {
const bool convert_registered = commands().add(
    "convert",
    {.summary = "turn tables, images, arrays, text or series into sharded HDF5", .run = convert_command}, 4);
}

}  // namespace lockstep
