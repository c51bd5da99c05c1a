// Reading the header; extents are believed only where the file has their bytes.
#include "io/formats/idx_file.h"

#include <fmt/format.h>

#include <array>
#include <bit>

#include "kernels/error.h"

namespace lockstep {

namespace {

/// Loads a big-endian element.
template <typename Bits>
Bits load(const unsigned char* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Bits); ++i) value = value << 8 | bytes[i];
  return static_cast<Bits>(value);
}

}  // namespace

int64_t idx_element_bytes(uint8_t type) {
  switch (type) {
    case kIdxU8:
    case kIdxI8: return 1;
    case kIdxI16: return 2;
    case kIdxI32:
    case kIdxF32: return 4;
    case kIdxF64: return 8;
  }
  return 0;
}

double idx_element(uint8_t type, const unsigned char* bytes) {
  switch (type) {
    case kIdxU8: return *bytes;
    case kIdxI8: return static_cast<int8_t>(*bytes);
    case kIdxI16: return static_cast<int16_t>(load<uint16_t>(bytes));
    case kIdxI32: return static_cast<int32_t>(load<uint32_t>(bytes));
    case kIdxF32: return std::bit_cast<float>(load<uint32_t>(bytes));
    case kIdxF64: return std::bit_cast<double>(load<uint64_t>(bytes));
  }
  return 0;
}

IdxFile::IdxFile(const std::string& path, const std::string& name) : file_(path, name) {
  const std::string remedy = "give an uncompressed or gzip-compressed IDX file";
  std::array<unsigned char, 4> magic{};
  if (file_.n_bytes() < 4)
    throw Error(name, fmt::format("has {} bytes, which is no IDX file", file_.n_bytes()), remedy);
  file_.read(0, magic.data(), 4);
  type_ = magic[2];
  const int n_dims = magic[3];
  if (magic[0] != 0 || magic[1] != 0 || idx_element_bytes(type_) == 0 || n_dims < 1 || n_dims > 4)
    throw Error(
        name,
        fmt::format(
            "starts with bytes {:02x} {:02x} {:02x} {:02x}, which is no IDX file of 1 to 4 dimensions",
            magic[0], magic[1], magic[2], magic[3]),
        remedy);
  header_bytes_ = 4 + 4 * n_dims;
  if (file_.n_bytes() < header_bytes_)
    throw Error(name, "ends within the IDX header", "fetch the file again");
  int64_t n_bytes = idx_element_bytes(type_);
  bool fits = true;
  std::vector<int64_t> extents;  // of one row
  for (int d = 0; d < n_dims; ++d) {
    std::array<unsigned char, 4> extent{};
    file_.read(4 + 4 * d, extent.data(), 4);
    const int64_t value = load<uint32_t>(extent.data());
    fits = fits && !__builtin_mul_overflow(n_bytes, value, &n_bytes);
    if (d == 0) {
      n_rows_ = value;
    } else {
      extents.push_back(value);
    }
  }
  shape_ = Shape(std::span<const int64_t>(extents));
  if (n_rows_ == 0) throw Error(name, "holds no samples", "check the path");
  if (!fits || file_.n_bytes() - header_bytes_ != n_bytes)
    throw Error(name,
                fmt::format("its header promises {} x {} elements, {} bytes in all, but it has {}", n_rows_,
                            shape_.str(), fits ? std::to_string(header_bytes_ + n_bytes) : "too many",
                            file_.n_bytes()),
                "the file is truncated or not IDX; fetch it again");
  row_bytes_ = shape_.n_elements() * idx_element_bytes(type_);
}

}  // namespace lockstep
