// Lines are cut out of large blocks; an incomplete one moves to the front of the next block.
#include "io/convert/table/csv_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace lockstep {

namespace {

constexpr int64_t kReadBytes = int64_t{4} << 20;

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

void for_each_line(const InputFile& file, int64_t begin, int64_t end,
                   const std::function<bool(std::string_view, int64_t)>& visit) {
  std::vector<char> block;
  size_t n_kept = 0;  // bytes of an incomplete line at the front of the block
  while (begin < end) {
    const int64_t n_read = std::min(kReadBytes, end - begin);
    if (block.size() < n_kept + n_read) block.resize(n_kept + n_read);
    file.read(begin, block.data() + n_kept, n_read);
    const int64_t block_begin = begin - static_cast<int64_t>(n_kept);
    begin += n_read;
    const char* const block_end = block.data() + n_kept + n_read;
    const char* line = block.data();
    const char* search = line + n_kept;
    while (const void* found = std::memchr(search, '\n', block_end - search)) {
      const char* line_end = static_cast<const char*>(found);
      if (!visit(without_cr({line, line_end}), block_begin + (line - block.data()))) return;
      search = line = line_end + 1;
    }
    n_kept = block_end - line;
    if (begin == end && n_kept > 0) {
      visit(without_cr({line, n_kept}), block_begin + (line - block.data()));
      return;
    }
    std::memmove(block.data(), line, n_kept);
  }
}

int64_t line_begin_from(const InputFile& file, int64_t position) {
  std::vector<char> block(1 << 16);
  for (int64_t at = position - 1; at < file.n_bytes();) {  // a break just before counts
    const int64_t n = std::min<int64_t>(block.size(), file.n_bytes() - at);
    file.read(at, block.data(), n);
    if (const void* found = std::memchr(block.data(), '\n', n))
      return at + (static_cast<const char*>(found) - block.data()) + 1;
    at += n;
  }
  return file.n_bytes();
}

Error located(const InputFile& file, int64_t line_begin, const CsvFault& fault) {
  int64_t line = 1;
  for_each_line(file, 0, line_begin, [&](std::string_view, int64_t) { return ++line, true; });
  return Error(fmt::format("{}:{}:{}", file.name(), line, fault.position + 1), fault.what, fault.remedy);
}

bool is_blank_line(std::string_view line) { return line.find_first_not_of(" \t") == line.npos; }

}  // namespace lockstep
