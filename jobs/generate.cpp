// lockstep generate CHECKPOINT --prompt TEXT: a language model goes on with a text; an encoder and a decoder
// write what belongs to it.
#include <fmt/format.h>

#include <cstdio>
#include <sstream>

#include "jobs/command.h"
#include "src/run/generate/generator.h"
#include "src/run/generate/sequence_decoder.h"
#include "src/run/generate/tokens.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

SamplingOptions read_sampling(const CommandLine& line) {
  SamplingOptions sampling;
  sampling.temperature = line.get<double>("temperature");
  sampling.top_k = line.get<int64_t>("top-k");
  sampling.top_p = line.get<double>("top-p");
  sampling.seed = line.get<uint64_t>("seed");
  if (!(sampling.temperature >= 0))
    throw UsageError(fmt::format("--temperature {} is below 0", sampling.temperature),
                     "0 takes the most probable token, 1 draws as the network says, more is bolder");
  if (sampling.top_k < 0)
    throw UsageError(fmt::format("--top-k {} is below 0", sampling.top_k), "give a number of tokens; 0: all");
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    throw UsageError(fmt::format("--top-p {} is no probability above 0", sampling.top_p),
                     "for instance --top-p 0.9; 1: all tokens");
  return sampling;
}

void put(const std::string& text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

/// Of a checkpoint of an encoder and a decoder.
int write_target(const TrainedModel& model, const std::string& prompt, const DecodingOptions& decoding) {
  const auto of = [&](const std::string& name) {
    const auto found = model.contract.vocabularies.find(name);
    return found == model.contract.vocabularies.end() ? std::vector<std::string>{} : found->second;
  };
  const std::vector<int64_t> ids = TokenText(of("source")).encode(prompt);
  if (ids.empty()) throw UsageError("--prompt names no token", "give the text that is to be translated");
  const auto n = static_cast<int64_t>(ids.size());
  SequenceDecoder decoder(model, {{"source", n}}, 1, decoding);
  const std::vector<int32_t> source(ids.begin(), ids.end());
  const auto length = static_cast<int32_t>(n);
  std::vector<const void*> arrays;
  for (const std::string& name : decoder.given_inputs()) {
    if (name != "source" && name != "source.length")
      throw Error("generate", "its network reads '" + name + "', which is no text",
                  "use `lockstep generate CHECKPOINT --data DATASET`");
    arrays.push_back(name == "source" ? static_cast<const void*>(source.data()) : &length);
  }
  put(TokenText(of("")).decode(decoder.write(arrays, 1)[0]) + "\n");
  return 0;
}

}  // namespace

static int generate_command(const Words& words) {
  CommandLine line("generate CHECKPOINT [--prompt TEXT] [--length N] [--temperature T]",
                   "Text from a language model: the prompt, and what the network goes on with.",
                   {"CHECKPOINT"});
  line.add()("prompt", po::value<std::string>()->default_value("\n"),
             "what to go on with (default: a line's end)")("length", po::value<int64_t>()->default_value(500),
                                                           "tokens to generate")(
      "temperature", po::value<double>()->default_value(1),
      "0: always the most probable token; below 1 more careful, above bolder")(
      "top-k", po::value<int64_t>()->default_value(0), "only the K most probable tokens; 0: all")(
      "top-p", po::value<double>()->default_value(1),
      "only the most probable tokens of that probability together")(
      "seed", po::value<uint64_t>()->default_value(1), "of what is drawn")("ids",
                                                                           "print ids in place of text");
  if (!line.parse(words)) return 0;
  const SamplingOptions sampling = read_sampling(line);
  const auto length = line.get<int64_t>("length");
  if (length < 0) throw UsageError(fmt::format("--length {} is below 0", length), "give a number of tokens");

  {
    const TrainedModel model = load_model(line.text("CHECKPOINT"));
    if (model.graph.inputs().size() > 1) {
      const DecodingOptions decoding{line.get<int64_t>("beams"), line.get<double>("length-penalty"),
                                     line.get<int64_t>("max-length")};
      if (decoding.beams < 1 || decoding.beams > 1000)
        throw UsageError(fmt::format("--beams {} is not between 1 and 1000", decoding.beams),
                         "for instance --beams 4");
      set_compute_threads(model.job.threads);
      return write_target(model, line.text("prompt"), decoding);
    }
  }
  Generator generator(line.text("CHECKPOINT"));
  if (generator.vocabulary().empty() && !line.has("ids"))
    throw Error(line.text("CHECKPOINT"), "its training data named no vocabulary",
                "say --ids, which reads the prompt as numbers with spaces between them");
  std::vector<int64_t> prompt;
  const TokenText tokens(generator.vocabulary());
  if (generator.vocabulary().empty()) {
    std::istringstream numbers(line.text("prompt"));
    for (int64_t id = 0; numbers >> id;) prompt.push_back(id);
  } else {
    prompt = tokens.encode(line.text("prompt"));
  }
  if (prompt.empty())
    throw UsageError("--prompt names no token", "give a text to go on with, such as --prompt \"Once\"");
  int64_t before = -1;
  const auto show = [&](int64_t id) {
    put(line.has("ids") ? fmt::format("{} ", id) : tokens.decode(id, before));
    before = id;
  };
  generator.begin();
  for (const int64_t id : prompt) generator.read(id);
  for (const int64_t id : prompt) show(id);
  const int64_t end = tokens.find("</s>");
  for (int64_t i = 0; i < length; ++i) {
    const int64_t id = generator.next(sampling);
    if (id == end) break;
    show(id);
  }
  put("\n");
  return 0;
}

namespace {
const bool generate_registered = commands().add(
    "generate", {.summary = "text from a language model, after a prompt", .run = generate_command}, 4);
}

}  // namespace lockstep
