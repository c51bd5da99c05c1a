// Reading .safetensors: nothing of the header is believed before it was checked against the
// file's size, so that a damaged or hostile file is a sentence and never a huge allocation.
#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "io/dataset/row_converter.h"
#include "io/files/json_parse.h"
#include "io/formats/safetensors.h"
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
    {"U8", 1, DType::kUInt8},    {"BOOL", 1, DType::kUInt8},  {"I8", 1, std::nullopt},
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

/// Null for a type that came after this program.
const TypeName* find_type(const std::string& name) {
  for (const TypeName& type : kTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
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
  SafetensorsEntry entry{name, *type, std::nullopt, {}, (*range)[0], (*range)[1] - (*range)[0]};
  const TypeName* known = find_type(*type);
  if (extents->size() > static_cast<size_t>(Shape::kMaxRank)) {
    entry.unusable = "has " + std::to_string(extents->size()) + " dimensions, more than the " +
                     std::to_string(Shape::kMaxRank) + " that are supported";
  } else {
    entry.shape = Shape(std::span<const int64_t>(*extents));
  }
  if (!known) {
    if (entry.n_bytes < 0)
      throw Error(where, "has data_offsets " + *offsets + " that run backwards", kDamaged);
    if (entry.unusable.empty()) entry.unusable = "has type " + *type + ", which is not known here";
    return entry;
  }
  entry.dtype = known->dtype;
  // Multiplied with care: the extents may be anything.
  int64_t n_bytes = known->n_bytes;
  bool overflows = false;
  for (const int64_t extent : *extents) overflows |= __builtin_mul_overflow(n_bytes, extent, &n_bytes);
  if (overflows || entry.n_bytes != n_bytes) {
    throw Error(where,
                *type + " " + (entry.unusable.empty() ? entry.shape.str() : *shape) +
                    " does not fill its data_offsets " + *offsets,
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

namespace {

constexpr const char* kNoSafetensors =
    "give a .safetensors file; PyTorch writes one by safetensors.torch.save_file";

/// Elements [first, first + n) as stored, of whole numbers that no DType has, as float32.
template <typename T>
void convert_whole(const std::byte* src, float* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, src + i * static_cast<int64_t>(sizeof(T)), sizeof value);
    dst[i] = static_cast<float>(value);
  }
}

using WholeConversion = void (*)(const std::byte*, float*, int64_t);
WholeConversion conversion_of(const std::string& type) {
  return type == "I8"    ? convert_whole<int8_t>
         : type == "I16" ? convert_whole<int16_t>
         : type == "U16" ? convert_whole<uint16_t>
         : type == "U32" ? convert_whole<uint32_t>
         : type == "U64" ? convert_whole<uint64_t>
                         : nullptr;
}

/// The index in a folder, or its only .safetensors file.
std::string weights_in(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> indexes, files;
  std::error_code status;
  for (fs::directory_iterator it(folder, status), end; !status && it != end; it.increment(status)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".safetensors.index.json")) indexes.push_back(it->path().string());
    if (name.ends_with(".safetensors")) files.push_back(it->path().string());
  }
  if (indexes.size() == 1) return indexes[0];
  if (indexes.empty() && files.size() == 1) return files[0];
  throw Error(folder,
              files.empty() ? "is a folder without .safetensors files"
                            : "is a folder with several .safetensors files and not one index of them",
              "name the file, or the index (model.safetensors.index.json)");
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  const std::string file = std::filesystem::is_directory(path) ? weights_in(path) : path;
  if (file.ends_with(".json"))
    add_indexed_files(file);
  else
    add_file(file);
}

void SafetensorsFile::add_file(const std::string& path) {
  FileHandle file(path, O_RDONLY);
  const int64_t n_file_bytes = file.n_bytes();
  if (n_file_bytes < 10) throw Error(path, "is too short for a safetensors file", kNoSafetensors);
  uint64_t n_header_bytes = 0;
  file.read_at(&n_header_bytes, 8, 0);
  if (n_header_bytes > static_cast<uint64_t>(std::min(kMaxHeaderBytes, n_file_bytes - 8))) {
    throw Error(path,
                "is not a safetensors file, or was cut off: its header would have " +
                    std::to_string(n_header_bytes) + " bytes, the file has " + std::to_string(n_file_bytes),
                kNoSafetensors);
  }
  std::string text(n_header_bytes, '\0');
  file.read_at(text.data(), static_cast<int64_t>(n_header_bytes), 8);
  std::vector<SafetensorsEntry> entries;
  try {
    entries = read_header(path, text);
  } catch (const Error& error) {
    if (!error.where().empty()) throw;
    throw Error(path, "its header is " + error.reason(), kNoSafetensors);
  }
  const int64_t data_begin = 8 + static_cast<int64_t>(n_header_bytes);
  check_cover(path, entries, n_file_bytes - data_begin);
  for (SafetensorsEntry& entry : entries) {
    entry.file = files_.size();
    entries_.push_back(std::move(entry));
  }
  files_.push_back({std::move(file), data_begin});
}

void SafetensorsFile::add_indexed_files(const std::string& index_path) {
  const FileHandle file(index_path, O_RDONLY);
  if (file.n_bytes() > kMaxHeaderBytes) throw Error(index_path, "is too large for an index", kNoSafetensors);
  std::string text(static_cast<size_t>(file.n_bytes()), '\0');
  file.read_at(text.data(), file.n_bytes(), 0);
  std::map<std::string, std::string> file_of;  // by tensor
  try {
    const MetricsLine index = parse_json_object(text);
    const std::string* map = index.text("weight_map");
    if (!map || !map->starts_with('{'))
      throw Error(index_path, "has no object \"weight_map\", as an index of safetensors files has",
                  kNoSafetensors);
    for (const auto& [name, value] : parse_json_object(*map).items) {
      const auto* file_name = std::get_if<std::string>(&value);
      if (!file_name || file_name->find('/') != std::string::npos)
        throw Error(index_path, "names no file beside it for tensor " + name, kNoSafetensors);
      file_of[name] = *file_name;
    }
  } catch (const Error& error) {
    if (!error.where().empty()) throw;
    throw Error(index_path, "is " + error.reason(), kNoSafetensors);
  }
  const std::filesystem::path folder = std::filesystem::path(index_path).parent_path();
  std::map<std::string, size_t> opened;
  for (const auto& [tensor, name] : file_of) {
    if (opened.contains(name)) continue;
    opened[name] = files_.size();
    const std::string part = (folder / name).string();
    if (!std::filesystem::exists(part))
      throw Error(part, "is missing; " + index_path + " names it", "fetch all files of the model");
    add_file(part);
  }
  std::map<std::string, size_t> here;
  for (const SafetensorsEntry& entry : entries_) {
    if (!here.emplace(entry.name, entry.file).second)
      throw Error(index_path, "tensor " + entry.name + " is in two of its files",
                  "fetch all files of one model");
  }
  for (const auto& [tensor, name] : file_of) {
    const auto found = here.find(tensor);
    if (found == here.end() || found->second != opened[name])
      throw Error((folder / name).string(),
                  "does not hold tensor " + tensor + ", which " + index_path + " says",
                  "fetch all files of one model");
  }
}

void SafetensorsFile::read(const SafetensorsEntry& entry, float* dst) const {
  const Opened& from = files_[entry.file];
  const std::string where = from.file.path() + ": " + entry.name;
  const WholeConversion whole = conversion_of(entry.type);
  if (!entry.unusable.empty()) throw Error(where, entry.unusable, "store it as float32");
  if (!entry.dtype && !whole)
    throw Error(where, "has type " + entry.type + ", which is no weight", "store it as float32");
  const int64_t begin = from.data_begin + entry.offset, n_elements = entry.shape.n_elements();
  if (entry.dtype == DType::kFloat32) return from.file.read_at(dst, entry.n_bytes, begin);
  const int64_t size = n_elements > 0 ? entry.n_bytes / n_elements : 1, n_chunk = (int64_t{1} << 20) / size;
  const auto chunk = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(n_chunk * size));
  for (int64_t first = 0; first < n_elements; first += n_chunk) {
    const int64_t n = std::min(n_chunk, n_elements - first);
    from.file.read_at(chunk.get(), n * size, begin + first * size);
    if (whole) {
      whole(chunk.get(), dst + first, n);
      continue;
    }
    const RowConverter converter({entry.name, *entry.dtype, {n}}, DType::kFloat32, {}, {}, 0, path());
    converter.convert(chunk.get(), reinterpret_cast<std::byte*>(dst + first), 0, path());
  }
}

}  // namespace lockstep
