// lockstep convert cifar: the binary batches of CIFAR-10 and CIFAR-100.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_cifar_words(const Words& words, Communicator& comm) {
  CommandLine line("convert cifar FOLDER --out DIR [options]",
                   "CIFAR-10 or CIFAR-100, binary version: the unpacked folder, or .bin files of it.",
                   {"FOLDER…"});
  add_common(line);
  line.add()("part", po::value<std::string>()->default_value("train"), "of a folder: train or test")(
      "labels", po::value<std::string>()->default_value("fine"), "of CIFAR-100: fine (100) or coarse (20)");
  if (!line.parse(words, comm.is_root())) return 0;
  const std::string part = line.text("part"), labels = line.text("labels");
  if (part != "train" && part != "test")
    throw UsageError("--part is train or test, found " + part, "write for instance --part test");
  if (labels != "fine" && labels != "coarse")
    throw UsageError("--labels is fine or coarse, found " + labels, "write for instance --labels coarse");
  const ConvertOptions options = read_common(line);
  return report_result(
      convert_cifar(comm, {line.texts("FOLDER…"), part == "test", labels == "coarse"}, options), options.out,
      comm);
}

const bool cifar_converter_registered = converters().add("cifar", convert_cifar_words);

}  // namespace

}  // namespace lockstep
