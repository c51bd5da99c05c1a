// lockstep convert tar: archives of images and labels, as WebDataset packs them.
#include "jobs/convert/converter.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

int convert_tar_words(const Words& words, Communicator& comm) {
  CommandLine line(
      "convert tar SHARD… --out DIR [options]",
      "tar archives, plain or .gz, whose samples are files of one name: 000001.jpg and 000001.cls, or "
      "000001.json (WebDataset).",
      {"SHARD…"});
  add_common(line);
  line.add()("image", po::value<std::string>(), "extension of the images, such as jpg (default: any image)")(
      "label", po::value<std::string>(),
      "cls: the text of KEY.cls; json:NAME: that member of KEY.json; none (default: .cls, or label of "
      ".json)");
  add_image_options(line);
  if (!line.parse(words, comm.is_root())) return 0;
  TarOptions tar;
  tar.files = line.texts("SHARD…");
  tar.image = line.text("image");
  if (tar.image.starts_with('.')) tar.image.erase(0, 1);
  tar.label = line.text("label");
  if (!tar.label.empty() && tar.label != "cls" && tar.label != "none" &&
      !(tar.label.starts_with("json:") && tar.label.size() > 5))
    throw UsageError("--label is cls, json:NAME or none, found " + tar.label,
                     "write for instance --label json:class");
  read_image_options(line, tar.images);
  const ConvertOptions options = read_common(line);
  return report_result(convert_tar(comm, tar, options), options.out, comm);
}

const bool tar_converter_registered = converters().add("tar", convert_tar_words);

}  // namespace

}  // namespace lockstep
