#include "io/formats/npy_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/error.h"
#include "kernels/float16.h"

namespace lockstep {

namespace {

constexpr int64_t kMaxHeader = 1 << 16;

template <typename T>
T read_as(const unsigned char* bytes, bool swaps) {
  unsigned char copy[sizeof(T)];
  std::memcpy(copy, bytes, sizeof copy);
  if (swaps) std::reverse(copy, copy + sizeof copy);
  T value;
  std::memcpy(&value, copy, sizeof value);
  return value;
}

/// What follows 'key': in the header's dictionary.
std::string value_of(const std::string& header, const std::string& key) {
  const size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) return "";
  const size_t begin = header.find_first_not_of(' ', at + key.size() + 3);
  if (begin == std::string::npos) return "";
  const char first = header[begin];
  if (first == '(') return header.substr(begin, header.find(')', begin) - begin + 1);
  if (first == '\'') return header.substr(begin + 1, header.find('\'', begin + 1) - begin - 1);
  return header.substr(begin, header.find_first_of(",}", begin) - begin);
}

}  // namespace

NpyFile::NpyFile(const std::string& path, const std::string& shown)
    : file_(path, shown.empty() ? path : shown) {
  unsigned char magic[12] = {};
  file_.read(0, magic, std::min<int64_t>(sizeof magic, file_.n_bytes()));
  if (std::memcmp(magic, "\x93NUMPY", 6) != 0) {
    const bool is_zip = std::memcmp(magic, "PK\x03\x04", 4) == 0;
    throw Error(name(), is_zip ? "is a .npz archive of several arrays" : "is not a .npy file",
                is_zip ? "say `lockstep convert npz`, or save one array: numpy.save(\"x.npy\", "
                         "numpy.load(\"x.npz\")[NAME])"
                       : "save it by numpy.save");
  }
  const int64_t prefix = magic[6] == 1 ? 10 : 12;
  const int64_t n_header = magic[6] == 1
                               ? magic[8] + 256 * magic[9]
                               : magic[8] + 256 * magic[9] + 65536 * magic[10] + (int64_t{magic[11]} << 24);
  if (magic[6] < 1 || magic[6] > 3 || n_header > kMaxHeader || prefix + n_header > file_.n_bytes())
    throw Error(name(), "has a header that is no .npy file's", "save it by numpy.save");
  std::string header(static_cast<size_t>(n_header), '\0');
  file_.read(prefix, header.data(), n_header);
  begin_ = prefix + n_header;
  parse_header(header);
  if (const int64_t n = n_rows_ * shape_.n_elements() * n_bytes_; file_.n_bytes() - begin_ < n)
    throw Error(name(), fmt::format("is cut short: {} of {} bytes of elements", file_.n_bytes() - begin_, n),
                "save or copy it again");
  row_.resize(static_cast<size_t>(shape_.n_elements() * n_bytes_));
}

void NpyFile::parse_header(const std::string& header) {
  const std::string type = value_of(header, "descr"), extents = value_of(header, "shape");
  by_columns_ = value_of(header, "fortran_order").starts_with("True");
  const bool swaps = type.size() == 3 && type[0] == '>';
  kind_ = type.size() == 3 ? type[1] : '?';
  n_bytes_ = type.size() == 3 ? type[2] - '0' : 0;
  swaps_ = swaps && n_bytes_ > 1;
  const std::string code = fmt::format("{}{}", kind_, n_bytes_);
  if (code == "u1" || code == "b1")
    dtype_ = DType::kUInt8;
  else if (code == "i1" || code == "i2" || code == "u2" || code == "i4")
    dtype_ = DType::kInt32;
  else if (code == "u4" || code == "i8" || code == "u8")
    dtype_ = DType::kInt64;
  else if (code == "f2" || code == "f4")
    dtype_ = DType::kFloat32;
  else if (code == "f8")
    dtype_ = DType::kFloat64;
  else
    throw Error(name(),
                fmt::format("holds elements of numpy's type {}, not numbers of 8 to 64 bits",
                            type.empty() ? "(a record of several)" : type.substr(0, 120)),
                "convert it first: x.astype(\"float32\")");

  std::vector<int64_t> dimensions;
  int64_t n_elements = n_bytes_;
  for (size_t at = 1; at < extents.size();) {
    const size_t digits = extents.find_first_of("0123456789", at);
    if (digits == std::string::npos) break;
    const size_t end = extents.find_first_not_of("0123456789", digits);
    int64_t extent = -1;
    if (end - digits <= 18) extent = std::stoll(extents.substr(digits, end - digits));
    if (extent < 0 || __builtin_mul_overflow(n_elements, std::max<int64_t>(extent, 1), &n_elements))
      throw Error(name(), "has an impossible shape " + extents.substr(0, 80), "save it by numpy.save");
    dimensions.push_back(extent);
    at = end;
  }
  if (dimensions.empty() || dimensions.size() > Shape::kMaxRank)
    throw Error(name(), fmt::format("has {} dimensions", dimensions.size()),
                "the first dimension counts samples: give one to 8");
  n_rows_ = dimensions[0];
  shape_ = Shape(std::vector<int64_t>(dimensions.begin() + 1, dimensions.end()));
  if (n_rows_ == 0 || shape_.n_elements() == 0) throw Error(name(), "holds no samples", "check the file");
}

