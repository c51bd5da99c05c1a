// Each entry: a local header, whose extra field pads the array to a multiple of 64 bytes, the .npy header,
// the elements. CRCs stand in front of what they are of, so an array is in memory while it is written.
#include "io/formats/npz_write.h"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <set>

#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kMostZipBytes = 0xFFFF'0000;  // of an archive without ZIP64
constexpr size_t kMostZipEntries = 65'535;
constexpr int64_t kNpyAlignment = 64;
constexpr uint16_t kEarliestDate = 0x21;  // 1980-01-01: archives hold no time of their own

void append_word(std::string& bytes, uint64_t value, int n_bytes) {
  for (int i = 0; i < n_bytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
}

std::string npy_header(const SafetensorsTensor& tensor) {
  std::string shape;
  for (int d = 0; d < tensor.shape.rank(); ++d) shape += std::to_string(tensor.shape[d]) + ", ";
  if (tensor.shape.rank() > 1) shape.resize(shape.size() - 2);  // (3,) and (3, 4), as Python prints them
  if (tensor.shape.rank() == 1) shape.pop_back();
  std::string text = std::string("{'descr': '") + (tensor.dtype == DType::kInt64 ? "<i8" : "<f4") +
                     "', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr size_t kBefore = 10;  // magic number, version, length
  const size_t n = (kBefore + text.size() + 1 + 63) / 64 * 64;
  text.resize(n - kBefore - 1, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  append_word(header, text.size(), 2);
  return header + text;
}

struct ZipPlace {
  std::string name, header;  // NAME.npy, and its .npy header
  int64_t at = 0, n_bytes = 0, padding = 0;
  uint32_t crc = 0;
};

/// What the local header and the table of contents share, from "version needed" to the lengths of name and
/// extra field.
std::string common_part(const ZipPlace& place) {
  std::string bytes;
  append_word(bytes, 20, 2);       // version 2.0
  append_word(bytes, 1 << 11, 2);  // names are UTF-8
  append_word(bytes, 0, 2);        // stored
  append_word(bytes, 0, 2);
  append_word(bytes, kEarliestDate, 2);
  append_word(bytes, place.crc, 4);
  append_word(bytes, static_cast<uint64_t>(place.n_bytes), 4);
  append_word(bytes, static_cast<uint64_t>(place.n_bytes), 4);
  append_word(bytes, place.name.size(), 2);
  return bytes;
}

std::string local_header(const ZipPlace& place) {
  std::string bytes("PK\x03\x04", 4);
  bytes += common_part(place);
  append_word(bytes, static_cast<uint64_t>(place.padding), 2);
  bytes += place.name;
  // An extra field of an id that nobody reads, as zipalign's.
  append_word(bytes, 0xD935, 2);
  append_word(bytes, static_cast<uint64_t>(place.padding - 4), 2);
  bytes.resize(bytes.size() + static_cast<size_t>(place.padding - 4), '\0');
  return bytes;
}

std::string table_of_contents(const std::vector<ZipPlace>& places, int64_t begin) {
  std::string bytes;
  for (const ZipPlace& place : places) {
    bytes += std::string("PK\x01\x02", 4);
    append_word(bytes, 20, 2);
    bytes += common_part(place);
    for (const int n_bytes : {2, 2, 2, 2, 4}) append_word(bytes, 0, n_bytes);  // extra … attributes
    append_word(bytes, static_cast<uint64_t>(place.at), 4);
    bytes += place.name;
  }
  const size_t n_bytes = bytes.size();
  bytes += std::string("PK\x05\x06", 4);
  append_word(bytes, 0, 4);  // one volume
  append_word(bytes, places.size(), 2);
  append_word(bytes, places.size(), 2);
  append_word(bytes, n_bytes, 4);
  append_word(bytes, static_cast<uint64_t>(begin), 4);
  append_word(bytes, 0, 2);
  return bytes;
}

/// The places of all arrays. Throws Error.
std::vector<ZipPlace> lay_out(const std::string& path, const std::vector<SafetensorsTensor>& tensors) {
  std::vector<ZipPlace> places;
  std::set<std::string> names;
  int64_t at = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.dtype != DType::kFloat32 && tensor.dtype != DType::kInt64)
      throw Error(path + ": " + tensor.name, "only float32 and int64 are written",
                  "convert the tensor to float32 first");
    if (tensor.name.empty() || tensor.name.size() > 1000 || !names.insert(tensor.name).second)
      throw Error(path + ": " + tensor.name, "this name is empty, too long or taken",
                  "give each array its own name");
    ZipPlace place{tensor.name + ".npy", npy_header(tensor), at, 0, 0, 0};
    place.n_bytes =
        static_cast<int64_t>(place.header.size()) + tensor.shape.n_elements() * size_of(tensor.dtype);
    const int64_t unpadded = at + 30 + static_cast<int64_t>(place.name.size()) + 4;
    place.padding = 4 + (kNpyAlignment - unpadded % kNpyAlignment) % kNpyAlignment;
    at = unpadded - 4 + place.padding + place.n_bytes;
    places.push_back(std::move(place));
    if (at > kMostZipBytes || places.size() > kMostZipEntries)
      throw Error(path, "would be larger than a ZIP archive without ZIP64 can be",
                  "write safetensors: --to safetensors");
  }
  return places;
}

}  // namespace

void write_npz(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
               const std::function<void(size_t, void*)>& fill) {
  std::vector<ZipPlace> places = lay_out(path, tensors);
  int64_t n_most = 0;
  for (const ZipPlace& place : places) n_most = std::max(n_most, place.n_bytes);
  const auto buffer = std::make_unique_for_overwrite<char[]>(static_cast<size_t>(n_most));
  write_file_atomically(path, [&](FileHandle& file) {
    int64_t end = 0;
    for (size_t i = 0; i < places.size(); ++i) {
      ZipPlace& place = places[i];
      std::copy(place.header.begin(), place.header.end(), buffer.get());
      fill(i, buffer.get() + place.header.size());
      place.crc = static_cast<uint32_t>(
          crc32_z(0, reinterpret_cast<const Bytef*>(buffer.get()), static_cast<size_t>(place.n_bytes)));
      const std::string header = local_header(place);
      file.write_at(header.data(), static_cast<int64_t>(header.size()), place.at);
      end = place.at + static_cast<int64_t>(header.size());
      file.write_at(buffer.get(), place.n_bytes, end);
      end += place.n_bytes;
    }
    const std::string table = table_of_contents(places, end);
    file.write_at(table.data(), static_cast<int64_t>(table.size()), end);
  });
}

}  // namespace lockstep
