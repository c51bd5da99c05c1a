// lockstep convert npy, npz: arrays of NumPy.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

void add_array_options(CommandLine& line) {
  line.add()("layout", po::value<std::string>(),
             "of images (N, …): NCHW or NHWC, whose channels are put first")(
      "shape", po::value<std::string>(), "shape of an input sample, such as 1,28,28 (default: as stored)");
}

/// Of --layout; "": not said. Throws UsageError.
std::string read_array_layout(const CommandLine& line) {
  const std::string layout = line.text("layout");
  if (!layout.empty() && layout != "NCHW" && layout != "NHWC")
    throw UsageError("--layout is NCHW or NHWC, found " + layout,
                     "write NHWC where the last dimension counts channels");
  if (!layout.empty() && line.has("shape"))
    throw UsageError("--layout and --shape are both given", "give --layout for images, --shape for all else");
  return layout;
}

std::vector<int64_t> read_array_shape(const CommandLine& line) {
  return line.has("shape") ? line.numbers("shape", 1, "1,28,28") : std::vector<int64_t>();
}

int convert_npy_words(const Words& words, Communicator& comm) {
  CommandLine line(
      "convert npy FILE… [--labels FILE] --out DIR [options]",
      "NumPy arrays (.npy) whose first dimension counts samples; several files are one behind the "
      "other.",
      {"FILE…"});
  add_common(line);
  line.add()("labels", po::value<Words>()->composing(),
             ".npy file of labels, as often as there are files: whole numbers are classes");
  add_array_options(line);
  if (!line.parse(words, comm.is_root())) return 0;
  const ConvertOptions options = read_common(line);
  const NpyOptions npy{line.texts("FILE…"), line.has("labels") ? line.texts("labels") : Words{},
                       read_array_layout(line), read_array_shape(line)};
  return report_result(convert_npy(comm, npy, options), options.out, comm);
}

int convert_npz_words(const Words& words, Communicator& comm) {
  CommandLine line(
      "convert npz FILE --out DIR [options]",
      "An archive of NumPy arrays (.npz), compressed or not: an input and a target by their usual "
      "names (x_train and y_train, images and labels, x and y …) or by those given.",
      {"FILE"});
  add_common(line);
  line.add()("input", po::value<std::string>(), "array of the inputs")(
      "target", po::value<std::string>(), "array of the labels or targets; none: there is none");
  add_array_options(line);
  if (!line.parse(words, comm.is_root())) return 0;
  const ConvertOptions options = read_common(line);
  const NpzOptions npz{line.text("FILE"), line.text("input"), line.text("target"), read_array_layout(line),
                       read_array_shape(line)};
  return report_result(convert_npz(comm, npz, options), options.out, comm);
}

const bool npy_converter_registered = converters().add("npy", convert_npy_words);
const bool npz_converter_registered = converters().add("npz", convert_npz_words);

}  // namespace

}  // namespace lockstep