void NpyFile::read_row(int64_t row, std::byte* dst) {
  const int64_t n = shape_.n_elements();
  if (!by_columns_) {
    file_.read(begin_ + row * n * n_bytes_, row_.data(), n * n_bytes_);
  } else {
    if (all_.empty()) {
      all_.resize(static_cast<size_t>(n_rows_ * n * n_bytes_));
      file_.read(begin_, all_.data(), static_cast<int64_t>(all_.size()));
    }
    for (int64_t i = 0; i < n; ++i) {
      // Element i of the row in C order; its place where the first index runs fastest.
      int64_t rest = i, place = 0;
      for (int d = shape_.rank() - 1; d >= 0; --d) {
        int64_t stride = n_rows_;
        for (int k = 0; k < d; ++k) stride *= shape_[k];
        place += rest % shape_[d] * stride;
        rest /= shape_[d];
      }
      std::memcpy(row_.data() + i * n_bytes_, all_.data() + (place + row) * n_bytes_,
                  static_cast<size_t>(n_bytes_));
    }
  }
  const auto refuse = [&](const char* what) {
    throw Error(name(), fmt::format("row {} holds a value that is {}", row, what), "replace such values");
  };
  const auto store = [&](auto* out, auto read) {
    for (int64_t i = 0; i < n; ++i)
      out[i] = static_cast<std::decay_t<decltype(*out)>>(read(row_.data() + i * n_bytes_));
  };
  const auto finite = [&](const auto* values) {
    if (!std::all_of(values, values + n, [](auto x) { return std::isfinite(x); })) refuse("not finite");
  };
  const bool s = swaps_;
  switch (dtype_) {
    case DType::kUInt8: std::memcpy(dst, row_.data(), static_cast<size_t>(n)); break;
    case DType::kInt32: {
      auto* out = reinterpret_cast<int32_t*>(dst);
      if (n_bytes_ == 1) store(out, [](auto* p) { return static_cast<int8_t>(*p); });
      if (n_bytes_ == 4) store(out, [s](auto* p) { return read_as<int32_t>(p, s); });
      if (n_bytes_ == 2 && kind_ == 'i') store(out, [s](auto* p) { return read_as<int16_t>(p, s); });
      if (n_bytes_ == 2 && kind_ == 'u') store(out, [s](auto* p) { return read_as<uint16_t>(p, s); });
      break;
    }
    case DType::kInt64: {
      auto* out = reinterpret_cast<int64_t*>(dst);
      if (n_bytes_ == 4) store(out, [s](auto* p) { return read_as<uint32_t>(p, s); });
      if (n_bytes_ == 8) store(out, [s](auto* p) { return read_as<int64_t>(p, s); });
      if (kind_ == 'u' && n_bytes_ == 8 && std::any_of(out, out + n, [](int64_t x) { return x < 0; }))
        refuse("above 2^63 - 1");
      break;
    }
    case DType::kFloat32: {
      auto* out = reinterpret_cast<float*>(dst);
      if (n_bytes_ == 2) store(out, [s](auto* p) { return half_to_float(read_as<uint16_t>(p, s)); });
      if (n_bytes_ == 4) store(out, [s](auto* p) { return read_as<float>(p, s); });
      finite(out);
      break;
    }
    default: {
      auto* out = reinterpret_cast<double*>(dst);
      store(out, [s](auto* p) { return read_as<double>(p, s); });
      finite(out);
    }
  }
}

}  // namespace lockstep
