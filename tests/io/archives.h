// Archives and arrays made in memory, byte by byte: .npy files, ZIP archives of them, tar archives.
#pragma once

#include <zlib.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::testing {

/// An .npy file of version 1; shape as Python writes it: "(2, 3)".
inline std::string make_npy(const std::string& type, const std::string& shape, const std::string& elements,
                            bool by_columns = false) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': " + (by_columns ? "True" : "False") +
                       ", 'shape': " + shape + ", }";
  header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 255) +
         static_cast<char>(header.size() >> 8) + header + elements;
}

/// The elements of an array of T in this machine's byte order.
template <typename T>
std::string elements_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

inline std::string little(uint64_t value, int n) {
  std::string bytes;
  for (int i = 0; i < n; ++i) bytes += static_cast<char>(value >> 8 * i);
  return bytes;
}

/// A ZIP archive of (name, content); `zip64`: with the sizes of the table in 64 bits.
inline std::string make_zip(const std::vector<std::pair<std::string, std::string>>& files, bool deflated,
                            bool zip64 = false) {
  std::string archive, table;
  for (const auto& [name, content] : files) {
    std::string packed = content;
    if (deflated) {
      z_stream stream{};
      deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
      packed.assign(content.size() + 100, '\0');
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
      stream.avail_in = static_cast<uInt>(content.size());
      stream.next_out = reinterpret_cast<Bytef*>(packed.data());
      stream.avail_out = static_cast<uInt>(packed.size());
      deflate(&stream, Z_FINISH);
      packed.resize(stream.total_out);
      deflateEnd(&stream);
    }
    const uint64_t crc =
        crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()));
    const std::string middle =
        little(20, 2) + little(0, 2) + little(deflated ? 8 : 0, 2) + little(0, 4) + little(crc, 4);
    const std::string sizes = little(packed.size(), 4) + little(content.size(), 4);
    const std::string wide = little(1, 2) + little(24, 2) + little(content.size(), 8) +
                             little(packed.size(), 8) + little(archive.size(), 8);
    const std::string extra = zip64 ? wide : "";
    table += little(0x02014b50, 4) + little(20, 2) + middle + (zip64 ? std::string(8, '\xff') : sizes) +
             little(name.size(), 2) + little(extra.size(), 2) + little(0, 2) + little(0, 2) + little(0, 2) +
             little(0, 4) + (zip64 ? std::string(4, '\xff') : little(archive.size(), 4)) + name + extra;
    archive += little(0x04034b50, 4) + middle + sizes + little(name.size(), 2) + little(0, 2) + name + packed;
  }
  const uint64_t begin = archive.size();
  archive += table;
  if (zip64) {
    const uint64_t end = archive.size();
    archive += little(0x06064b50, 4) + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 4) +
               little(0, 4) + little(files.size(), 8) + little(files.size(), 8) + little(table.size(), 8) +
               little(begin, 8);
    archive += little(0x07064b50, 4) + little(0, 4) + little(end, 8) + little(1, 4);
  }
  return archive + little(0x06054b50, 4) + little(0, 4) +
         (zip64 ? std::string(12, '\xff')
                : little(files.size(), 2) + little(files.size(), 2) + little(table.size(), 4) +
                      little(begin, 4)) +
         little(0, 2);
}

/// A header of ustar and the content, in whole blocks.
inline std::string tar_entry(const std::string& name, const std::string& content, char type = '0') {
  std::string block(512, '\0');
  block.replace(0, std::min<size_t>(100, name.size()), name.substr(0, 100));
  block.replace(100, 8, "0000644\0", 8);
  char size[13];
  std::snprintf(size, sizeof size, "%011llo", static_cast<unsigned long long>(content.size()));
  block.replace(124, 12, size, 12);
  block.replace(136, 12, "00000000000\0", 12);
  block.replace(148, 8, 8, ' ');
  block[156] = type;
  block.replace(257, 8, "ustar\00000", 8);
  unsigned sum = 0;
  for (const char byte : block) sum += static_cast<unsigned char>(byte);
  char checksum[8];
  std::snprintf(checksum, sizeof checksum, "%06o", sum);
  block.replace(148, 7, checksum, 7);
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512, '\0');
  return block + padded;
}

inline std::string tar_end() { return std::string(1024, '\0'); }

}  // namespace lockstep::testing
