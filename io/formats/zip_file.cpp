#include "io/formats/zip_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "kernels/error.h"
#include "kernels/printable.h"

namespace lockstep {

namespace {

constexpr uint32_t kZipEntry = 0x04034b50, kZipTableEntry = 0x02014b50, kZipEnd = 0x06054b50;
constexpr uint32_t kZip64End = 0x06064b50, kZip64Place = 0x07064b50;
constexpr int64_t kZipEndBytes = 22, kZipTableEntryBytes = 46, kZipEntryBytes = 30;
constexpr int64_t kMostZipTableBytes = int64_t{1} << 30;
constexpr const char* kZipCopyAgain = "save or copy it again";

/// A whole number of `n` bytes, the lowest first.
uint64_t zip_number(const unsigned char* bytes, int n) {
  uint64_t value = 0;
  for (int i = n - 1; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

/// What the ZIP64 part of a table's entry says of those numbers that do not fit 32 bits.
void read_zip64_sizes(const unsigned char* extra, int64_t n_extra, uint64_t* n_bytes, uint64_t* n_packed,
                      uint64_t* header) {
  for (int64_t at = 0; at + 4 <= n_extra;) {
    const auto id = zip_number(extra + at, 2);
    const auto n = static_cast<int64_t>(zip_number(extra + at + 2, 2));
    if (at + 4 + n > n_extra) return;
    int64_t place = at + 4;
    for (uint64_t* value : {n_bytes, n_packed, header}) {
      if (id != 1 || *value != 0xffffffffU || place + 8 > at + 4 + n) continue;
      *value = zip_number(extra + place, 8);
      place += 8;
    }
    at += 4 + n;
  }
}

/// Ends inflation in all ways out.
struct ZipInflater {
  z_stream stream{};
  ZipInflater() { inflateInit2(&stream, -15); }  // no header of its own
  ~ZipInflater() { inflateEnd(&stream); }
  ZipInflater(const ZipInflater&) = delete;
  ZipInflater& operator=(const ZipInflater&) = delete;
};

}  // namespace

ZipFile::ZipFile(const std::string& path) : file_(path) {
  const int64_t n_file = file_.n_bytes();
  unsigned char magic[4] = {};
  file_.read(0, magic, std::min<int64_t>(4, n_file));
  if (magic[0] != 'P' || magic[1] != 'K') throw Error(path, "is not a ZIP archive", "save it by numpy.savez");
  // The end may carry a comment of up to 65,535 bytes.
  const int64_t n_tail = std::min<int64_t>(n_file, kZipEndBytes + 65535);
  std::vector<unsigned char> tail(static_cast<size_t>(n_tail));
  file_.read(n_file - n_tail, tail.data(), n_tail);
  int64_t at = n_tail - kZipEndBytes;
  while (at >= 0 && zip_number(&tail[static_cast<size_t>(at)], 4) != kZipEnd) --at;
  if (at < 0) throw Error(path, "is cut short: the archive's table is missing", kZipCopyAgain);
  const unsigned char* end = &tail[static_cast<size_t>(at)];
  if (zip_number(end + 4, 2) != 0 && zip_number(end + 4, 2) != 0xffff)
    throw Error(path, "is one of several volumes of an archive", "pack it as one file");
  uint64_t n_entries = zip_number(end + 10, 2), n_table = zip_number(end + 12, 4);
  uint64_t table = zip_number(end + 16, 4);
  if ((n_entries == 0xffff || n_table == 0xffffffffU || table == 0xffffffffU) && at >= 20 &&
      zip_number(end - 20, 4) == kZip64Place) {
    const auto place = static_cast<int64_t>(zip_number(end - 12, 8));
    unsigned char wide[56];
    if (place < 0 || place > n_file - static_cast<int64_t>(sizeof wide))
      throw Error(path, "is damaged: its table lies outside of the file", kZipCopyAgain);
    file_.read(place, wide, sizeof wide);
    if (zip_number(wide, 4) != kZip64End)
      throw Error(path, "is damaged: its table is not where it should be", kZipCopyAgain);
    n_entries = zip_number(wide + 32, 8);
    n_table = zip_number(wide + 40, 8);
    table = zip_number(wide + 48, 8);
  }
  const auto n_all = static_cast<uint64_t>(n_file);
  if (table > n_all || n_table > n_all - table || n_table > kMostZipTableBytes ||
      n_entries > n_table / kZipTableEntryBytes)
    throw Error(path, "is damaged: its table lies outside of the file", kZipCopyAgain);
  read_table(static_cast<int64_t>(table), static_cast<int64_t>(n_table), static_cast<int64_t>(n_entries));
}

void ZipFile::read_table(int64_t begin, int64_t n_bytes, int64_t n_entries) {
  std::vector<unsigned char> table(static_cast<size_t>(n_bytes));
  file_.read(begin, table.data(), n_bytes);
  int64_t at = 0;
  for (int64_t i = 0; i < n_entries; ++i) {
    const auto damaged = [&] {
      return Error(name(), fmt::format("is damaged: entry {} of its table", i), kZipCopyAgain);
    };
    if (at + kZipTableEntryBytes > n_bytes) throw damaged();
    const unsigned char* p = &table[static_cast<size_t>(at)];
    if (zip_number(p, 4) != kZipTableEntry) throw damaged();
    const auto n_name = static_cast<int64_t>(zip_number(p + 28, 2));
    const auto n_extra = static_cast<int64_t>(zip_number(p + 30, 2));
    const auto n_comment = static_cast<int64_t>(zip_number(p + 32, 2));
    if (at + kZipTableEntryBytes + n_name + n_extra + n_comment > n_bytes) throw damaged();
    Entry entry;
    entry.flags = static_cast<uint16_t>(zip_number(p + 8, 2));
    entry.method = static_cast<uint16_t>(zip_number(p + 10, 2));
    entry.crc = static_cast<uint32_t>(zip_number(p + 16, 4));
    uint64_t n_packed = zip_number(p + 20, 4), n_plain = zip_number(p + 24, 4),
             header = zip_number(p + 42, 4);
    read_zip64_sizes(p + kZipTableEntryBytes + n_name, n_extra, &n_plain, &n_packed, &header);
    entry.name.assign(reinterpret_cast<const char*>(p + kZipTableEntryBytes), static_cast<size_t>(n_name));
    const auto n_all = static_cast<uint64_t>(file_.n_bytes());
    if (header > n_all || n_packed > n_all - header || n_plain > uint64_t{1} << 62) throw damaged();
    entry.n_packed_bytes = static_cast<int64_t>(n_packed);
    entry.n_bytes = static_cast<int64_t>(n_plain);
    entry.header = static_cast<int64_t>(header);
    entries_.push_back(std::move(entry));
    at += kZipTableEntryBytes + n_name + n_extra + n_comment;
  }
}

const ZipFile::Entry* ZipFile::find(const std::string& name) const {
  for (const Entry& entry : entries_)
    if (entry.name == name) return &entry;
  return nullptr;
}

void ZipFile::extract(const Entry& entry, const std::string& destination) const {
  const std::string where = name() + ": " + printable(entry.name);
  if (entry.flags & 1) throw Error(where, "is encrypted", "save it without a password");
  if (entry.method != 0 && entry.method != 8)
    throw Error(where, fmt::format("is packed by method {}, neither stored nor deflated", entry.method),
                "save it by numpy.savez or numpy.savez_compressed");
  const auto damaged = [&](const char* how) {
    return Error(where, std::string("is damaged: ") + how, kZipCopyAgain);
  };
  unsigned char local[kZipEntryBytes] = {};
  if (entry.header > file_.n_bytes() - kZipEntryBytes) throw damaged("it is cut short");
  file_.read(entry.header, local, kZipEntryBytes);
  if (zip_number(local, 4) != kZipEntry) throw damaged("it is not where the table says");
  int64_t at = entry.header + kZipEntryBytes + static_cast<int64_t>(zip_number(local + 26, 2)) +
               static_cast<int64_t>(zip_number(local + 28, 2));
  if (at > file_.n_bytes() - entry.n_packed_bytes) throw damaged("it is cut short");
  if (entry.method == 0 && entry.n_bytes != entry.n_packed_bytes) throw damaged("its sizes contradict");

  FileHandle out(destination, O_WRONLY | O_CREAT | O_TRUNC);
  constexpr int64_t kPiece = int64_t{1} << 20;
  std::vector<unsigned char> packed(
      static_cast<size_t>(std::min(kPiece, std::max<int64_t>(1, entry.n_packed_bytes))));
  std::vector<unsigned char> plain(entry.method == 8 ? static_cast<size_t>(kPiece) : 0);
  uLong crc = crc32(0, nullptr, 0);
  int64_t n_written = 0;
  const auto keep = [&](const unsigned char* bytes, int64_t n) {
    if (n > entry.n_bytes - n_written) throw damaged("it holds more than the table says");
    crc = crc32(crc, bytes, static_cast<uInt>(n));
    out.write_at(bytes, n, n_written);
    n_written += n;
  };
  ZipInflater inflater;
  z_stream& stream = inflater.stream;
  int status = Z_OK;
  for (int64_t left = entry.n_packed_bytes; left > 0 && status != Z_STREAM_END;) {
    const int64_t n = std::min<int64_t>(left, static_cast<int64_t>(packed.size()));
    file_.read(at, packed.data(), n);
    at += n;
    left -= n;
    if (entry.method == 0) {
      keep(packed.data(), n);
      continue;
    }
    stream.next_in = packed.data();
    stream.avail_in = static_cast<uInt>(n);
    do {
      stream.next_out = plain.data();
      stream.avail_out = static_cast<uInt>(plain.size());
      status = inflate(&stream, Z_NO_FLUSH);
      if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        throw damaged("it cannot be unpacked");
      keep(plain.data(), static_cast<int64_t>(plain.size() - stream.avail_out));
    } while (status == Z_OK && (stream.avail_in > 0 || stream.avail_out == 0));
  }
  if (n_written != entry.n_bytes) throw damaged("it holds less than the table says");
  if (static_cast<uint32_t>(crc) != entry.crc) throw damaged("its checksum does not fit");
}

}  // namespace lockstep
