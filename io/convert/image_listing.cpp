// Folders are walked by hand, not by recursive_directory_iterator, which descends into hidden folders and
// follows a link to a folder above until the system gives up, each time with the same files.
#include "io/convert/image_listing.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "io/formats/images/image_formats.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

/// Images that people have but no build reads, or (image_formats.h) this one does not.
bool is_other_image(const std::string& extension) {
  static const std::set<std::string> kNames{
      ".gif", ".jp2", ".j2k", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm", ".svg", ".psd", ".tga", ".exr", ".hdr",
      ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raw", ".dcm", ".ico", ".nii", ".jpf", ".jpx"};
  return kNames.contains(extension) || detail::format_of_name("x" + extension) != nullptr;
}

/// By convention, and the folders that systems strew: macOS's archives, Synology's thumbnails.
bool is_hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name == "__MACOSX" || name == "@eaDir";
}

std::string shown(const std::vector<std::string>& names, size_t most = 5) {
  std::string text;
  for (size_t i = 0; i < std::min(most, names.size()); ++i) text += (text.empty() ? "" : ", ") + names[i];
  return text + (names.size() > most ? ", …" : "");
}

std::string counted(int64_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

/// What was met on the way and not taken.
struct PassedOver {
  std::map<std::string, int64_t> unread_images, other_files;  // by extension
  std::vector<std::string> hidden_folders, dangling;          // below the folder
  int64_t n_hidden_files = 0, n_beside = 0;

  static std::string by_extension(const std::map<std::string, int64_t>& counts) {
    std::string text;
    for (const auto& [extension, n] : counts)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n,
                          extension.empty() ? "without extension" : extension);
    return text;
  }

  /// "save them as PNG …", and which package reads them.
  static std::string remedy(const std::map<std::string, int64_t>& unread) {
    std::string text = "save them as PNG or JPEG if they are samples";
    std::set<std::string> remedies;
    for (const auto& [extension, n] : unread)
      if (const detail::ImageFormat* format = detail::format_of_name("x" + extension))
        remedies.insert(format->remedy());
    for (const std::string& more : remedies) text += "; " + more;
    return text;
  }

  void describe(std::vector<std::string>& notes) const {
    if (!unread_images.empty())
      notes.push_back("left out: images of kinds that are not read: " + by_extension(unread_images) + "; " +
                      remedy(unread_images));
    if (!other_files.empty()) notes.push_back("left out: other files: " + by_extension(other_files));
    if (!hidden_folders.empty())
      notes.push_back(fmt::format("left out: {}: {}",
                                  counted(static_cast<int64_t>(hidden_folders.size()), "hidden folder"),
                                  shown(hidden_folders)));
    if (n_hidden_files > 0) notes.push_back("left out: " + counted(n_hidden_files, "hidden file"));
    if (!dangling.empty())
      notes.push_back(fmt::format("left out: {} that lead nowhere: {}",
                                  counted(static_cast<int64_t>(dangling.size()), "link"), shown(dangling)));
    if (n_beside > 0)
      notes.push_back(fmt::format("left out: {} beside the class folders", counted(n_beside, "image")));
  }
};

class Walk {
 public:
  explicit Walk(std::string top) : top_(std::move(top)) {}

  /// Adds the images below `folder`, in byte order.
  std::vector<std::string> images_below(const fs::path& folder) {
    std::vector<std::string> files;
    visit(folder, files);
    std::sort(files.begin(), files.end());
    return files;
  }

  std::string below_top(const fs::path& path) const { return path.lexically_relative(top_).string(); }

  PassedOver passed;

