// lockstep import WEIGHTS --job JOB.yaml --out CHECKPOINT: weights of another program, or of another run, as
// a checkpoint at step 0 of a job.
#include <fmt/format.h>

#include "comm/agreement.h"
#include "io/files/files.h"
#include "jobs/command.h"
#include "jobs/job_file.h"
#include "jobs/saved_checkpoint.h"
#include "kernels/printable.h"
#include "src/network/loss_place.h"
#include "src/network/weights_file.h"
#include "src/run/checkpoints/train_state.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

std::regex read_pattern(const std::string& option, const std::string& text) {
  constexpr size_t kMaxBytes = 1000;
  if (text.size() > kMaxBytes)
    throw UsageError(fmt::format("{}: a regular expression has at most {} characters", option, kMaxBytes),
                     "shorten it, or give the option several times");
  try {
    return std::regex(text);
  } catch (const std::regex_error& e) {
    throw UsageError(fmt::format("{} '{}' is no regular expression: {}", option, text, e.what()),
                     "see to its brackets, and put \\ before a character that means itself: \\.");
  }
}

ImportRules read_rules(const CommandLine& line) {
  ImportRules rules;
  const auto words = [&](const std::string& name) {
    return line.has(name) ? line.get<Words>(name) : Words{};
  };
  for (const std::string& word : words("map")) {
    const size_t at = word.rfind('=');
    if (at == std::string::npos)
      throw UsageError(fmt::format("--map '{}' needs the form REGEX=TEXT", word),
                       "write for instance --map '^model\\.='");
    rules.renames.emplace_back(read_pattern("--map", word.substr(0, at)), word.substr(at + 1));
  }
  for (const std::string& word : words("ignore")) rules.ignored.push_back(read_pattern("--ignore", word));
  for (const std::string& word : words("allow-missing"))
    rules.may_be_missing.push_back(read_pattern("--allow-missing", word));
  const std::string layout = line.text("layout");
  if (layout != "pytorch" && layout != "keras")
    throw UsageError(
        fmt::format("--layout {} is none of pytorch, keras", layout),
        "keras: kernels (in, out) and (height, width, in, out), gates of GRUs in the order z, r, h");
  if (layout == "keras") rules.layout = ImportRules::Layout::kKeras;
  return rules;
}

int find_layer(const Graph& graph, const std::string& name) {
  const int vertex = graph.find(name);
  if (vertex >= 0 && graph.vertex(vertex).layer) return vertex;
  const std::string near = nearest_word(name, graph.names());
  throw Error("--up-to", fmt::format("the job's network has no layer '{}'", printable(name)),
              near.empty() ? "`lockstep inspect JOB` lists them" : "did you mean '" + near + "'?");
}

/// The network of a job as it stands before the first step.
struct Start {
  DataContract contract;
  Graph graph;
  std::unique_ptr<ParameterArena> arena;
  std::unique_ptr<Optimizer> optimizer;

  explicit Start(const Job& job) {
    if (job.train) contract = open_data(job).contract;
    graph = build_graph(job, contract);
    const Shape output = graph.vertex(loss_vertex(graph, job.loss)).shape;
    if (contract.input.rank() == 0) contract.input = graph.vertex(0).shape;
    if (contract.n_classes == 0 && job.loss.is_classification())
      contract.n_classes = job.loss.n_classes(output);
    arena = std::make_unique<ParameterArena>(graph, job.device);
    check_init(job.init, graph);
    initialize(*arena, job.init, job.seed);
    optimizer = std::make_unique<Optimizer>(job.optimizer, *arena);
  }
};

}  // namespace

static int import_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "import WEIGHTS.safetensors|CHECKPOINT.h5 --job JOB.yaml --out CHECKPOINT.h5 [options]",
      "Makes a checkpoint at step 0 from the weights of another program, or of another run: start training\n"
      "from it with `train --resume FILE`, or evaluate it. Names and shapes are those of torchvision.\n"
      "--up-to takes a trunk and gives it the job's new head. Regular expressions are ECMAScript's.",
      {"WEIGHTS"});
  line.add()("job", po::value<std::string>(), "job file with the model (needed)")(
      "out", po::value<std::string>(), "checkpoint to write (needed)")(
      "set", po::value<Words>()->composing(), "KEY=VALUE: change a key of the job file; may be repeated")(
      "map", po::value<Words>()->composing(),
      "REGEX=TEXT: rename the file's tensors; TEXT may hold $1; may be repeated")(
      "ignore", po::value<Words>()->composing(),
      "REGEX: leave out the file's tensors of these (renamed) names")(
      "allow-missing", po::value<Words>()->composing(),
      "REGEX: the model's tensors of these names may be missing; the job's init fills them")(
      "up-to", po::value<std::string>(),
      "LAYER: take the weights of layers up to this one; those behind it are the job's own")(
      "layout", po::value<std::string>()->default_value("pytorch"),
      "whose names, axes and gates the file has: pytorch or keras")("overwrite", "replace the file --out");
  if (!line.parse(words, comm.is_root())) return 0;
  if (!line.has("job"))
    throw UsageError(
        "--job JOB.yaml is missing",
        "name the job whose model takes the weights, for instance --job jobs/resnet18-cifar10.yaml");
  if (!line.has("out"))
    throw UsageError("--out CHECKPOINT.h5 is missing",
                     "name the checkpoint to write, for instance --out imported.h5");
  const ImportRules rules = read_rules(line);
  const std::string weights_path = line.text("WEIGHTS");
  const bool is_checkpoint = weights_path.ends_with(".h5") || weights_path.ends_with(".hdf5");
  if (is_checkpoint && rules.layout == ImportRules::Layout::kKeras)
    throw UsageError("--layout keras is for files of Keras, not for checkpoints", "leave it out");
  const Job job =
      read_job_on_all_ranks(comm, line.text("job"), line.has("set") ? line.get<Words>("set") : Words{});

  std::unique_ptr<Start> start;
  ImportResult result;
  check_on_root(comm, [&] {
    check_output_file(line.text("out"), line.has("overwrite"), {line.text("WEIGHTS"), line.text("job")});
  });
  const auto read = [&] {
    start = std::make_unique<Start>(job);
    ImportRules all = rules;
    if (line.has("up-to")) all.last_vertex = find_layer(start->graph, line.text("up-to"));
    const std::string& weights = line.text("WEIGHTS");
    result = is_checkpoint ? import_weights(weights, all, *start->arena)
                           : import_weights(SafetensorsFile(weights), all, *start->arena);
  };
  check_on_root(comm, read);
  all_or_none(comm, [&] {
    if (!comm.is_root()) read();
  });
  save_as(comm, line.text("out"), make_checkpoint_info(job, TrainState{}, start->contract, nullptr, 1),
          checkpoint_tensors(*start->arena, start->optimizer.get(), start->contract.normalization));

  if (comm.is_root()) {
    fmt::print("{}: {} tensors, {} values from {}\n", line.text("out"), result.n_tensors,
               grouped(static_cast<double>(result.n_values)), line.text("WEIGHTS"));
    if (!result.initialised.empty())
      fmt::print("initialised by the job: {}\n",
                 printable(fmt::format("{}", fmt::join(result.initialised, ", "))));
    if (!result.ignored.empty())
      fmt::print("ignored: {}\n", printable(fmt::format("{}", fmt::join(result.ignored, ", "))));
  }
  return 0;
}

namespace {
const bool import_registered = commands().add(
    "import",
    {.summary = "make a checkpoint from weights of PyTorch, Keras or another run", .run = import_command}, 5);
}

}  // namespace lockstep
