// lockstep split DATASET --into …: a dataset into training, validation and test parts.
#include <fmt/format.h>

#include <filesystem>

#include "comm/agreement.h"
#include "io/convert/split_dataset.h"
#include "io/dataset/stored_numbers.h"
#include "jobs/convert/converter.h"
#include "kernels/error.h"
#include "src/data/data.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

/// The field of classes by its usual names; empty: there is none of whole numbers, one a sample.
std::string usual_label(const std::string& path, const std::string& layout) {
  DatasetOptions options;
  options.layout = layout;
  const Dataset dataset = Dataset::open(path, options);
  const Field* field = find_class_field(dataset);
  return field ? field->name : "";
}

/// Parts inside of the dataset's folder would be taken for a part of it, or the other way round.
void check_apart(const std::string& out, const std::string& dataset) {
  namespace fs = std::filesystem;
  std::error_code none;
  if (fs::weakly_canonical(out, none) == fs::weakly_canonical(dataset, none))
    throw Error(out, "is the folder of the dataset itself", "choose another --out");
}

}  // namespace

static int split_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "split DATASET --into train=0.8,validation=0.1,test=0.1 --out DIR [options]",
      "Divides a dataset at random into one per part, DIR/train and so on. All parts carry the mean and "
      "deviation of the training part.",
      {"DATASET"});
  line.add()("into", po::value<std::string>(), "NAME=SHARE or NAME=COUNT of each part, by commas (needed)")(
      "out", po::value<std::string>(), "output folder (needed)")(
      "stratify", "each class in all parts by their shares, within one sample")(
      "group-by", po::value<std::string>(),
      "field whose equal values stay in one part, such as a patient's number")(
      "in-order", "the first samples to the first part and so on, nothing at random")(
      "split-seed", po::value<uint64_t>()->default_value(0), "of the random choice")(
      "label", po::value<std::string>(), "field of the classes (default: label, target or y)")(
      "may-be-empty", "a part may lack a class")("shuffle", "mix the samples of each part")(
      "layout", po::value<std::string>(), "of images: NCHW or NHWC (default: as the files say)")(
      "shards", po::value<int64_t>()->default_value(0), "number of files of each part; 0: about 64 MiB each")(
      "overwrite", "replace the shards in the parts' folders");
  if (!line.parse(words, comm.is_root())) return 0;
  if (!line.has("into") || !line.has("out"))
    throw UsageError(
        line.has("into") ? "--out DIR is missing" : "--into is missing: the parts and their sizes",
        "write for instance --into train=0.8,validation=0.1,test=0.1 --out data/mine");
  if (line.has("stratify") + line.has("group-by") + line.has("in-order") > 1)
    throw UsageError("--stratify, --group-by and --in-order exclude each other", "choose one of them");
  SplitOptions split;
  split.path = line.text("DATASET");
  split.layout = line.text("layout");
  split.seed = line.get<uint64_t>("split-seed");
  split.group_by = line.text("group-by");
  split.may_be_empty = line.has("may-be-empty");
  split.rule = line.has("stratify")   ? SplitRule::kStratified
               : line.has("group-by") ? SplitRule::kGrouped
               : line.has("in-order") ? SplitRule::kInOrder
                                      : SplitRule::kRandom;
  ConvertOptions options;
  options.out = line.text("out");
  options.n_shards = line.get<int64_t>("shards");
  options.shuffle = line.has("shuffle");
  options.seed = split.seed;
  options.overwrite = line.has("overwrite");
  split.label = line.text("label");
  check_on_root(comm, [&] {
    if (!split.layout.empty() && split.layout != "NCHW" && split.layout != "NHWC")
      throw Error("--layout", "is NCHW or NHWC, found " + split.layout, "write for instance --layout NHWC");
    split.parts = read_split_parts(line.text("into"));
    check_apart(options.out, split.path);
    if (split.label.empty()) split.label = usual_label(split.path, split.layout);
  });
  split.parts = read_split_parts(line.text("into"));  // which has succeeded on root
  split.label = comm.broadcast_string(split.label);
  const std::vector<ConvertResult> results = split_dataset(comm, split, options);
  for (size_t p = 0; p < results.size(); ++p)
    report_result(results[p], options.out + "/" + split.parts[p].name, comm);
  return 0;
}

namespace {
const bool split_registered = commands().add(
    "split", {.summary = "divide a dataset into training, validation and test parts", .run = split_command},
    5);
}

}  // namespace lockstep
