// lockstep convert csv|idx|images|npy … --out DIR: foreign files to sharded HDF5.
#include "io/convert/convert.h"

#include <fmt/format.h>

#include "jobs/command.h"
#include "kernels/printable.h"
#include "src/config/config.h"
#include "src/run/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

void add_common(CommandLine& line) {
  line.add()("out", po::value<std::string>(), "output folder (needed)")(
      "shards", po::value<int64_t>()->default_value(0), "number of files; 0: about 64 MiB each")(
      "shuffle", "random order before sharding and splitting")(
      "seed", po::value<uint64_t>()->default_value(0), "of the random order")(
      "skip", po::value<int64_t>()->default_value(0), "leave out the first samples (after shuffling)")(
      "limit", po::value<int64_t>()->default_value(-1), "take so many samples; -1: all that remain")(
      "overwrite", "replace the shards in the output folder");
}

ConvertOptions read_common(const CommandLine& line) {
  if (!line.has("out"))
    throw UsageError("--out DIR is missing: where the HDF5 files go", "write for instance --out data/train");
  ConvertOptions options;
  options.out = line.text("out");
  options.n_shards = line.get<int64_t>("shards");
  options.shuffle = line.has("shuffle");
  options.seed = line.get<uint64_t>("seed");
  options.skip = line.get<int64_t>("skip");
  options.limit = line.get<int64_t>("limit");
  options.overwrite = line.has("overwrite");
  if (options.n_shards < 0)
    throw UsageError(fmt::format("--shards must not be negative, found {}", options.n_shards),
                     "write for instance --shards 4, or leave it out");
  if (options.skip < 0)
    throw UsageError(fmt::format("--skip must not be negative, found {}", options.skip),
                     "give the number of rows to leave out at the beginning, for instance --skip 1000");
  return options;
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

int convert_csv_words(const Words& words, Communicator& comm) {
  CommandLine line(
      "convert csv FILE --out DIR [options]",
      "Numbers, one sample a line, plain or .gz. The last column is the class unless said otherwise.",
      {"FILE"});
  add_common(line);
  line.add()("shape", po::value<std::string>(), "shape of an input sample, such as 1,8,8 (default: flat)")(
      "separator", po::value<std::string>()->default_value(","), "one character, or tab")(
      "target", po::value<int64_t>()->default_value(-1),
      "column of the target from 0; -1: the last, -2: none")("regression",
                                                             "the target is a number, not a class")(
      "header", po::value<int>()->default_value(-1),
      "lines to skip; -1: skip the first if it names the columns")(
      "drop", po::value<std::string>(), "columns to leave out, from 0, such as 0,3");
  if (!line.parse(words, comm.is_root())) return 0;
  CsvOptions csv;
  csv.path = line.text("FILE");
  const std::string separator = line.text("separator");
  if (separator != "tab" && separator.size() != 1)
    throw UsageError("--separator must be one character, or tab", "write for instance --separator ';'");
  csv.separator = separator == "tab" ? '\t' : separator[0];
  csv.header_lines = line.get<int>("header");
  csv.target_column = line.get<int64_t>("target");
  csv.target_is_class = !line.has("regression");
  if (line.has("shape")) csv.shape = line.numbers("shape", 1, "1,28,28");
  if (line.has("drop")) csv.dropped = line.numbers("drop", 0, "0,3");
  const ConvertOptions options = read_common(line);
  return report_result(convert_csv(comm, csv, options), options.out, comm);
}

int convert_idx_words(const Words& words, Communicator& comm) {
  CommandLine line("convert idx --images FILE [--labels FILE] --out DIR [options]",
                   "IDX files (MNIST), plain or .gz.", {});
  add_common(line);
  line.add()("images", po::value<std::string>(), "IDX file of images (needed)")(
      "labels", po::value<std::string>(), "IDX file of labels");
  if (!line.parse(words, comm.is_root())) return 0;
  if (!line.has("images"))
    throw UsageError("--images FILE is missing",
                     "for instance --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz");
  const ConvertOptions options = read_common(line);
  return report_result(convert_idx(comm, {line.text("images"), line.text("labels")}, options), options.out,
                       comm);
}

int convert_images_words(const Words& words, Communicator& comm) {
  CommandLine line("convert images FOLDER --out DIR [options]",
                   "A folder with one sub-folder of JPEG or PNG files per class.", {"FOLDER"});
  add_common(line);
  line.add()("channels", po::value<int64_t>()->default_value(3), "1: grey, 3: RGB")(
      "size", po::value<std::string>(), "resize to HEIGHT,WIDTH (default: all images have one size)")(
      "bits", po::value<int64_t>()->default_value(0), "8 or 16 a sample; 0: 16 if any file holds them")(
      "on-error", po::value<std::string>()->default_value("stop"),
      "stop: name all files that cannot be read; skip: leave them out");
  if (!line.parse(words, comm.is_root())) return 0;
  ImagesOptions images;
  images.folder = line.text("FOLDER");
  images.channels = line.get<int64_t>("channels");
  if (images.channels != 1 && images.channels != 3)
    throw UsageError(fmt::format("--channels must be 1 or 3, found {}", images.channels),
                     "write --channels 1 for grey or --channels 3 for RGB");
  if (line.has("size")) {
    const std::vector<int64_t> size = line.numbers("size", 1, "224,224");
    images.height = size.front();
    images.width = size.back();
  }
  images.bits = line.get<int64_t>("bits");
  const std::string on_error = line.text("on-error");
  if (on_error != "stop" && on_error != "skip")
    throw UsageError("--on-error is stop or skip, found " + on_error,
                     "write --on-error skip to leave out what cannot be read");
  images.on_error = on_error == "skip" ? OnError::kSkip : OnError::kStop;
  const ConvertOptions options = read_common(line);
  return report_result(convert_images(comm, images, options), options.out, comm);
}

int convert_npy_words(const Words& words, Communicator& comm) {
  CommandLine line("convert npy FILE [--labels FILE] --out DIR [options]",
                   "NumPy arrays (.npy) whose first dimension counts samples.", {"FILE"});
  add_common(line);
  line.add()("labels", po::value<std::string>(), ".npy file of labels: whole numbers are classes");
  if (!line.parse(words, comm.is_root())) return 0;
  const ConvertOptions options = read_common(line);
  return report_result(convert_npy(comm, {line.text("FILE"), line.text("labels")}, options), options.out,
                       comm);
}

}  // namespace

int convert_command(const Words& words, Communicator& comm) {
  const std::string kind = words.empty() ? "--help" : words[0];
  const Words rest(words.begin() + !words.empty(), words.end());
  if (kind == "csv") return convert_csv_words(rest, comm);
  if (kind == "idx") return convert_idx_words(rest, comm);
  if (kind == "images") return convert_images_words(rest, comm);
  if (kind == "npy") return convert_npy_words(rest, comm);
  if (kind == "--help" || kind == "-h") {
    if (comm.is_root())
      fmt::print(
          "usage: lockstep convert csv|idx|images|npy … --out DIR\nlockstep convert csv --help tells "
          "more.\n");
    return words.empty() ? 2 : 0;
  }
  const std::string near = nearest_word(kind, {"csv", "idx", "images", "npy"});
  throw UsageError(fmt::format("cannot convert from '{}'{}; known: csv, idx, images, npy", kind,
                               near.empty() ? "" : "; did you mean '" + near + "'?"),
                   "lockstep convert csv --help tells how CSV is converted, the others likewise");
}

}  // namespace lockstep
