// Threads take the next file that none has taken; where a row goes does not depend on who decodes it.
#include "io/convert/image_rows.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <thread>

#include "comm/agreement.h"
#include "io/files/gzip.h"
#include "io/formats/images/image_decode.h"
#include "io/formats/images/image_formats.h"
#include "io/formats/images/image_resize.h"

namespace lockstep {

namespace {

/// Cores of this rank: those it is bound to, or its share where ranks are not bound.
int n_threads(const Communicator& comm) {
  cpu_set_t set;
  const int n_allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const int share = static_cast<int>(std::thread::hardware_concurrency()) / comm.local_size();
  return std::max(1, std::min(n_allowed, share));
}

constexpr const char* kFirstImage = "the first image is";  // of another size

/// (H, W, C) -> (C, H, W).
template <typename From, typename To>
void to_planes(const std::vector<From>& src, int64_t channels, int64_t n, To* dst) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < n; ++i) dst[c * n + i] = src[i * channels + c];
}

}  // namespace

/// Decodes one file after the other.
class ImageRows::Reader {
 public:
  const Image& decode(const ImageRows& rows, int64_t row) {
    const Options& options = rows.options_;
    const std::string path = rows.path_of(row);
    rows.fetch(row, content_);
    if (options.bits == 8 && !options.may_scale && ImageDecoder::stored_bits(content_) == 16)
      throw wrong_name(path);
    return decoder_.decode(content_, options.channels, path, options.bits);
  }

  int64_t stored_bits(const ImageRows& rows, int64_t row, bool header_tells) {
    rows.fetch(row, content_, header_tells ? ImageDecoder::kHeaderBytes : INT64_MAX);
    return ImageDecoder::stored_bits(content_);
  }

  /// dst: one row.
  void read(const ImageRows& rows, int64_t row, std::byte* dst) {
    const Options& options = rows.options_;
    const Image* image = &decode(rows, row);
    if (image->height != options.height || image->width != options.width) {
      if (!options.resizes)
        throw Error(rows.path_of(row),
                    fmt::format("is {} x {} (height x width), {} {} x {}", image->height, image->width,
                                kFirstImage, options.height, options.width),
                    "give --size HEIGHT,WIDTH to resize all images");
      resizer_.resize(*image, options.height, options.width, resized_);
      image = &resized_;
    }
    const int64_t n = options.height * options.width;
    if (options.bits == 16)
      to_planes(image->deep, options.channels, n, reinterpret_cast<int32_t*>(dst));
    else
      to_planes(image->pixels, options.channels, n, reinterpret_cast<uint8_t*>(dst));
  }

 private:
  Error wrong_name(const std::string& path) const {
    const detail::ImageFormat* format = detail::format_of_content(content_);
    return Error(path, "is a " + format->name + " file of more than 8 bits under another name",
                 "name it " + format->extensions[0] + ", or say --bits 8");
  }

  std::vector<uint8_t> content_;
  ImageDecoder decoder_;
  Resizer resizer_;
  Image resized_;
};

ImageRows::ImageRows(Options options, std::vector<std::string> files, const Communicator& comm)
    : options_(std::move(options)), files_(std::move(files)) {
  for (int i = 0; i < n_threads(comm); ++i) readers_.push_back(std::make_unique<Reader>());
}
ImageRows::ImageRows(Options options, std::vector<std::string> files, std::vector<std::string> archives,
                     std::vector<ImagePlace> places, const Communicator& comm)
    : ImageRows(std::move(options), std::move(files), comm) {
  for (const std::string& archive : archives) archives_.emplace_back(archive);
  places_ = std::move(places);
}
ImageRows::~ImageRows() = default;

Field ImageRows::field() const {
  return {"image", options_.bits == 16 ? DType::kInt32 : DType::kUInt8,
          Shape{options_.channels, options_.height, options_.width}};
}

std::string ImageRows::path_of(int64_t row) const {
  return options_.folder.empty() ? files_[row] : options_.folder + "/" + files_[row];
}

void ImageRows::fetch(int64_t row, std::vector<uint8_t>& content, int64_t n_most) const {
  if (places_.empty()) {
    const InputFile file(path_of(row));
    content.resize(static_cast<size_t>(std::min(file.n_bytes(), n_most)));
    file.read(0, content.data(), static_cast<int64_t>(content.size()));
    return;
  }
  const ImagePlace& place = places_[row];
  content.resize(static_cast<size_t>(std::min(place.n_bytes, n_most)));
  archives_[place.archive].read(place.offset, content.data(), static_cast<int64_t>(content.size()));
}

template <typename Work>
void ImageRows::for_each(int64_t n, const Work& work) {
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;  // such as memory that ran out
  const auto run = [&](Reader& reader) {
    try {
      for (int64_t i = next++; i < n; i = next++) work(reader, i);
    } catch (...) {
      next = n;
      const std::lock_guard guard(mutex_);
      failure = std::current_exception();
    }
  };
  std::vector<std::jthread> threads;
  for (size_t t = 1; t < readers_.size(); ++t) threads.emplace_back(run, std::ref(*readers_[t]));
  run(*readers_[0]);
  threads.clear();  // joins
  if (failure) std::rethrow_exception(failure);
}

