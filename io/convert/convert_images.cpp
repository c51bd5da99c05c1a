// A folder of images per class -> shards. Root lists the files once and hands the list to all
// ranks; each rank decodes the images of its shards with the cores it has (image_rows.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>

#include "comm/agreement.h"
#include "io/convert/convert_rows.h"
#include "io/convert/image_source.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

void check_image_options(const ImagesOptions& options) {
  if (options.channels != 1 && options.channels != 3)
    throw Error("convert images", fmt::format("{} channels are not possible", options.channels),
                "give 1 (grey) or 3 (RGB)");
  if ((options.height == 0) != (options.width == 0))
    throw Error("convert images", "one of height and width is missing", "give both or neither");
  if (options.height < 0 || options.width < 0 || options.height > 65536 || options.width > 65536)
    throw Error("convert images",
                fmt::format("images of {} x {} pixels are not possible", options.height, options.width),
                "give a height and width from 1 to 65536");
  if (options.bits != 0 && options.bits != 8 && options.bits != 16)
    throw Error("convert images", fmt::format("{} bits are not possible", options.bits),
                "give 8 or 16, or leave it out");
}

namespace {

/// What --on-error skip leaves of the listing.
void drop_damaged(Communicator& comm, ImageRows& rows, ImageListing& listing, const std::string& folder) {
  constexpr size_t kShown = 100;
  const std::vector<std::string> before = listing.files;
  const std::vector<std::pair<int64_t, std::string>> damaged = rows.drop_damaged(comm);
  if (damaged.empty()) return;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, damaged.size()); ++i) text += "\n    " + damaged[i].second;
  if (damaged.size() > kShown) text += "\n    …";
  std::vector<int64_t> labels, per_class(std::max<size_t>(1, listing.class_names.size()));
  std::vector<bool> had(per_class.size());  // numbers of classes may have gaps
  for (const int64_t label : listing.labels) had[static_cast<size_t>(label)] = true;
  auto next = damaged.begin();
  for (int64_t row = 0; row < static_cast<int64_t>(listing.labels.size()); ++row) {
    if (next != damaged.end() && next->first == row) {
      ++next;
      continue;
    }
    labels.push_back(listing.labels[row]);
    ++per_class[listing.labels[row]];
  }
  listing.labels = std::move(labels);
  listing.files = rows.files();
  if (!listing.notes.empty()) listing.notes[0] = taken_note(listing);
  listing.notes.push_back(
      fmt::format("left out: {} damaged file{}:", damaged.size(), damaged.size() == 1 ? "" : "s"));
  for (size_t i = 0; i < std::min(kShown, damaged.size()); ++i)
    listing.notes.push_back("  " + damaged[i].second);
  if (damaged.size() > kShown) listing.notes.emplace_back("  …");
  for (size_t c = 0; c < listing.class_names.size(); ++c)
    if (per_class[c] == 0 && had[c])
      throw AgreedError(folder + "/" + listing.class_names[c], "holds no image that can be read" + text,
                        "replace the files or remove the folder");
  if (rows.n_rows() == 0)
    throw AgreedError(folder, "holds no image that can be read" + text, "replace the files");
}

}  // namespace

ImageRows::Options image_row_options(const ImagesOptions& options, const std::string& folder) {
  return {folder,           options.channels,   options.height,
          options.width,    options.height > 0, options.bits == 0 ? 8 : options.bits,
          options.bits != 0};
}

ConvertInput image_source(Communicator& comm, const ImagesOptions& options, ImageListing listing,
                          const std::shared_ptr<ImageRows>& rows, const std::string& place) {
  if (options.bits == 0) rows->find_bits(comm);
  if (options.on_error == OnError::kSkip) drop_damaged(comm, *rows, listing, place);
  rows->find_size(comm);

  ConvertInput source;
  source.source = "images";
  source.n_rows = rows->n_rows();
  source.class_names = listing.class_names;
  source.row_names = listing.files;
  source.notes = listing.notes;
  source.fields = {rows->field()};
  if (source.fields[0].dtype == DType::kInt32 && options.bits == 0)
    source.notes.push_back(
        "images hold more than 8 bits and are kept so, as int32 of 0 to 65535; --bits 8 scales them to "
        "bytes");
  if (options.classes) source.fields.push_back({"label", DType::kInt64, {}});
  source.read = [rows, labels = listing.labels](std::span<const int64_t> ids,
                                                std::span<std::byte* const> dst) {
    rows->read(ids, dst[0]);
    for (size_t i = 0; i < ids.size() && dst.size() > 1; ++i)
      std::memcpy(dst[1] + i * sizeof(int64_t), &labels[ids[i]], sizeof(int64_t));
  };
  source.check_read = [rows, &comm] { rows->check(comm); };
  return source;
}

ConvertInput open_images(Communicator& comm, const ImagesOptions& options) {
  ImageListing listing;
  check_on_root(comm, [&] {
    check_image_options(options);
    listing = options.classes ? list_class_folders(options.folder, options.on_error)
                              : list_images(options.folder, options.on_error);
  });
  share_listing(comm, listing);
  const std::string folder =
      listing.is_file ? fs::path(options.folder).parent_path().string() : options.folder;
  const auto rows = std::make_shared<ImageRows>(image_row_options(options, folder.empty() ? "." : folder),
                                                listing.files, comm);
  return image_source(comm, options, std::move(listing), rows, options.folder);
}

ConvertResult convert_images(Communicator& comm, const ImagesOptions& images, const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_images(comm, images); });
}

}  // namespace lockstep
