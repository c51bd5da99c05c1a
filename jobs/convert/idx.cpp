// lockstep convert idx: the files of MNIST.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

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

const bool idx_converter_registered = converters().add("idx", convert_idx_words);

}  // namespace

}  // namespace lockstep