void ImageRows::keep_failure(int64_t row, const Error& error) {
  const std::lock_guard guard(mutex_);
  failures_.emplace(row, error);
}

void ImageRows::find_bits(Communicator& comm) {
  std::atomic<int64_t> largest{8};
  all_or_none(comm, [&] {
    const int64_t n_mine = (n_rows() - comm.rank() + comm.size() - 1) / comm.size();
    for_each(n_mine, [&](Reader& reader, int64_t i) {
      const int64_t row = i * comm.size() + comm.rank();
      const detail::ImageFormat* format = detail::format_of_name(path_of(row));
      if (format == nullptr || format->decoder.stored_bits == nullptr)
        return;  // opening all of a million JPEGs takes long
      try {
        if (reader.stored_bits(*this, row, format->decoder.header_tells_bits) == 16) largest = 16;
      } catch (const Error&) {  // who reads the row reports it
      }
    });
  });
  options_.bits = comm.all_reduce_max(largest.load());
}

std::vector<std::pair<int64_t, std::string>> ImageRows::drop_damaged(Communicator& comm) {
  all_or_none(comm, [&] {
    const int64_t n_mine = (n_rows() - comm.rank() + comm.size() - 1) / comm.size();
    for_each(n_mine, [&](Reader& reader, int64_t i) {
      const int64_t row = i * comm.size() + comm.rank();
      try {
        reader.decode(*this, row);
      } catch (const Error& error) {
        keep_failure(row, error);
      }
    });
  });
  const std::map<int64_t, std::string> failures = all_failures(comm);
  std::vector<std::string> good;
  std::vector<ImagePlace> good_places;
  for (int64_t row = 0; row < n_rows(); ++row) {
    if (failures.contains(row)) continue;
    good.push_back(std::move(files_[row]));
    if (!places_.empty()) good_places.push_back(places_[row]);
  }
  files_ = std::move(good);
  places_ = std::move(good_places);
  failures_.clear();
  return {failures.begin(), failures.end()};
}

void ImageRows::find_size(Communicator& comm) {
  int64_t size[2] = {options_.height, options_.width};
  check_on_root(comm, [&] {
    if (size[0] > 0) return;
    for (int64_t row = 0; row < n_rows() && size[0] == 0;
         ++row) {  // damaged ones are reported with all others
      try {
        const Image& image = readers_[0]->decode(*this, row);
        size[0] = image.height;
        size[1] = image.width;
      } catch (const Error& error) {
        keep_failure(row, error);
      }
    }
  });
  comm.broadcast(size, sizeof size);
  options_.height = size[0];
  options_.width = size[1];
  if (size[0] == 0) check(comm);
}

void ImageRows::read(std::span<const int64_t> rows, std::byte* dst) {
  const Field row = field();
  const int64_t row_bytes = row.shape.n_elements() * size_of(row.dtype);
  for_each(static_cast<int64_t>(rows.size()), [&](Reader& reader, int64_t i) {
    try {
      reader.read(*this, rows[i], dst + i * row_bytes);
    } catch (const Error& error) {
      keep_failure(rows[i], error);
    }
  });
}

std::map<int64_t, std::string> ImageRows::all_failures(Communicator& comm) const {
  std::string mine;
  for (const auto& [row, error] : failures_) {
    std::string text = error.where() + ": " + error.reason();
    const bool other_size = error.reason().find(kFirstImage) != std::string::npos;
    if (!error.remedy().empty() && error.remedy() != ImageDecoder::kReplace && !other_size)
      text += "; " + error.remedy();
    std::replace(text.begin(), text.end(), '\n', ' ');
    mine += fmt::format("{} {}\n", row, text);
  }
  std::map<int64_t, std::string> all;
  for (const std::string& theirs : comm.all_gather_strings(mine))
    for (size_t at = 0; at < theirs.size();) {
      const size_t end = theirs.find('\n', at), blank = theirs.find(' ', at);
      all.emplace(std::stoll(theirs.substr(at)), theirs.substr(blank + 1, end - blank - 1));
      at = end + 1;
    }
  return all;
}

void ImageRows::check(Communicator& comm) const {
  constexpr size_t kShown = 100;
  const std::map<int64_t, std::string> all = all_failures(comm);
  if (all.empty()) return;
  bool other_size = true;  // that is what all of them suffer from
  std::string text;
  size_t n = 0;
  for (const auto& [row, failure] : all) {
    other_size = other_size && failure.find(kFirstImage) != std::string::npos;
    if (++n <= kShown) text += (n > 1 ? "\n  " : "") + failure;
  }
  if (n > kShown) text += fmt::format("\n  and {} more", n - kShown);
  const std::string remedy = other_size ? "give --size HEIGHT,WIDTH to resize all images"
                                        : "replace or remove such files, or say --on-error skip";
  if (n == 1) {
    const size_t colon = path_of(all.begin()->first).size();
    throw AgreedError(text.substr(0, colon), text.substr(colon + 2), remedy);
  }
  throw AgreedError(options_.folder.empty() ? "images" : options_.folder,
                    fmt::format("{} files cannot be taken:\n  {}", n, text), remedy);
}

}  // namespace lockstep
