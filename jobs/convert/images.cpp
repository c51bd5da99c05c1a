// lockstep convert images: a folder of pictures per class.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "comm/agreement.h"
#include "jobs/convert/converter.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

namespace po = boost::program_options;

/// Shards among the classes would be one more class, or leave the user's folder changed.
void check_outside(const std::string& out, const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code none;
  const fs::path to = fs::weakly_canonical(out, none), from = fs::weakly_canonical(folder, none);
  const auto end = std::mismatch(from.begin(), from.end(), to.begin(), to.end()).first;
  if (!from.empty() && end == from.end())
    throw Error(out, "lies in the folder of the images", "choose an --out outside of " + folder);
}

}  // namespace

void add_image_options(CommandLine& line) {
  line.add()("channels", po::value<int64_t>()->default_value(3), "1: grey, 3: RGB")(
      "size", po::value<std::string>(), "resize to HEIGHT,WIDTH (default: all images have one size)")(
      "bits", po::value<int64_t>()->default_value(0), "8 or 16 a sample; 0: 16 if any file holds them")(
      "on-error", po::value<std::string>()->default_value("stop"),
      "stop: name all files that cannot be read; skip: leave them out");
}

void read_image_options(const CommandLine& line, ImagesOptions& images) {
  images.channels = line.get<int64_t>("channels");
  if (images.channels != 1 && images.channels != 3)
    throw UsageError(fmt::format("--channels must be 1 or 3, found {}", images.channels),
                     "write --channels 1 for grey or --channels 3 for RGB");
  if (line.has("size")) {
    const std::vector<int64_t> size = line.numbers("size", 1, "224,224");
    if (size.size() > 2)
      throw UsageError("--size " + line.text("size") + ": expected a height and a width",
                       "write for instance --size 224,224; --channels counts channels");
    images.height = size.front();
    images.width = size.back();
  }
  images.bits = line.get<int64_t>("bits");
  images.on_error = read_on_error(line);
}

namespace {

int convert_images_words(const Words& words, Communicator& comm) {
  CommandLine line("convert images FOLDER --out DIR [options]",
                   "A folder with one sub-folder of JPEG or PNG files per class.", {"FOLDER"});
  add_common(line);
  add_image_options(line);
  if (!line.parse(words, comm.is_root())) return 0;
  ImagesOptions images;
  images.folder = line.text("FOLDER");
  read_image_options(line, images);
  const ConvertOptions options = read_common(line);
  check_on_root(comm, [&] { check_outside(options.out, images.folder); });
  return report_result(convert_images(comm, images, options), options.out, comm);
}

const bool images_converter_registered = converters().add("images", convert_images_words);

}  // namespace

}  // namespace lockstep
