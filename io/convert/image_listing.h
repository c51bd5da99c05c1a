// The images below a folder: one sub-folder per class, or all without classes. What is passed over is
// counted, and what is likely a mistake refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"

namespace lockstep {

struct ImageListing {
  std::vector<std::string> class_names;  // empty: a folder without classes
  std::vector<std::string> files;        // below the folder, in the order of classes, then in byte order
  std::vector<int64_t> labels;           // one per file; empty without classes
  std::vector<std::string> notes;        // what was taken and what was left out, a line each; on root
  bool is_file = false;                  // the path was an image: files[0] is its name
};

/// What to do with files that cannot be read.
enum class OnError { kStop, kSkip };

/// True of names whose files are read as images in this build.
bool is_image_name(const std::string& path);
/// True of a file's first 32 bytes where it is an image, of kinds that need another build, too.
bool is_image_content(std::string_view begin);

/// Class folders and their images at any depth, whatever order the file system lists them in. Classes are
/// in byte order, or in the order of numbers where all names are whole numbers. Hidden files and folders,
/// other types, and images beside the class folders are counted. Throws Error: no classes, a class without
/// images, links that lead nowhere (kSkip: counted) or back, folders that are parts of a split (train, val)
/// and not classes.
ImageListing list_class_folders(const std::string& folder, OnError on_error);

/// All images below a folder, or one image file, without classes.
ImageListing list_images(const std::string& path, OnError on_error);

/// "taken: 12 images of 2 classes: cat (5), dog (7)"; the first of a listing's notes.
std::string taken_note(const ImageListing& listing);

/// Collective. Root's listing for every rank.
void share_listing(Communicator& comm, ImageListing& listing);

}  // namespace lockstep
