// Readers of datasets: chunks decoded without HDF5, and shards of any meaning.
#include <fcntl.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "io/dataset/dataset.h"
#include "io/dataset/row_converter.h"
#include "io/hdf5/chunk_reader.h"
#include "io/loader/loader.h"
#include "tests/fuzz/hdf5_maker.h"
#include "tests/support/hdf5_files.h"

namespace lockstep::fuzz {

namespace {

/// Fletcher's sums over big-endian 16-bit words, in the plainest way.
std::string fletcher32(const std::string& bytes) {
  uint32_t sums[2] = {};
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const auto high = static_cast<uint8_t>(bytes[i]),
               low = static_cast<uint8_t>(i + 1 < bytes.size() ? bytes[i + 1] : 0);
    sums[0] += high * 256u + low;
    sums[0] = sums[0] > 65535 ? sums[0] - 65535 : sums[0];
    sums[1] += sums[0];
    sums[1] = sums[1] > 65535 ? sums[1] - 65535 : sums[1];
  }
  const uint32_t sum = sums[1] << 16 | sums[0];
  return {reinterpret_cast<const char*>(&sum), 4};
}

std::string shuffled(const std::string& bytes, size_t width) {
  const size_t n = bytes.size() / width;
  std::string out = bytes;
  for (size_t i = 0; i < n; ++i) {
    for (size_t b = 0; b < width; ++b) out[b * n + i] = bytes[i * width + b];
  }
  return out;
}

std::string deflated(const std::string& bytes) {
  uLongf n = compressBound(bytes.size());
  std::string out(n, '\0');
  compress2(reinterpret_cast<Bytef*>(out.data()), &n, reinterpret_cast<const Bytef*>(bytes.data()),
            bytes.size(), 1);
  out.resize(n);
  return out;
}

/// A chunk as HDF5 would store it.
std::string encoded(const ChunkIndex& index, std::string bytes, uint32_t mask) {
  for (size_t i = 0; i < index.filters.size(); ++i) {
    if (mask >> i & 1) continue;
    if (index.filters[i] == ChunkFilter::kDeflate) bytes = deflated(bytes);
    if (index.filters[i] == ChunkFilter::kShuffle)
      bytes = shuffled(bytes, static_cast<size_t>(index.element_bytes));
    if (index.filters[i] == ChunkFilter::kFletcher32) bytes += fletcher32(bytes);
  }
  return bytes;
}

ChunkIndex any_index(Choices& choices) {
  ChunkIndex index;
  index.element_bytes = int64_t{1} << choices.below(4);
  const int64_t rank = 1 + choices.below(4), n_filters = choices.below(5);
  for (int64_t d = 0; d < rank; ++d) {
    index.extents.push_back(1 + choices.below(9));
    index.chunk.push_back(1 + choices.below(9));
  }
  for (int64_t i = 0; i < n_filters; ++i) {
    const auto filter = static_cast<ChunkFilter>(choices.below(3));
    // read_chunk_index() accepts one compression at most.
    if (filter == ChunkFilter::kDeflate && std::count(index.filters.begin(), index.filters.end(), filter) > 0)
      continue;
    index.filters.push_back(filter);
  }
  int64_t n_chunks = 1;
  for (size_t d = 0; d < index.extents.size(); ++d) n_chunks *= index.n_chunks(d);
  index.chunks.resize(static_cast<size_t>(std::min<int64_t>(n_chunks, 200)));
  if (n_chunks > 200) index.extents.clear();
  return index;
}

/// An index, and chunks that are whole (then every row must be right), made of input bytes, or anywhere.
void read_chunks(std::string_view bytes) {
  Choices choices(bytes);
  ChunkIndex index = any_index(choices);
  if (index.extents.empty()) return;
  const auto chunk_bytes = static_cast<size_t>(index.chunk_bytes());
  bool all_whole = true;
  std::string file_bytes;
  const auto fill = static_cast<char>(choices.byte());
  for (StoredChunk& chunk : index.chunks) {
    const uint8_t kind = choices.byte();
    chunk.filter_mask = kind & 0x80 ? choices.byte() : 0;
    std::string stored = encoded(index, std::string(chunk_bytes, fill), chunk.filter_mask);
    if (kind % 8 == 5) stored = std::string(choices.take(choices.byte()));
    if (kind % 8 == 6 && !stored.empty())
      stored[choices.word() % stored.size()] ^= static_cast<char>(choices.byte());
    chunk.offset = static_cast<int64_t>(file_bytes.size());
    chunk.n_bytes = static_cast<uint32_t>(stored.size());
    if (kind % 8 == 7) {
      chunk.offset = choices.number() & INT64_MAX;
      chunk.n_bytes = static_cast<uint32_t>(choices.number()) % (1 << 20);
    }
    all_whole = all_whole && kind % 8 < 5;
    file_bytes += stored;
  }
  const MemoryFile memory(file_bytes);
  const FileHandle file(memory.path(), O_RDONLY);
  int64_t row_bytes = index.element_bytes;
  for (size_t d = 1; d < index.extents.size(); ++d) row_bytes *= index.extents[d];
  const int64_t first = choices.below(index.extents[0]), count = 1 + choices.below(index.extents[0] - first);
  std::string rows(static_cast<size_t>(count * row_bytes), static_cast<char>(~fill));
  ChunkCache cache(1 << 16);
  const bool read =
      read_chunked_rows(index, file, cache, 0, first, count, reinterpret_cast<std::byte*>(rows.data()));
  if (all_whole && (!read || rows != std::string(rows.size(), fill)))
    throw std::logic_error("whole chunks are not read as they were written");
}

/// What the loader asks of a ragged field: the rows are its elements, cut at its lengths.
void read_ragged_rows(const Dataset& dataset, const Field& field) {
  const int64_t element_bytes = field.shape.n_elements() * size_of(field.dtype);
  const int64_t n_elements = dataset.n_elements(field.name);
  if (n_elements > 1 << 16 || element_bytes > 1 << 10) return;
  std::vector<std::byte> all(static_cast<size_t>(n_elements * element_bytes));
  attempt([&] {
    dataset.read_elements(field.name, 0, n_elements, all.data());
    int64_t begin = 0;
    for (int64_t row = 0; row < dataset.n_samples(); ++row) {
      const RowSpan span = dataset.row_spans(field.name).of(row);
      if (span.first != begin || span.count != dataset.row_lengths(field.name)[static_cast<size_t>(row)])
        throw std::logic_error("a ragged row lies elsewhere than behind the one before it");
      begin += span.count;
      if (row > 8) continue;
      std::vector<std::byte> one(static_cast<size_t>(span.count * element_bytes));
      dataset.read_ragged(field.name, row, 0, span.count, one.data());
      if (!one.empty() && std::memcmp(one.data(), all.data() + span.first * element_bytes, one.size()) != 0)
        throw std::logic_error("a ragged row holds other bytes than its elements");
    }
    if (begin != n_elements) throw std::logic_error("ragged rows do not hold all elements");
  });
}

/// Batches of ids as a job of tokens asks for them, and windows of what is one stream.
void load_tokens(const std::shared_ptr<const Dataset>& dataset, const Field& field) {
  if (dataset->n_samples() > 4096 || dataset->n_elements(field.name) > 1 << 12) return;
  if (field.element().n_elements() * size_of(field.dtype) > 1 << 10) return;
  attempt([&] {
    LoaderOptions options;
    LoaderField ids;
    ids.name = field.name;
    ids.dtype = DType::kInt32;
    ids.shape = field.shape;
    ids.n_classes = 300;
    ids.padding = -1;
    options.fields = {ids};
    options.order = field.ragged ? Order::kByLength : Order::kStreams;
    options.global_batch = options.micro_batch = 3;
    DataLoader loader(*dataset, options, 0);
    for (int64_t step = 0; step < std::min<int64_t>(4, loader.steps_per_epoch()); ++step) loader.next();
  });
  if (field.ragged) return;
  attempt([&] {
    const Dataset windows = Dataset::windows(dataset, field.name, {3, 2, 1});
    const Field& cut = windows.field(field.name);
    const int64_t element_bytes = field.shape.n_elements() * size_of(field.dtype);
    std::vector<std::byte> row(static_cast<size_t>(cut.shape.n_elements() * size_of(cut.dtype))), flat(row);
    windows.read(field.name, windows.n_samples() - 1, 1, row.data());
    dataset->read(field.name, 2 * (windows.n_samples() - 1), 4, flat.data());
    if (4 * element_bytes != static_cast<int64_t>(row.size()) || row != flat)
      throw std::logic_error("a window holds other bytes than the stream");
  });
}

void read_everything(const std::shared_ptr<const Dataset>& opened) {
  const Dataset& dataset = *opened;
  for (const Field& field : dataset.fields()) {
    load_tokens(opened, field);
    if (field.ragged) {
      read_ragged_rows(dataset, field);
      continue;
    }
    const int64_t row_bytes = field.shape.n_elements() * size_of(field.dtype);
    if (row_bytes > 1 << 20) continue;
    const int64_t n = dataset.n_samples(), n_read = std::min<int64_t>(n, 12);
    std::vector<std::byte> rows(static_cast<size_t>(n_read * row_bytes));
    attempt([&] { dataset.read(field.name, 0, n_read, rows.data()); });
    attempt([&] { dataset.read(field.name, n - n_read, n_read, rows.data()); });
    attempt([&] { dataset.rows_decoded_together(field.name); });
    attempt([&] {
      const std::shared_ptr<const std::byte> of_block = dataset.row_of_block(field.name, n - 1);
      if (!of_block) return;
      dataset.read(field.name, n - 1, 1, rows.data());
      if (std::memcmp(of_block.get(), rows.data(), static_cast<size_t>(row_bytes)) != 0)
        throw std::logic_error("a block holds other bytes than a single read gives");
    });
    attempt([&] {
      const Dataset::Statistics* s = dataset.statistics(field.name);
      const std::vector<float> mean(s ? s->mean.begin() : std::vector<double>::const_iterator{},
                                    s ? s->mean.end() : std::vector<double>::const_iterator{});
      const RowConverter to_float(field, DType::kFloat32, mean, {}, 0, dataset.path());
      std::vector<std::byte> dst(static_cast<size_t>(to_float.dst_bytes()));
      to_float.convert(rows.data(), dst.data(), 0, dataset.path());
    });
    attempt([&] {
      const RowConverter to_label(field, DType::kInt64, {}, {}, 10, dataset.path());
      std::vector<std::byte> dst(static_cast<size_t>(to_label.dst_bytes()));
      to_label.convert(rows.data(), dst.data(), 0, dataset.path());
    });
  }
  if (dataset.n_samples() > 4096) return;  // only time
  int64_t n_checked = 0, n_unchecked = 0;
  dataset.verify(&n_checked, &n_unchecked);
}

/// One or two shards.
void read_dataset(std::string_view bytes) {
  static const TemporaryFolder folder;
  Choices choices(bytes);
  for (const char* shard : {"a.h5", "b.h5"}) {
    const std::string path = folder.file(shard);
    std::filesystem::remove(path);
    if (shard[0] == 'b' && choices.flag()) continue;
    const auto guard = h5::lock();
    h5::Id file = h5::create_file(path);
    for (const char* attribute : {"lockstep_format_version", "class_names"}) {
      if (choices.below(3) == 0) any_attribute(file.get(), attribute, choices);
    }
    for (const char* name : {"image", "label", "image_offsets"}) {
      const int64_t kind = choices.below(5);
      if (kind < 3) any_dataset(file.get(), name, choices);
      if (kind == 3) any_link(file.get(), name, choices);
    }
    file.close();
  }
  read_everything(std::make_shared<const Dataset>(Dataset::open(folder.path())));
}

void write_numbers(hid_t file, const std::string& name, const std::vector<int64_t>& values) {
  const auto n = static_cast<hsize_t>(values.size());
  const h5::Id space = h5::own(H5Screate_simple(1, &n, nullptr), "H5Screate_simple", name);
  const h5::Id dataset = h5::own(
      H5Dcreate2(file, name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
      "H5Dcreate2", name);
  if (n > 0)
    h5::check(H5Dwrite(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
              "H5Dwrite", name);
}

/// "words" in rows that are mostly right, and a vocabulary of any texts.
void any_tokens(hid_t file, Choices& choices) {
  std::vector<int64_t> ids, offsets{0};
  const int64_t n_rows = choices.below(6);
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t n = choices.below(5); n > 0; --n) ids.push_back(choices.byte());
    offsets.push_back(static_cast<int64_t>(ids.size()));
  }
  if (choices.below(4) == 0) offsets[static_cast<size_t>(choices.below(n_rows + 1))] = choices.number();
  if (choices.below(8) == 0) ids.push_back(choices.number());
  if (choices.flag()) write_numbers(file, "stream", ids);
  write_numbers(file, "words", ids);
  write_numbers(file, "words_offsets", offsets);
  std::vector<std::string> texts;
  for (int64_t n = choices.below(4); n > 0; --n) {
    std::string text(choices.take(choices.below(9)));
    std::erase(text, '\0');
    texts.push_back(std::move(text));
  }
  if (choices.flag()) h5::write_text_dataset(file, "words_vocabulary", texts, "words");
}

/// One or two shards of ragged rows, a stream, and vocabularies.
void read_tokens(std::string_view bytes) {
  static const TemporaryFolder folder;
  Choices choices(bytes);
  for (const char* shard : {"a.h5", "b.h5"}) {
    const std::string path = folder.file(shard);
    std::filesystem::remove(path);
    if (shard[0] == 'b' && choices.flag()) continue;
    const auto guard = h5::lock();
    h5::Id file = h5::create_file(path);
    any_tokens(file.get(), choices);
    file.close();
  }
  read_everything(std::make_shared<const Dataset>(Dataset::open(folder.path())));
}

const bool registered = register_reader("chunks", read_chunks) && register_reader("dataset", read_dataset) &&
                        register_reader("tokens", read_tokens);

}  // namespace

}  // namespace lockstep::fuzz
