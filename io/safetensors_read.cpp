// Reading .safetensors: nothing of the header is believed before it was checked against the
// file's size, so that a damaged or hostile file is a sentence and never a huge allocation.
#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <memory>
#include <set>

#include "io/json_parse.h"
#include "io/row_converter.h"
#include "io/safetensors.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own reader
constexpr const char* kDamaged =
    "the file is damaged or was not written completely: fetch or export it again";

struct TypeName {
  const char* name;
  int64_t n_bytes;
  std::optional<DType> dtype;
};
const TypeName kTypes[] = {
    {"F32", 4, DType::kFloat32}, {"F16", 2, DType::kFloat16}, {"BF16", 2, DType::kBFloat16},
    {"F64", 8, DType::kFloat64}, {"I64", 8, DType::kInt64},   {"I32", 4, DType::kInt32},
    {"U8", 1, DType::kUInt8},    {"BOOL", 1, std::nullopt},   {"I8", 1, std::nullopt},
    {"I16", 2, std::nullopt},    {"U16", 2, std::nullopt},    {"U32", 4, std::nullopt},
    {"U64", 8, std::nullopt},    {"C64", 8, std::nullopt},    {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt}};

/// "[1, 2, 3]" -> numbers that are not negative; nothing if the text is anything else.
std::optional<std::vector<int64_t>> read_list(const std::string& text) {
  std::vector<int64_t> values;
  const char *at = text.data(), *const end = at + text.size();
  const auto skip_space = [&] {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) ++at;
  };
  const auto take = [&](char c) {
    skip_space();
    if (at == end || *at != c) return false;
    ++at;
    return true;
  };
  if (!take('[')) return std::nullopt;
  if (take(']')) return at == end ? std::optional(values) : std::nullopt;
  do {
    skip_space();
    int64_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0) return std::nullopt;
    at = next;
    values.push_back(value);
  } while (take(','));
  return take(']') && at == end ? std::optional(values) : std::nullopt;
}

const TypeName& find_type(const std::string& where, const std::string& name) {
  std::string known;
  for (const TypeName& type : kTypes) {
    if (name == type.name) return type;
    known += std::string(known.empty() ? "" : ", ") + type.name;
  }
  throw Error(where, "has the unknown type '" + name + "'; known are " + known, "store it as float32");
}

SafetensorsEntry read_entry(const std::string& path, const std::string& name,
                            const std::string& description) {
  const std::string where = path + ": " + name;
  const MetricsLine line = parse_json_object(description);
  const std::string *type = line.text("dtype"), *shape = line.text("shape"),
                    *offsets = line.text("data_offsets");
  const auto extents = shape ? read_list(*shape) : std::nullopt;
  const auto range = offsets ? read_list(*offsets) : std::nullopt;
  if (line.items.size() != 3 || !type || !extents || !range || range->size() != 2)
    throw Error(where, "is not described by exactly dtype, shape and data_offsets", kDamaged);
  if (extents->size() > static_cast<size_t>(Shape::kMaxRank)) {
    throw Error(where, "has " + std::to_string(extents->size()) + " dimensions, more than the " +
                           std::to_string(Shape::kMaxRank) + " that are supported");
  }
  const TypeName& known = find_type(where, *type);
  SafetensorsEntry entry{name,        *type,
                         known.dtype, Shape(std::span<const int64_t>(*extents)),
                         (*range)[0], (*range)[1] - (*range)[0]};
  // Multiplied with care: the extents may be anything.
  int64_t n_bytes = known.n_bytes;
  bool overflows = false;
  for (const int64_t extent : *extents) overflows |= __builtin_mul_overflow(n_bytes, extent, &n_bytes);
  if (overflows || entry.n_bytes != n_bytes) {
    throw Error(where, *type + " " + entry.shape.str() + " does not fill its data_offsets " + *offsets,
                kDamaged);
  }
  return entry;
}

std::vector<SafetensorsEntry> read_header(const std::string& path, const std::string& text) {
  std::vector<SafetensorsEntry> entries;
  std::set<std::string> names;
  for (const auto& [name, value] : parse_json_object(text).items) {
    if (!names.insert(name).second) throw Error(path + ": " + name, "stands twice in the header", kDamaged);
    const auto* description = std::get_if<std::string>(&value);
    if (description == nullptr || !description->starts_with('{'))
      throw Error(path + ": " + name, "is not described by a JSON object", kDamaged);
    if (name != "__metadata__") entries.push_back(read_entry(path, name, *description));
  }
  return entries;
}

/// Tensors in the order of their data, which they must cover exactly.
void check_cover(const std::string& path, std::vector<SafetensorsEntry>& entries, int64_t n_data_bytes) {
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.n_bytes < b.n_bytes;
  });
  int64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != end) {
      throw Error(path + ": " + entry.name,
                  std::string(entry.offset < end ? "overlaps the tensor before it" : "begins behind a gap") +
                      ": its data begins at byte " + std::to_string(entry.offset) +
                      ", the data before it ends at " + std::to_string(end),
                  kDamaged);
    }
    end += entry.n_bytes;  // no overflow: 0 <= data_offsets[1] = offset + n_bytes
  }
  if (end != n_data_bytes) {
    throw Error(path,
                "its tensors need " + std::to_string(end) + " bytes of data; the file has " +
                    std::to_string(n_data_bytes),
                kDamaged);
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path, O_RDONLY) {
  const int64_t n_file_bytes = file_.n_bytes();
  const char* const no_safetensors =
      "give a .safetensors file; PyTorch writes one by safetensors.torch.save_file";
  if (n_file_bytes < 10) throw Error(path, "is too short for a safetensors file", no_safetensors);
  uint64_t n_header_bytes = 0;
  file_.read_at(&n_header_bytes, 8, 0);
  if (n_header_bytes > static_cast<uint64_t>(std::min(kMaxHeaderBytes, n_file_bytes - 8))) {
    throw Error(path,
                "is not a safetensors file, or was cut off: its header would have " +
                    std::to_string(n_header_bytes) + " bytes, the file has " + std::to_string(n_file_bytes),
                no_safetensors);
  }
  std::string text(n_header_bytes, '\0');
  file_.read_at(text.data(), static_cast<int64_t>(n_header_bytes), 8);
  try {
    entries_ = read_header(path, text);
  } catch (const Error& error) {
    if (!error.where().empty()) throw;
    throw Error(path, "its header is " + error.reason(), no_safetensors);
  }
  data_begin_ = 8 + static_cast<int64_t>(n_header_bytes);
  check_cover(path, entries_, n_file_bytes - data_begin_);
}

void SafetensorsFile::read(const SafetensorsEntry& entry, float* dst) const {
  const std::string where = path() + ": " + entry.name;
  if (!entry.dtype)
    throw Error(where, "has type " + entry.type + ", which is no weight", "store it as float32");
  if (*entry.dtype == DType::kFloat32) return file_.read_at(dst, entry.n_bytes, data_begin_ + entry.offset);
  const int64_t size = size_of(*entry.dtype), n_elements = entry.n_bytes / size;
  const int64_t n_chunk = (int64_t{1} << 20) / size;
  const auto chunk = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(n_chunk * size));
  for (int64_t first = 0; first < n_elements; first += n_chunk) {
    const int64_t n = std::min(n_chunk, n_elements - first);
    file_.read_at(chunk.get(), n * size, data_begin_ + entry.offset + first * size);
    const RowConverter converter({entry.name, *entry.dtype, {n}}, DType::kFloat32, {}, {}, 0, path());
    converter.convert(chunk.get(), reinterpret_cast<std::byte*>(dst + first), 0, path());
  }
}

}  // namespace lockstep
