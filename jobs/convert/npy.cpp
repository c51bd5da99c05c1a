// lockstep convert npy: arrays of NumPy.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

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

const bool npy_converter_registered = converters().add("npy", convert_npy_words);

}  // namespace

}  // namespace lockstep