 private:
  void visit(const fs::path& folder, std::vector<std::string>& files) {
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0) return;
    const std::pair<dev_t, ino_t> identity{status.st_dev, status.st_ino};
    if (!above_.insert(identity).second)
      throw Error(folder.string(), "is a link to a folder above it, whose images would count again",
                  "remove the link");
    for (const auto& entry : fs::directory_iterator(folder)) {
      const fs::path& path = entry.path();
      if (is_hidden(path)) {
        if (entry.is_directory())
          passed.hidden_folders.push_back(below_top(path));
        else
          ++passed.n_hidden_files;
      } else if (entry.is_symlink() && !entry.exists()) {
        passed.dangling.push_back(below_top(path));
      } else if (entry.is_directory()) {
        visit(path, files);
      } else if (entry.is_regular_file()) {
        const std::string extension = detail::lower_extension(path.string());
        if (is_image_name(path.string()))
          files.push_back(below_top(path));
        else
          ++(is_other_image(extension) ? passed.unread_images : passed.other_files)[extension];
      } else {
        ++passed.other_files["named pipe, socket or device"];
      }
    }
    above_.erase(identity);
  }

  fs::path top_;
  std::set<std::pair<dev_t, ino_t>> above_;
};

bool is_training(const std::string& name) { return name == "train" || name == "training"; }
bool is_other_part(const std::string& name) {
  static const std::set<std::string> kNames{"val",     "valid", "validation", "test",
                                            "testing", "dev",   "eval",       "holdout"};
  return kNames.contains(name);
}

/// A split is no set of classes.
void check_no_split(const std::string& folder, const std::vector<std::string>& names) {
  int64_t n_training = 0, n_others = 0;
  for (std::string name : names) {
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    n_training += is_training(name);
    n_others += is_other_part(name);
  }
  const bool all = n_training + n_others == static_cast<int64_t>(names.size());
  if (names.empty() || !(all || (n_training > 0 && n_others > 0))) return;
  throw Error(
      folder, fmt::format("its folders are parts of a split, not classes: {}", shown(names)),
      fmt::format("convert each part by itself: lockstep convert images {}/{} --out DIR", folder, names[0]));
}

/// Byte order, but whole numbers in theirs.
void sort_classes(std::vector<std::string>& names) {
  std::sort(names.begin(), names.end());
  const bool all_numbers = std::all_of(names.begin(), names.end(), [](const std::string& name) {
    return name.size() <= 18 &&
           std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  });
  if (all_numbers)
    std::stable_sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
      return std::stoll(a) < std::stoll(b);
    });
}

void check_links(const std::string& folder, const PassedOver& passed, OnError on_error) {
  if (passed.dangling.empty() || on_error == OnError::kSkip) return;
  const auto n = static_cast<int64_t>(passed.dangling.size());
  throw Error(
      folder,
      fmt::format("{} {} nowhere: {}", counted(n, "link"), n == 1 ? "leads" : "lead", shown(passed.dangling)),
      "restore or remove them, or say --on-error skip");
}

[[noreturn]] void cannot_list(const fs::filesystem_error& error) {
  throw Error(error.path1().string(), "cannot be listed: " + error.code().message(), "check its permissions");
}

std::string kinds() {
  std::string text;
  for (const detail::ImageFormat& format : detail::image_formats())
    for (const std::string& kind : format.extensions)
      if (format.is_read()) text += (text.empty() ? "" : ", ") + kind;
  return text;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text.append(name).push_back('\0');  // no path holds a zero byte
  return text;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at < text.size(); at += names.back().size() + 1) names.emplace_back(text.c_str() + at);
  return names;
}

}  // namespace

bool is_image_name(const std::string& path) {
  const detail::ImageFormat* format = detail::format_of_name(path);
  return format != nullptr && format->is_read();
}

bool is_image_content(std::string_view begin) {
  return detail::format_of_content({reinterpret_cast<const uint8_t*>(begin.data()), begin.size()}) != nullptr;
}

std::string taken_note(const ImageListing& listing) {
  constexpr size_t kMostShown = 12;
  const size_t n_classes = listing.class_names.size();
  std::string note = "taken: " + counted(static_cast<int64_t>(listing.files.size()), "image");
  if (n_classes == 0) return note;
  std::vector<int64_t> counts(n_classes);
  for (const int64_t label : listing.labels) ++counts[static_cast<size_t>(label)];
  note += n_classes == 1 ? " of 1 class: " : fmt::format(" of {} classes: ", n_classes);
  for (size_t c = 0; c < std::min(n_classes, kMostShown); ++c)
    note += fmt::format("{}{} ({})", c ? ", " : "", listing.class_names[c], counts[c]);
  return note + (n_classes > kMostShown ? ", …" : "");
}

