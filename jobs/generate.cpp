// lockstep generate CHECKPOINT --prompt TEXT: a language model goes on with a text; an encoder and a decoder
// write what belongs to it, or (--data) to each sample of a dataset.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <sstream>
#include <utility>

#include "comm/agreement.h"
#include "io/files/files.h"
#include "io/files/metrics.h"
#include "io/tokenizer/byte_level.h"
#include "jobs/command.h"
#include "kernels/printable.h"
#include "src/run/generate/fill_mask.h"
#include "src/run/generate/generator.h"
#include "src/run/generate/sequence_decoder.h"
#include "src/run/generate/tokens.h"
#include "src/run/generate/written_dataset.h"

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

/// As it can be seen: a line's end is \n.
std::string quoted(const std::string& token) {
  return "'" + (token == "\n" ? "\\n" : printable(token)) + "'";
}

void put(const std::string& text) {
  fmt::print("{}", text);
  std::fflush(stdout);
}

/// Of a checkpoint of an encoder and a decoder.
void write_target(const TrainedModel& model, const std::string& prompt, const DecodingOptions& decoding) {
  const std::vector<int64_t> ids = TokenText(model.contract, "source").encode(prompt);
  if (ids.empty())
    throw Error("generate", "--prompt names no token", "give the text that is to be translated");
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
  put(TokenText(model.contract, "").decode(decoder.write(arrays, 1)[0]) + "\n");
}

DecodingOptions read_decoding(const CommandLine& line) {
  const DecodingOptions decoding{line.get<int64_t>("beams"), line.get<double>("length-penalty"),
                                 line.get<int64_t>("max-length")};
  if (decoding.beams < 1 || decoding.beams > 1000)
    throw UsageError(fmt::format("--beams {} is not between 1 and 1000", decoding.beams),
                     "for instance --beams 4; 1 takes the most probable token at each step");
  if (!std::isfinite(decoding.length_penalty))
    throw UsageError(fmt::format("--length-penalty {} is no finite number", decoding.length_penalty),
                     "0 prefers short texts, 1 compares them by token, more prefers long ones");
  if (decoding.max_length < 0)
    throw UsageError(fmt::format("--max-length {} is below 0", decoding.max_length),
                     "give a number of tokens; 0: as the longest target of training");
  return decoding;
}

/// Of a network that guesses masked tokens: the text with the most probable ones, and what else might stand
/// there.
void fill(const TrainedModel& model, const MaskToken& mask, const std::string& text) {
  const TokenText tokens(model.contract, "input");
  std::vector<int64_t> ids;
  for (size_t at = 0; at <= text.size();) {
    const size_t next = std::min(text.find(mask.text, at), text.size());
    const std::vector<int64_t> part = tokens.encode(text.substr(at, next - at));
    ids.insert(ids.end(), part.begin(), part.end());
    if (next == text.size()) break;
    ids.push_back(mask.id);
    at = next + mask.text.size();
  }
  constexpr int64_t kGuesses = 5;
  std::string lines;
  for (const MaskGuess& guess : fill_masks(model, ids, kGuesses)) {
    lines += fmt::format("token {}:", guess.place + 1);
    for (const auto& [id, probability] : guess.guesses)
      lines += fmt::format("  {} {:.1f} %", quoted(tokens.decode(id, -1)), 100 * probability);
    lines += "\n";
    ids[static_cast<size_t>(guess.place)] = guess.guesses.front().first;
  }
  put(tokens.decode(ids) + "\n" + lines);
}

/// Of a language model.
void go_on(TrainedModel model, const CommandLine& line, const SamplingOptions& sampling) {
  const std::string text = line.has("prompt") ? line.text("prompt") : "\n";
  Generator generator(std::move(model), line.text("CHECKPOINT"));
  const bool has_vocabulary = generator.contract().vocabularies.count("input") > 0;
  if (!has_vocabulary && !line.has("ids"))
    throw Error(line.text("CHECKPOINT"), "its training data named no vocabulary",
                "say --ids, which reads the prompt as numbers with spaces between them");
  std::vector<int64_t> prompt;
  const TokenText tokens(generator.contract(), "input");
  if (!has_vocabulary) {
    std::istringstream numbers(text);
    for (int64_t id = 0; numbers >> id;) prompt.push_back(id);
  } else {
    prompt = tokens.encode(text);
  }
  if (prompt.empty())
    throw Error("generate", "--prompt names no token", "give a text to go on with, such as --prompt Once");
  int64_t before = -1;
  std::string pending;  // bytes that are no whole character yet
  const auto show = [&](int64_t id) {
    pending += line.has("ids") ? fmt::format("{} ", id) : tokens.decode(id, before);
    before = id;
    constexpr size_t kMostOfCharacter = 4;
    const auto n_whole = static_cast<size_t>(first_byte_beyond_utf8(pending));
    const size_t n_shown = pending.size() - n_whole < kMostOfCharacter ? n_whole : pending.size();
    put(utf8_with_replacements(pending.substr(0, n_shown)));
    pending.erase(0, n_shown);
  };
  generator.begin();
  for (const int64_t id : prompt) generator.read(id);
  for (const int64_t id : prompt) show(id);
  const int64_t end = tokens.end();
  for (int64_t i = 0; i < line.get<int64_t>("length"); ++i) {
    const int64_t id = generator.next(sampling);
    if (id == end) break;
    show(id);
  }
  put(utf8_with_replacements(pending) + "\n");
}

