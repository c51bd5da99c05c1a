// __shared__ puts every variable into a section called .noinit*. Which those are and where they lie is
// read once from the program's own section headers.
#include "tests/cuda_on_host/shared_memory.h"

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <cuda_on_host/executor.h>

namespace cuda_on_host {

namespace {

struct Range {
  std::byte* data;
  size_t n_bytes;
};

/// By how much this program was moved when it was loaded. (The first object listed is the program.)
ElfW(Addr) load_offset() {
  ElfW(Addr) offset = 0;
  const auto take_first = [](dl_phdr_info* info, size_t, void* into) {
    *static_cast<ElfW(Addr)*>(into) = info->dlpi_addr;
    return 1;
  };
  dl_iterate_phdr(take_first, &offset);
  return offset;
}

template <typename T>
T read_at(const std::string& file, size_t offset) {
  T value;
  if (offset + sizeof(T) > file.size()) fail("/proc/self/exe ends within its section headers");
  std::memcpy(&value, file.data() + offset, sizeof(T));
  return value;
}

std::vector<Range> find_shared_memory() {
  std::ifstream stream("/proc/self/exe", std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(stream), {}};
  const auto header = read_at<ElfW(Ehdr)>(file, 0);
  const auto section = [&](size_t index) {
    return read_at<ElfW(Shdr)>(file, header.e_shoff + index * header.e_shentsize);
  };
  // Programs with very many sections keep these two numbers in the first header.
  const size_t n_sections = header.e_shnum != 0 ? header.e_shnum : section(0).sh_size;
  const size_t of_names = header.e_shstrndx != SHN_XINDEX ? header.e_shstrndx : section(0).sh_link;
  const size_t names = section(of_names).sh_offset;
  std::vector<Range> found;
  for (size_t i = 0; i < n_sections; ++i) {
    const auto one = section(i);
    const std::string_view name = file.c_str() + names + one.sh_name;
    if (name.starts_with(".noinit"))
      found.push_back({reinterpret_cast<std::byte*>(load_offset() + one.sh_addr), one.sh_size});
  }
  return found;
}

}  // namespace

void spoil_shared_memory() {
  static const std::vector<Range> ranges = find_shared_memory();
  for (const Range& range : ranges) std::memset(range.data, 0xFF, range.n_bytes);
}

}  // namespace cuda_on_host