ImageListing list_class_folders(const std::string& folder, OnError on_error) {
  if (!fs::is_directory(folder))
    throw Error(folder, "is not a folder", "give a folder with one sub-folder of images per class");
  ImageListing listing;
  Walk walk(folder);
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_symlink() && !entry.exists())
        walk.passed.dangling.push_back(name);
      else if (is_hidden(entry.path()) && entry.is_directory())
        walk.passed.hidden_folders.push_back(name);
      else if (is_hidden(entry.path()))
        ++walk.passed.n_hidden_files;
      else if (is_image_name(name) && !entry.is_directory())
        ++walk.passed.n_beside;
      else if (!entry.is_directory())
        ++walk.passed.other_files[detail::lower_extension(name)];
      else
        listing.class_names.push_back(name);
    }
    sort_classes(listing.class_names);
    check_no_split(folder, listing.class_names);
    for (size_t label = 0; label < listing.class_names.size(); ++label) {
      const fs::path below = fs::path(folder) / listing.class_names[label];
      const auto unread = walk.passed.unread_images;
      const std::vector<std::string> files = walk.images_below(below);
      if (files.empty() && (walk.passed.dangling.empty() || on_error == OnError::kSkip))
        throw Error(
            below.string(),
            "holds no " + kinds() + " files" +
                (unread == walk.passed.unread_images
                     ? ""
                     : ", but images of other kinds: " + PassedOver::by_extension(walk.passed.unread_images)),
            unread == walk.passed.unread_images
                ? "add images of this class (PNG or JPEG) or remove the folder"
                : PassedOver::remedy(walk.passed.unread_images));
      listing.files.insert(listing.files.end(), files.begin(), files.end());
      listing.labels.resize(listing.files.size(), static_cast<int64_t>(label));
    }
  } catch (const fs::filesystem_error& error) {
    cannot_list(error);
  }
  check_links(folder, walk.passed, on_error);
  const size_t n_classes = listing.class_names.size();
  if (n_classes == 0)
    throw Error(folder, "has no sub-folders", "put the images of each class into a sub-folder of its name");
  listing.notes.push_back(taken_note(listing));
  if (n_classes == 1)
    listing.notes.push_back("one class only: nothing to tell apart; is this the folder of the classes?");
  walk.passed.describe(listing.notes);
  return listing;
}

ImageListing list_images(const std::string& path, OnError on_error) {
  ImageListing listing;
  Walk walk(path);
  try {
    if (!fs::is_directory(path)) {
      if (!fs::exists(path)) throw Error(path, "there is no such file or folder", "check the path");
      listing.files.push_back(fs::path(path).filename().string());
      listing.is_file = true;
      return listing;
    }
    listing.files = walk.images_below(path);
  } catch (const fs::filesystem_error& error) {
    cannot_list(error);
  }
  check_links(path, walk.passed, on_error);
  if (listing.files.empty())
    throw Error(
        path,
        "holds no " + kinds() + " files" +
            (walk.passed.unread_images.empty()
                 ? ""
                 : ", but images of other kinds: " + PassedOver::by_extension(walk.passed.unread_images)),
        walk.passed.unread_images.empty() ? "check the path" : PassedOver::remedy(walk.passed.unread_images));
  listing.notes.push_back(taken_note(listing));
  walk.passed.describe(listing.notes);
  return listing;
}

void share_listing(Communicator& comm, ImageListing& listing) {
  listing.class_names = split(comm.broadcast_string(join(listing.class_names)));
  listing.files = split(comm.broadcast_string(join(listing.files)));
  int64_t is_file = listing.is_file;
  comm.broadcast(&is_file, sizeof is_file);
  listing.is_file = is_file != 0;
  listing.labels.resize(listing.class_names.empty() ? 0 : listing.files.size());
  comm.broadcast(listing.labels.data(), static_cast<int64_t>(listing.labels.size() * sizeof(int64_t)));
}

}  // namespace lockstep