void answer_prompt(const CommandLine& line, const SamplingOptions& sampling,
                   const DecodingOptions& decoding) {
  TrainedModel model = load_model(line.text("CHECKPOINT"), line.has("average"));
  if (const MaskToken mask = mask_of(model); mask.id >= 0) {
    if (!line.has("prompt") || line.text("prompt").find(mask.text) == std::string::npos)
      throw Error("generate", "its network guesses masked tokens, and --prompt has none",
                  fmt::format("put {} where a token is to be guessed", mask.text));
    return fill(model, mask, line.text("prompt"));
  }
  if (model.graph.inputs().size() <= 1) return go_on(std::move(model), line, sampling);
  if (!line.has("prompt"))
    throw Error("generate", "there is nothing that the decoder could write for",
                "say --prompt TEXT, or --data DATASET");
  set_compute_threads(model.job.threads);
  write_target(model, line.text("prompt"), decoding);
}

void print_figures(const CommandLine& line, const WrittenDataset& result, std::FILE* to) {
  const auto n = static_cast<int64_t>(result.written.size());
  const double share = n > 0 ? static_cast<double>(result.n_exact) / static_cast<double>(n) : 0;
  if (line.has("json")) {
    JsonObject object;
    object.set("checkpoint", line.text("CHECKPOINT"))
        .set("data", line.text("data"))
        .set("samples", n)
        .set("exact_match", share)
        .set("bleu", result.bleu.score)
        .set("brevity_penalty", result.bleu.brevity_penalty);
    for (int i = 0; i < kBleuOrder; ++i)
      object.set(fmt::format("bleu_{}", i + 1), result.bleu.precisions[static_cast<size_t>(i)]);
    fmt::print(to, "{}\n", object.str());
    return;
  }
  fmt::print(to, "{:12} {}\n{:12} {:.2f} %\n{:12} {:.2f} ({:.1f}; brevity penalty {:.3f})\n", "samples", n,
             "exact match", 100 * share, "BLEU", result.bleu.score, fmt::join(result.bleu.precisions, ", "),
             result.bleu.brevity_penalty);
}

}  // namespace

static int generate_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "generate CHECKPOINT [--prompt TEXT | --data DATASET] [options]",
      "Text from a language model: the prompt, and what the network goes on with. From an encoder "
      "and a decoder: what\nthey write for a prompt, or for every sample of a dataset, with exact "
      "matches and BLEU.",
      {"CHECKPOINT"});
  line.add()("prompt", po::value<std::string>(),
             "what to go on with, or to write for (default, of a language model: a line's end)")(
      "length", po::value<int64_t>()->default_value(500), "tokens to generate")(
      "temperature", po::value<double>()->default_value(1),
      "0: always the most probable token; below 1 more careful, above bolder")(
      "top-k", po::value<int64_t>()->default_value(0), "only the K most probable tokens; 0: all")(
      "top-p", po::value<double>()->default_value(1),
      "only the most probable tokens of that probability together")(
      "seed", po::value<uint64_t>()->default_value(1), "of what is drawn")("ids",
                                                                           "print ids in place of text")(
      "data", po::value<std::string>(),
      "dataset of pairs, or of images and captions; train or validation: the job's own")(
      "limit", po::value<int64_t>()->default_value(0), "only the first N samples of it; 0: all")(
      "out", po::value<std::string>(), "file for what is written, a line a sample (default: stdout)")(
      "overwrite", "replace a file that exists")("json", "print the figures as one JSON object")(
      "beams", po::value<int64_t>()->default_value(1), "of a decoder: beginnings that are kept; 1: greedy")(
      "length-penalty", po::value<double>()->default_value(1),
      "beams are compared by log-probability / length^PENALTY")(
      "average", "the running averages of the weights (the job's key average) in their place")(
      "max-length", po::value<int64_t>()->default_value(0),
      "tokens that a decoder writes at most; 0: as the longest target of training");
  if (!line.parse(words, comm.is_root())) return 0;
  const SamplingOptions sampling = read_sampling(line);
  const DecodingOptions decoding = read_decoding(line);
  for (const char* number : {"length", "limit"})
    if (line.get<int64_t>(number) < 0)
      throw UsageError(fmt::format("--{} {} is below 0", number, line.get<int64_t>(number)),
                       "give a number of tokens or samples");
  if (line.has("average") && line.has("data"))
    throw UsageError("--average and --data are both given", "give --average with --prompt");
  if (line.has("prompt") && line.has("data"))
    throw UsageError("--prompt and --data are both given", "give one of them");
  if (!line.has("data")) {
    check_on_root(comm, [&] { answer_prompt(line, sampling, decoding); });
    return 0;
  }
  check_on_root(comm, [&] {
    if (line.has("out"))
      check_output_file(line.text("out"), line.has("overwrite"),
                        {line.text("CHECKPOINT"), line.text("data")});
  });
  const WrittenDataset result =
      write_dataset(line.text("CHECKPOINT"), line.text("data"), line.get<int64_t>("limit"), decoding, comm);
  check_on_root(comm, [&] {
    std::string lines;
    for (const std::string& text : result.written) lines += text + "\n";
    if (line.has("out"))
      write_text_file_atomically(line.text("out"), lines);
    else if (!line.has("json"))
      put(lines);
    print_figures(line, result, line.has("out") || line.has("json") ? stdout : stderr);
  });
  return 0;
}

namespace {
const bool generate_registered =
    commands().add("generate",
                   {.summary = "text from a language model after a prompt, or what a decoder writes for data",
                    .run = generate_command},
                   4);
}

}  // namespace lockstep
