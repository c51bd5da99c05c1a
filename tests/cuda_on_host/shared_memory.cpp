// __shared__ puts every variable into a section called .noinit*. Which those are and where they lie is
// read once from the program's own section headers.
#include "tests/cuda_on_host/shared_memory.h"

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstring>
#include <fstream>
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
std::vector<T> read(std::ifstream& file, size_t offset, size_t n) {
  std::vector<T> values(n);
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(n * sizeof(T)));
  if (!file) fail("the section headers of /proc/self/exe cannot be read");
  return values;
}

std::vector<Range> find_shared_memory() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const auto header = read<ElfW(Ehdr)>(file, 0, 1).front();
  // Programs with very many sections keep these two numbers in the first section's header.
  const auto first = read<ElfW(Shdr)>(file, header.e_shoff, 1).front();
  const size_t n_sections = header.e_shnum != 0 ? header.e_shnum : first.sh_size;
  const size_t of_names = header.e_shstrndx != SHN_XINDEX ? header.e_shstrndx : first.sh_link;
  const auto sections = read<ElfW(Shdr)>(file, header.e_shoff, n_sections);
  const auto names = read<char>(file, sections.at(of_names).sh_offset, sections.at(of_names).sh_size);
  std::vector<Range> found;
  for (const auto& section : sections)
    if (std::string_view(&names.at(section.sh_name)).starts_with(".noinit"))
      found.push_back({reinterpret_cast<std::byte*>(load_offset() + section.sh_addr), section.sh_size});
  return found;
}

}  // namespace

void spoil_shared_memory() {
  static const std::vector<Range> ranges = find_shared_memory();
  for (const Range& range : ranges) std::memset(range.data, 0xFF, range.n_bytes);
}

}  // namespace cuda_on_host
