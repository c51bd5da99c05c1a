// The list of readers, and what their files have in common.
#include "tests/fuzz/reader.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace lockstep::fuzz {

namespace {

std::vector<Reader>& registry() {
  static std::vector<Reader> readers;
  return readers;
}

std::vector<FileHandle>& unused_files() {
  static std::vector<FileHandle> files;
  return files;
}

}  // namespace

bool register_reader(const std::string& name, void (*read)(std::string_view bytes)) {
  std::vector<Reader>& all = registry();
  const auto place = std::find_if(all.begin(), all.end(), [&](const Reader& r) { return r.name > name; });
  all.insert(place, {name, read});
  return true;
}

const std::vector<Reader>& readers() { return registry(); }

const Reader* find_reader(const std::string& name) {
  for (const Reader& reader : registry()) {
    if (reader.name == name) return &reader;
  }
  return nullptr;
}

void run(const Reader& reader, std::string_view bytes) {
  attempt([&] { reader.read(bytes); });
}

void check_error(const std::exception& error) {
  if (std::strlen(error.what()) < 10) throw std::logic_error("an Error that says nothing");
}

MemoryFile::MemoryFile(std::string_view bytes) {
  if (unused_files().empty()) {
    file_ = FileHandle::in_memory("fuzz");
  } else {
    file_ = std::move(unused_files().back());
    unused_files().pop_back();
  }
  file_.resize(0);
  file_.write_at(bytes.data(), static_cast<int64_t>(bytes.size()), 0);
}

MemoryFile::~MemoryFile() { unused_files().push_back(std::move(file_)); }

uint8_t Choices::byte() {
  const std::string_view taken = take(1);
  return taken.empty() ? 0 : static_cast<uint8_t>(taken[0]);
}

uint64_t Choices::word() {
  uint64_t word = 0;
  const std::string_view taken = take(8);
  if (!taken.empty()) std::memcpy(&word, taken.data(), taken.size());
  return word;
}

int64_t Choices::number() {
  const uint8_t first = byte();
  if (first < 200) return first % 20;
  if (first < 230) return first;
  if (first < 240) return int64_t{1} << (byte() % 63);
  return static_cast<int64_t>(word());
}

std::string_view Choices::take(size_t n_bytes) {
  const std::string_view taken = bytes_.substr(0, n_bytes);
  bytes_.remove_prefix(taken.size());
  return taken;
}

}  // namespace lockstep::fuzz
