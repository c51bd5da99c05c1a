// Headers of 512 bytes, each followed by its content in whole blocks; long names and large sizes come in
// entries before the one that they belong to: 'x' of pax, 'L' of GNU.
#include "io/formats/tar_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "io/files/gzip.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr int64_t kTarBlock = 512;
constexpr int64_t kMostTarExtension = int64_t{1} << 20;  // bytes of names and pax records
constexpr const char* kTarPackAgain = "pack or copy it again";

std::string tar_text(const unsigned char* field, size_t n) {
  const auto* text = reinterpret_cast<const char*>(field);
  return {text, strnlen(text, n)};
}

/// Octal digits, or base 256 where the first bit is set; -1: neither.
int64_t tar_number(const unsigned char* field, size_t n) {
  uint64_t value = 0;
  if (field[0] & 0x80) {
    for (size_t i = 0; i < n; ++i) {
      if (value >> 54) return -1;
      value = value << 8 | (i == 0 ? field[i] & 0x3f : field[i]);
    }
    return static_cast<int64_t>(value);
  }
  size_t i = 0;
  while (i < n && field[i] == ' ') ++i;
  for (; i < n && field[i] != ' ' && field[i] != 0; ++i) {
    if (field[i] < '0' || field[i] > '7') return -1;
    value = value << 3 | static_cast<uint64_t>(field[i] - '0');
  }
  return value >> 62 ? -1 : static_cast<int64_t>(value);
}

bool tar_checksum_fits(const unsigned char* block) {
  int64_t sum = 0;
  for (int i = 0; i < kTarBlock; ++i) sum += i >= 148 && i < 156 ? ' ' : block[i];
  return sum == tar_number(block + 148, 8);
}

/// "27 path=a/long/name\n" and so on.
std::map<std::string, std::string> pax_records(const std::string& text) {
  std::map<std::string, std::string> records;
  for (size_t at = 0; at < text.size();) {
    size_t n = 0, digits = at;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9' && n < text.size())
      n = n * 10 + static_cast<size_t>(text[digits++] - '0');
    if (n < 3 || n > text.size() - at || digits - at + 1 >= n) break;
    const std::string record = text.substr(digits + 1, n - (digits - at) - 2);
    if (const size_t equal = record.find('='); equal != std::string::npos)
      records[record.substr(0, equal)] = record.substr(equal + 1);
    at += n;
  }
  return records;
}

}  // namespace

std::vector<TarEntry> list_tar(const std::string& path, const std::string& shown) {
  const InputFile file(path, shown.empty() ? path : shown);
  const std::string& name = file.name();
  std::vector<TarEntry> entries;
  std::map<std::string, std::string> pax;
  std::string long_name;
  int64_t at = 0;
  for (;;) {
    unsigned char block[kTarBlock];
    if (at + kTarBlock > file.n_bytes()) {
      if (at == 0) throw Error(name, "is not a tar archive", "give files that tar has packed");
      // Two blocks of zeros end an archive; without them something is missing.
      throw Error(name, fmt::format("is cut short: the archive has no end after {} files", entries.size()),
                  kTarPackAgain);
    }
    file.read(at, block, kTarBlock);
    if (std::all_of(block, block + kTarBlock, [](unsigned char b) { return b == 0; })) {
      if (at == 0) throw Error(name, "is an empty tar archive", "give files that tar has packed");
      return entries;
    }
    if (!tar_checksum_fits(block))
      throw Error(name,
                  at == 0 ? "is not a tar archive"
                          : fmt::format("is damaged at byte {}, after {} files", at, entries.size()),
                  at == 0 ? "give files that tar has packed" : kTarPackAgain);
    int64_t n_bytes = tar_number(block + 124, 12);
    const char type = static_cast<char>(block[156]);
    const bool describes_next = type == 'x' || type == 'L' || type == 'K' || type == 'g';
    if (const auto size = pax.find("size"); !describes_next && size != pax.end() && size->second.size() <= 18)
      n_bytes = std::atoll(size->second.c_str());
    const int64_t content = at + kTarBlock;
    if (n_bytes < 0 || n_bytes > file.n_bytes() - content)
      throw Error(name,
                  fmt::format("is cut short: file {} of it has {} of {} bytes", entries.size() + 1,
                              file.n_bytes() - content, n_bytes),
                  kTarPackAgain);
    at = content + (n_bytes + kTarBlock - 1) / kTarBlock * kTarBlock;
    if (describes_next) {
      if (n_bytes > kMostTarExtension)
        throw Error(name, fmt::format("is damaged at byte {}: a name of {} bytes", content, n_bytes),
                    kTarPackAgain);
      std::string text(static_cast<size_t>(n_bytes), '\0');
      file.read(content, text.data(), n_bytes);
      if (type == 'L') long_name = text.c_str();
      if (type == 'x') pax = pax_records(text);
      continue;
    }
    if (type == 'S' || pax.contains("GNU.sparse.major"))
      throw Error(name, fmt::format("file {} of it is sparse", entries.size() + 1),
                  "pack it without --sparse");
    if (type == '0' || type == '\0' || type == '7') {
      TarEntry entry{tar_text(block, 100), content, n_bytes};
      if (std::memcmp(block + 257, "ustar", 6) == 0 && block[345] != 0)
        entry.name = tar_text(block + 345, 155) + "/" + entry.name;
      if (!long_name.empty()) entry.name = long_name;
      if (const auto given = pax.find("path"); given != pax.end()) entry.name = given->second;
      if (!entry.name.ends_with('/')) entries.push_back(std::move(entry));  // old archives write folders so
    }
    pax.clear();
    long_name.clear();
  }
}

}  // namespace lockstep
