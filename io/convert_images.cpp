// A folder of images per class -> shards. Root lists the files once and hands the list to all
// ranks; each rank decodes the images of its shards with the cores it has.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/agreement.h"
#include "io/convert_rows.h"
#include "io/gzip.h"
#include "io/image_decode.h"
#include "io/image_resize.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// Class names and the files of each class, both in byte order, whatever order the file system
/// lists them in.
struct Listing {
  std::vector<std::string> class_names;
  std::vector<std::string> files;  // below the folder
  std::vector<int64_t> labels;     // one per file
};

Listing list_images(const std::string& folder) {
  if (!fs::is_directory(folder))
    throw Error(folder, "is not a folder", "give a folder with one sub-folder of images per class");
  Listing listing;
  try {
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_directory() && !is_hidden(entry.path()))
        listing.class_names.push_back(entry.path().filename().string());
    std::sort(listing.class_names.begin(), listing.class_names.end());
    for (size_t label = 0; label < listing.class_names.size(); ++label) {
      const fs::path below = fs::path(folder) / listing.class_names[label];
      const size_t first = listing.files.size();
      for (const auto& entry :
           fs::recursive_directory_iterator(below, fs::directory_options::follow_directory_symlink))
        if (is_image(entry.path()) && !is_hidden(entry.path()) && entry.is_regular_file())
          listing.files.push_back(entry.path().lexically_relative(folder).string());
      if (listing.files.size() == first)
        throw Error(below.string(), "holds no .jpg, .jpeg or .png files",
                    "add images of this class or remove the folder");
      std::sort(listing.files.begin() + first, listing.files.end());
      listing.labels.resize(listing.files.size(), static_cast<int64_t>(label));
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(error.path1().string(), "cannot be listed: " + error.code().message(),
                "check its permissions");
  }
  if (listing.class_names.empty())
    throw Error(folder, "has no sub-folders", "put the images of each class into a sub-folder of its name");
  return listing;
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

void share_listing(Communicator& comm, Listing& listing) {
  listing.class_names = split(comm.broadcast_string(join(listing.class_names)));
  listing.files = split(comm.broadcast_string(join(listing.files)));
  listing.labels.resize(listing.files.size());
  comm.broadcast(listing.labels.data(), static_cast<int64_t>(listing.labels.size() * sizeof(int64_t)));
}

/// Cores of this rank: those it is bound to, or its share where ranks are not bound.
int n_threads(const Communicator& comm) {
  cpu_set_t set;
  const int n_allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const int share = static_cast<int>(std::thread::hardware_concurrency()) / comm.local_size();
  return std::max(1, std::min(n_allowed, share));
}

/// Decodes one file after the other into (C, H, W).
class ImageReader {
 public:
  explicit ImageReader(const ImagesOptions& options) : options_(options) {}

  const Image& decode(const std::string& path) {
    InputFile file(path);
    content_.resize(static_cast<size_t>(file.n_bytes()));
    file.read(0, content_.data(), file.n_bytes());
    return decoder_.decode(content_, options_.channels, path);
  }

  void read(const std::string& path, const Shape& shape, uint8_t* dst) {
    const Image* image = &decode(path);
    const int64_t channels = shape[0], height = shape[1], width = shape[2];
    if (image->height != height || image->width != width) {
      if (options_.height == 0)
        throw Error(path,
                    fmt::format("is {} x {} (height x width), the first image is {} x {}", image->height,
                                image->width, height, width),
                    "give --size HEIGHT,WIDTH to resize all images");
      resizer_.resize(*image, height, width, resized_);
      image = &resized_;
    }
    const uint8_t* src = image->pixels.data();
    const int64_t n = height * width;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < n; ++i) dst[c * n + i] = src[i * channels + c];
  }

 private:
  const ImagesOptions& options_;
  std::vector<uint8_t> content_;
  ImageDecoder decoder_;
  Resizer resizer_;
  Image resized_;
};

class ImageFolder {
 public:
  ImageFolder(ImagesOptions options, Listing listing, const Shape& shape, int threads)
      : options_(std::move(options)), listing_(std::move(listing)), shape_(shape) {
    for (int i = 0; i < threads; ++i) readers_.push_back(std::make_unique<ImageReader>(options_));
  }

  void read(std::span<const int64_t> rows, std::span<std::byte* const> dst) {
    const auto n = static_cast<int64_t>(rows.size());
    std::atomic<int64_t> next{0}, first_failed{n};
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&](ImageReader& reader) {
      for (int64_t i = next++; i < first_failed; i = next++) {
        try {
          std::memcpy(dst[1] + i * sizeof(int64_t), &listing_.labels[rows[i]], sizeof(int64_t));
          reader.read(options_.folder + "/" + listing_.files[rows[i]], shape_,
                      reinterpret_cast<uint8_t*>(dst[0]) + i * shape_.n_elements());
        } catch (...) {  // of several, the first row's error is reported
          const std::lock_guard guard(mutex);
          if (i < first_failed) {
            first_failed = i;
            failure = std::current_exception();
          }
        }
      }
    };
    std::vector<std::jthread> threads;
    for (size_t t = 1; t < readers_.size(); ++t) threads.emplace_back(work, std::ref(*readers_[t]));
    work(*readers_[0]);
    threads.clear();  // joins
    if (failure) std::rethrow_exception(failure);
  }

 private:
  ImagesOptions options_;
  Listing listing_;
  Shape shape_;
  std::vector<std::unique_ptr<ImageReader>> readers_;
};

void check_options(const ImagesOptions& options) {
  if (options.channels != 1 && options.channels != 3)
    throw Error("convert images", fmt::format("{} channels are not possible", options.channels),
                "give 1 (grey) or 3 (RGB)");
  if ((options.height == 0) != (options.width == 0))
    throw Error("convert images", "one of height and width is missing", "give both or neither");
  if (options.height < 0 || options.width < 0 || options.height > 65536 || options.width > 65536)
    throw Error("convert images",
                fmt::format("images of {} x {} pixels are not possible", options.height, options.width),
                "give a height and width from 1 to 65536");
}

ConvertInput open_images(Communicator& comm, const ImagesOptions& options) {
  Listing listing;
  int64_t size[2] = {options.height, options.width};
  check_on_root(comm, [&] {
    check_options(options);
    listing = list_images(options.folder);
    if (options.height > 0) return;
    ImageReader reader(options);
    const Image& first = reader.decode(options.folder + "/" + listing.files[0]);
    size[0] = first.height;
    size[1] = first.width;
  });
  share_listing(comm, listing);
  comm.broadcast(size, sizeof size);

  ConvertInput source;
  source.source = "images";
  source.n_rows = static_cast<int64_t>(listing.files.size());
  source.class_names = listing.class_names;
  const Shape shape{options.channels, size[0], size[1]};
  source.fields = {{"image", DType::kUInt8, shape}, {"label", DType::kInt64, {}}};
  auto folder = std::make_shared<ImageFolder>(options, std::move(listing), shape, n_threads(comm));
  source.read = [folder](auto rows, auto dst) { folder->read(rows, dst); };
  return source;
}

}  // namespace

ConvertResult convert_images(Communicator& comm, const ImagesOptions& images, const ConvertOptions& options) {
  return convert_rows(comm, options, [&](const std::string&) { return open_images(comm, images); });
}

}  // namespace lockstep
