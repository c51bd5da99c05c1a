// tar archives of samples -> shards. Root walks the headers once and hands places and labels to all ranks;
// each rank decodes the images of its shards out of the archives (image_rows.h).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "comm/agreement.h"
#include "io/convert/image_source.h"
#include "io/convert/table/csv_scan.h"
#include "io/files/json_parse.h"
#include "io/formats/tar_file.h"
#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

constexpr int64_t kMostTarLabelBytes = int64_t{1} << 20;

/// "a/000001" and "seg.png" of "a/000001.seg.png".
std::pair<std::string, std::string> split_key(const std::string& name) {
  const size_t slash = name.rfind('/');
  const size_t dot = name.find('.', slash == std::string::npos ? 0 : slash + 1);
  if (dot == std::string::npos) return {name, ""};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

std::string trimmed_text(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

/// The label at `key` of a JSON text: a whole number or a text.
std::string json_label(const std::string& text, const std::string& key, const std::string& where) {
  const std::string remedy = "say --label json:KEY with a member that is a whole number or a text";
  JsonValue value;
  try {
    value = parse_json(text);
  } catch (const Error& error) {
    throw Error(where, "is no JSON: " + error.reason(), "pack it again, or say --label cls");
  }
  const JsonValue* found = value.find(key);
  if (found == nullptr) throw Error(where, "has no member '" + key + "'", remedy);
  if (const std::string* name = found->text()) return *name;
  if (const double* number = found->number();
      number != nullptr && *number == static_cast<double>(static_cast<int64_t>(*number)))
    return std::to_string(static_cast<int64_t>(*number));
  throw Error(where, "has a member '" + key + "' that is neither a whole number nor a text", remedy);
}

/// The files of one key.
struct TarSample {
  std::string name;  // of the image, as errors show it
  ImagePlace image;
  std::string label;
  bool has_image = false, has_label = false;
};

/// Walks the archives. What belongs to one sample stands together.
class TarScan {
 public:
  TarScan(const TarOptions& options, const std::vector<std::string>& paths) : options_(options) {
    label_extension_ = options.label.starts_with("json:") ? "json" : options.label == "cls" ? "cls" : "";
    json_key_ = options.label.starts_with("json:") ? options.label.substr(5) : "label";
    for (size_t archive = 0; archive < paths.size(); ++archive)
      scan(static_cast<int64_t>(archive), paths[archive]);
    if (samples.empty())
      throw Error(
          options.files[0],
          fmt::format("holds no images{}", options.image.empty() ? "" : " called KEY." + options.image),
          "pack files such as 000001.jpg and 000001.cls; --image names the extension of the images");
    if (labels() && n_labels_ == 0)
      throw Error(options.files[0], "holds no labels: neither KEY.cls nor KEY.json beside the images",
                  "pack them, or say --label none");
    if (!labels()) return;
    for (const TarSample& sample : samples)
      if (!sample.has_label)
        throw Error(sample.name, "has no label beside it, as others have", "pack one for each image");
  }

  bool labels() const { return options_.label != "none"; }

  std::vector<TarSample> samples;
  std::map<std::string, int64_t> passed_over;  // by extension
  int64_t n_without_image = 0;

 private:
  void scan(int64_t archive, const std::string& path) {
    const std::string& shown = options_.files[static_cast<size_t>(archive)];
    const InputFile file(path, shown);
    std::set<std::string> seen;
    std::string current;
    TarSample sample;
    const auto finish = [&] {
      if (sample.has_image) {
        n_labels_ += sample.has_label;
        samples.push_back(std::move(sample));
      } else if (sample.has_label) {
        ++n_without_image;
      }
      sample = {};
    };
    for (const TarEntry& entry : list_tar(path, shown)) {
      const size_t slash = entry.name.rfind('/');
      if (entry.name[slash == std::string::npos ? 0 : slash + 1] == '.') continue;  // hidden: macOS's ._1.jpg
      const auto [key, extension] = split_key(entry.name);
      if (key != current) {
        finish();
        current = key;
        if (!seen.insert(key).second)
          throw Error(shown + ": " + printable(entry.name),
                      "belongs to a sample that stands earlier, apart from it",
                      "pack the files of a sample one behind the other: tar --sort=name");
      }
      take(archive, file, entry, extension, sample);
    }
    finish();
  }

  void take(int64_t archive, const InputFile& file, const TarEntry& entry, const std::string& extension,
            TarSample& sample) {
    const std::string where = file.name() + ": " + printable(entry.name);
    const bool is_label = labels() && (label_extension_.empty() ? extension == "cls" || extension == "json"
                                                                : extension == label_extension_);
    const bool is_image = options_.image.empty() ? is_image_name(entry.name) : extension == options_.image;
    if (is_image) {
      if (sample.has_image)
        throw Error(where, "is the second image of its sample",
                    "say --image EXTENSION, for instance --image jpg");
      sample.has_image = true;
      sample.name = where;
      sample.image = {archive, entry.offset, entry.n_bytes};
    } else if (is_label) {
      if (sample.has_label && label_extension_.empty() && extension == "json") return;  // .cls came before
      if (entry.n_bytes > kMostTarLabelBytes) throw Error(where, "is too large for a label", "pack it again");
      std::string text(static_cast<size_t>(entry.n_bytes), '\0');
      file.read(entry.offset, text.data(), entry.n_bytes);
      sample.label = extension == "json" ? json_label(text, json_key_, where) : trimmed_text(text);
      if (sample.label.empty()) throw Error(where, "is an empty label", "pack it again");
      sample.has_label = true;
    } else {
      ++passed_over[extension];
    }
  }

  const TarOptions& options_;
  std::string label_extension_, json_key_;
  int64_t n_labels_ = 0;
};

/// Whole numbers stay as they are; texts are numbered in their order, numbers among them first.
void number_labels(const std::vector<TarSample>& samples, ImageListing& listing) {
  bool all_whole = true;
  int64_t largest = -1;
  std::map<std::string, int64_t, std::less<>> found;
  for (const TarSample& sample : samples) {
    int64_t id = -1;
    const char* end = sample.label.data() + sample.label.size();
    const auto read = std::from_chars(sample.label.data(), end, id);
    all_whole = all_whole && read.ec == std::errc{} && read.ptr == end && id >= 0 && id < 65536;
    largest = std::max(largest, id);
    listing.labels.push_back(id);
    ++found[sample.label];
  }
  if (all_whole) {
    listing.class_names = numbered_classes(largest);
    return;
  }
  listing.class_names.clear();
  LabelCounts labels;
  for (const auto& [label, n] : found) {
    if (!is_utf8(label)) throw Error("label " + printable(label), "is not UTF-8 text", "pack it as UTF-8");
    labels[label] = n;
  }
  listing.class_names = sorted_labels(labels);
  std::map<std::string, int64_t> ids;
  for (const std::string& name : listing.class_names) ids[name] = static_cast<int64_t>(ids.size());
  for (size_t i = 0; i < samples.size(); ++i) listing.labels[i] = ids.at(samples[i].label);
}

ConvertInput open_tar(Communicator& comm, const TarOptions& options, const std::string& scratch) {
  std::vector<std::string> paths;
  for (size_t i = 0; i < options.files.size(); ++i)
    paths.push_back(plain_file(comm, options.files[i], scratch, fmt::format("archive-{}.tar", i)));
  ImagesOptions images = options.images;
  images.classes = options.label != "none";
  ImageListing listing;
  std::vector<ImagePlace> places;
  check_on_root(comm, [&] {
    check_image_options(images);
    const TarScan scan(options, paths);
    for (const TarSample& sample : scan.samples) {
      listing.files.push_back(sample.name);
      places.push_back(sample.image);
    }
    if (scan.labels()) number_labels(scan.samples, listing);
    listing.notes.push_back(taken_note(listing));
    std::string others;
    for (const auto& [extension, n] : scan.passed_over)
      others += fmt::format("{}{} {}", others.empty() ? "" : ", ", n,
                            extension.empty() ? "without extension" : "." + printable(extension));
    if (!others.empty()) listing.notes.push_back("passed over: other files: " + others);
    if (scan.n_without_image > 0)
      listing.notes.push_back(fmt::format("passed over: {} labels without an image", scan.n_without_image));
  });
  share_listing(comm, listing);
  places.resize(listing.files.size());
  comm.broadcast(places.data(), static_cast<int64_t>(places.size() * sizeof(ImagePlace)));
  std::shared_ptr<ImageRows> rows;
  all_or_none(comm, [&] {
    rows = std::make_shared<ImageRows>(image_row_options(images, ""), listing.files, paths, std::move(places),
                                       comm);
  });
  ConvertInput source = image_source(comm, images, std::move(listing), rows, options.files[0]);
  source.source = "tar";
  return source;
}

}  // namespace

ConvertResult convert_tar(Communicator& comm, const TarOptions& tar, const ConvertOptions& options) {
  return convert_rows(comm, options,
                      [&](const std::string& scratch) { return open_tar(comm, tar, scratch); });
}

}  // namespace lockstep
