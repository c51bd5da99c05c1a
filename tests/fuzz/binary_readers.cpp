// Readers of foreign binary files: IDX, .npz, tar, safetensors, images, gzip, TensorBoard events.
#include <fcntl.h>

#include <numeric>
#include <stdexcept>

#include "io/files/event_file.h"
#include "io/files/gzip.h"
#include "io/formats/idx_file.h"
#include "io/formats/images/image_decode.h"
#include "io/formats/npy_file.h"
#include "io/formats/safetensors.h"
#include "io/formats/tar_file.h"
#include "io/formats/zip_file.h"
#include "tests/fuzz/reader.h"
#include "tests/support/hdf5_files.h"

namespace lockstep::fuzz {

namespace {

void read_idx(std::string_view bytes) {
  const MemoryFile memory(bytes);
  IdxFile file(memory.path(), "data.idx");
  if (file.shape().n_elements() == 0) return;  // the converter refuses these
  std::vector<int64_t> rows(static_cast<size_t>(file.n_rows()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  double sum = 0;
  const int64_t n = file.shape().n_elements(), width = idx_element_bytes(file.type());
  file.for_each_row(rows, [&](size_t, const unsigned char* src) {
    for (int64_t i = 0; i < n; ++i) sum += idx_element(file.type(), src + i * width);
  });
  static_cast<void>(sum);
}

void read_npz(std::string_view bytes) {
  const MemoryFile memory(bytes), unpacked("");
  const ZipFile file(memory.path());
  for (const ZipFile::Entry& entry : file.entries()) {
    if (entry.n_bytes > (1 << 20)) continue;
    attempt([&] {
      file.extract(entry, unpacked.path());
      NpyFile array(unpacked.path(), entry.name);
      std::vector<std::byte> row(static_cast<size_t>(array.shape().n_elements() * size_of(array.dtype())));
      for (int64_t i = 0; i < array.n_rows(); ++i) array.read_row(i, row.data());
    });
  }
}

void read_tar(std::string_view bytes) {
  const MemoryFile memory(bytes);
  for (const TarEntry& entry : list_tar(memory.path(), "a.tar"))
    if (entry.offset < 512 || entry.n_bytes < 0 ||
        entry.offset + entry.n_bytes > static_cast<int64_t>(bytes.size()))
      throw std::logic_error("an entry lies outside of the archive");
}

void read_safetensors(std::string_view bytes) {
  const MemoryFile memory(bytes);
  const SafetensorsFile file(memory.path());
  for (const SafetensorsEntry& entry : file.entries()) {
    std::vector<float> values(static_cast<size_t>(entry.shape.n_elements()));
    attempt([&] { file.read(entry, values.data()); });
  }
}

/// The first byte chooses between grey and RGB.
void read_image(std::string_view bytes) {
  static ImageDecoder decoder;
  Choices choices(bytes);
  const int64_t channels = choices.flag() ? 3 : 1;
  const std::string_view file = choices.rest();
  const Image& image =
      decoder.decode({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, channels, "image");
  if (static_cast<int64_t>(image.pixels.size()) != image.height * image.width * image.channels ||
      image.channels != channels)
    throw std::logic_error("an image of another size than it says");
}

void read_gzip(std::string_view bytes) {
  const MemoryFile memory(bytes), plain("");
  if (is_gzip(memory.path())) inflate_file(memory.path(), plain.path());
}

/// The first byte: 0, a file of these bytes; else pieces of them framed as whole records, whose checksums
/// no mutation would find.
void read_events(std::string_view bytes) {
  static const TemporaryFolder folder;
  Choices choices(bytes);
  const bool framed = choices.flag();
  const int64_t last_step = choices.number();
  std::string text;
  while (framed && !choices.empty()) text += frame_record(choices.take(choices.byte()));
  if (!framed) text = choices.rest();
  const std::string path = folder.file("events.out.tfevents.lockstep");
  FileHandle file(path, O_RDWR | O_CREAT | O_TRUNC);
  file.write_at(text.data(), static_cast<int64_t>(text.size()), 0);
  EventFileWriter writer(folder.path(), last_step);
  const EventScalar scalar{"loss", 1};
  writer.write(last_step, {&scalar, 1});
}

const bool registered = register_reader("events", read_events) && register_reader("gzip", read_gzip) &&
                        register_reader("idx", read_idx) && register_reader("image", read_image) &&
                        register_reader("npz", read_npz) &&
                        register_reader("safetensors", read_safetensors) && register_reader("tar", read_tar);

}  // namespace

}  // namespace lockstep::fuzz
