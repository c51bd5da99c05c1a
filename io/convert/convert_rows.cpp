// Shards are dealt round-robin over the ranks and written into a scratch folder; only when all are
// complete do they move to the output folder (convert_output.h). Every decision (which rows, how many shards,
// block sizes) is a function of the input and the options, never of the number of ranks.
#include "io/convert/convert_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>

#include "comm/agreement.h"
#include "io/convert/convert_output.h"
#include "io/dataset/shard_writer.h"
#include "io/files/gzip.h"
#include "io/loader/sampler.h"
#include "kernels/error.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kShardBytes = int64_t{64} << 20;
constexpr int64_t kBlockBytes = int64_t{8} << 20;

/// Which rows of the source go into which shard.
struct Selection {
  Sampler order;
  int64_t first, n_rows, n_shards;

  int64_t shard_begin(int64_t shard) const {
    return shard * (n_rows / n_shards) + std::min(shard, n_rows % n_shards);
  }
  int64_t source_row(int64_t row) const { return order.sample_at(0, first + row); }
};

/// Of ragged fields as on average.
int64_t bytes_per_row(const ConvertInput& source) {
  int64_t n_bytes = 0;
  for (size_t f = 0; f < source.fields.size(); ++f) {
    const Field& field = source.fields[f];
    int64_t n_elements = field.shape.n_elements();
    if (field.ragged) {
      const std::vector<int32_t>& lengths = source.lengths[f];
      const int64_t n_all = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
      n_elements *= n_all / std::max<int64_t>(1, source.n_rows) + 1;
    }
    n_bytes += n_elements * size_of(field.dtype);
  }
  return n_bytes;
}

Selection select_rows(const ConvertInput& source, const ConvertOptions& options) {
  if (source.n_rows == 0) throw Error(source.source + " input", "holds no samples", "check the path");
  if (options.skip >= source.n_rows)
    throw Error("convert", fmt::format("cannot skip {} of {} rows", options.skip, source.n_rows),
                fmt::format("give --skip up to {}", source.n_rows - 1));
  const int64_t available = source.n_rows - options.skip;
  if (options.limit > available)
    throw Error("convert",
                fmt::format("{} rows are asked for after skipping {}, but the input has {}", options.limit,
                            options.skip, source.n_rows),
                fmt::format("give --limit up to {}", available));
  const int64_t n_rows = options.limit < 0 ? available : options.limit;
  if (options.n_shards > n_rows)
    throw Error("convert", fmt::format("{} shards for {} rows", options.n_shards, n_rows),
                fmt::format("give --shards up to {}", n_rows));
  const int64_t wanted = (n_rows * bytes_per_row(source) + kShardBytes - 1) / kShardBytes;
  const int64_t n_shards =
      options.n_shards > 0 ? options.n_shards : std::clamp<int64_t>(wanted, 1, std::min(n_rows, kMaxShards));
  return {Sampler(source.n_rows, options.seed, {options.shuffle}), options.skip, n_rows, n_shards};
}

/// Writes one shard; returns the packed moments of every field, and behind them a hash of the content.
std::vector<std::vector<int64_t>> write_shard(const ConvertInput& source, const Selection& selection,
                                              int64_t shard, const std::string& path) {
  const int64_t begin = selection.shard_begin(shard), end = selection.shard_begin(shard + 1);
  const int64_t block_rows =
      std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(1, bytes_per_row(source)), 1, end - begin);
  const size_t n_fields = source.fields.size();
  std::vector<int64_t> n_elements(n_fields, 0);
  for (size_t f = 0; f < n_fields; ++f)
    for (int64_t row = begin; source.fields[f].ragged && row < end; ++row)
      n_elements[f] += source.lengths[f][static_cast<size_t>(selection.source_row(row))];
  ShardWriter writer(path, source.fields, end - begin, n_elements);
  std::vector<std::vector<std::byte>> buffers(n_fields);
  std::vector<std::byte*> data(n_fields);
  std::vector<std::vector<int32_t>> lengths(n_fields);
  std::vector<int64_t> rows;
  for (int64_t first = begin; first < end; first += block_rows) {
    rows.clear();
    for (int64_t row = first; row < std::min(first + block_rows, end); ++row)
      rows.push_back(selection.source_row(row));
    for (size_t f = 0; f < n_fields; ++f) {
      const Field& field = source.fields[f];
      auto n = static_cast<int64_t>(rows.size());
      if (field.ragged) {
        lengths[f].clear();
        for (const int64_t row : rows) lengths[f].push_back(source.lengths[f][static_cast<size_t>(row)]);
        n = std::accumulate(lengths[f].begin(), lengths[f].end(), int64_t{0});
      }
      const auto n_bytes = static_cast<size_t>(n * field.shape.n_elements() * size_of(field.dtype));
      if (buffers[f].size() < n_bytes) buffers[f].resize(n_bytes);
      data[f] = buffers[f].data();
    }
    source.read(rows, data);
    writer.append(std::vector<const std::byte*>(data.begin(), data.end()), static_cast<int64_t>(rows.size()),
                  lengths);
  }
  std::vector<std::vector<int64_t>> packed;
  for (const ChannelMoments& moments : writer.moments()) packed.push_back(moments.packed());
  packed.push_back({static_cast<int64_t>(writer.content_hash())});
  writer.close();
  return packed;
}

/// What the shards are together.
struct Written {
  std::vector<Dataset::Statistics> statistics;  // one per field
  std::string id;                               // a hash of the content of all shards
};

/// Every shard's moments meet in one table of words; each word comes from one rank and is
/// zero on all others, so that the integer sum hands it on bit for bit.
Written write_all_shards(Communicator& comm, const ConvertInput& source, const Selection& selection,
                         const std::string& folder) {
  std::vector<int64_t> n_words;
  int64_t words_per_shard = 0;
  for (const Field& field : source.fields) {
    n_words.push_back(ChannelMoments(field).n_words());
    words_per_shard += n_words.back();
  }
  ++words_per_shard;  // for the hash
  std::vector<int64_t> table(static_cast<size_t>(selection.n_shards * words_per_shard));
  all_or_none(comm, [&] {
    for (int64_t shard = comm.rank(); shard < selection.n_shards; shard += comm.size()) {
      auto slot = table.begin() + shard * words_per_shard;
      for (const auto& words : write_shard(source, selection, shard, folder + "/" + shard_name(shard)))
        slot = std::copy(words.begin(), words.end(), slot);
    }
  });
  if (source.check_read) source.check_read();
  comm.native_all_reduce(std::span<int64_t>(table));

  ChunkedChecksum hash;
  for (int64_t shard = 1; shard <= selection.n_shards; ++shard)
    hash.update(&table[static_cast<size_t>(shard * words_per_shard - 1)], sizeof(int64_t));
  Written written{{}, fmt::format("{:016x}", hash.digest())};
  std::vector<Dataset::Statistics>& statistics = written.statistics;
  int64_t offset = 0;
  for (size_t f = 0; f < source.fields.size(); offset += n_words[f], ++f) {
    const bool are_ids = f < source.vocabularies.size() && !source.vocabularies[f].empty();
    if (are_ids || !ChannelMoments::applies_to(source.fields[f])) {
      statistics.emplace_back();
      continue;
    }
    std::vector<std::vector<int64_t>> parts;
    for (int64_t shard = 0; shard < selection.n_shards; ++shard) {
      const auto begin = table.begin() + shard * words_per_shard + offset;
      parts.emplace_back(begin, begin + n_words[f]);
    }
    statistics.push_back(ChannelMoments::combine(source.fields[f], parts));
  }
  return written;
}

/// `output` is root's, null elsewhere; `folder` its scratch folder.
ConvertResult write_dataset(Communicator& comm, const ConvertOptions& options, const ConvertInput& source,
                            const std::string& folder, ConvertOutput* output) {
  Selection selection{Sampler(1, 0, {false}), 0, 0, 1};
  all_or_none(comm, [&] { selection = select_rows(source, options); });
  Written written = write_all_shards(comm, source, selection, folder);
  if (!source.statistics.empty()) written.statistics = source.statistics;
  const DatasetDescription description{std::move(written.statistics),
                                       source.class_names,
                                       source.source,
                                       std::move(written.id),
                                       selection.n_shards,
                                       source.vocabularies,
                                       source.tokenizers};

  int64_t n_bytes = 0;
  all_or_none(comm, [&] {
    for (int64_t shard = comm.rank(); shard < selection.n_shards; shard += comm.size()) {
      const std::string path = folder + "/" + shard_name(shard);
      ShardWriter::describe(path, source.fields, description, shard);
      n_bytes += static_cast<int64_t>(fs::file_size(path));
    }
  });
  check_on_root(comm, [&] { output->publish(selection.n_shards); });
  ConvertResult result;
  result.n_samples = selection.n_rows;
  result.n_shards = selection.n_shards;
  result.n_bytes = comm.all_reduce_sum(n_bytes);
  result.statistics = description.statistics;
  result.notes = source.notes;
  return result;
}

}  // namespace

ConvertResult convert_rows(Communicator& comm, const ConvertOptions& options,
                           const std::function<ConvertInput(const std::string& scratch)>& open_source) {
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<ConvertOutput> output;  // root's
  check_on_root(comm, [&] { output = std::make_unique<ConvertOutput>(options); });
  const std::string scratch = comm.broadcast_string(output ? output->scratch() : "");
  const auto clean_up = [&] {
    comm.barrier();  // no rank still writes
    output.reset();
  };
  ConvertResult result;
  try {
    result = write_dataset(comm, options, open_source(scratch), scratch, output.get());
  } catch (const AgreedError&) {  // all ranks are here
    clean_up();
    throw;
  }
  clean_up();
  comm.barrier();
  result.time_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

ConvertResult convert_parts(Communicator& comm, double fraction, const ConvertOptions& options,
                            const std::function<ConvertInput(const std::string& scratch)>& open_source) {
  if (!(fraction > 0)) return convert_rows(comm, options, open_source);
  ConvertOptions train = options, validation = options;
  train.out += "/train";
  validation.out += "/validation";
  std::error_code ignored;
  const bool is_new = !options.out.empty() && !fs::exists(options.out, ignored);
  const auto n_train_of = [&](int64_t n_rows) {
    const auto n_train = static_cast<int64_t>(static_cast<double>(n_rows) * (1 - fraction));
    all_or_none(comm, [&] {
      if (n_train < 1 || n_train >= n_rows)
        throw Error("convert",
                    fmt::format("of {} rows a fraction of {} leaves one part empty", n_rows, fraction),
                    "give more data, or another --validation-fraction");
    });
    return n_train;
  };
  const auto convert_both = [&] {
    check_on_root(comm, [&] {
      if (options.out.empty()) throw Error("convert", "no output folder is given", "add --out DIR");
      const ConvertOutput first(train), second(validation);  // both may be written
    });
    // The part's rows are known once its source is open; only then are skip and limit read.
    ConvertResult result = convert_rows(comm, train, [&](const std::string& scratch) {
      ConvertInput source = open_source(scratch);
      train.limit = n_train_of(source.n_rows);
      return source;
    });
    const ConvertResult rest = convert_rows(comm, validation, [&](const std::string& scratch) {
      ConvertInput source = open_source(scratch);
      validation.skip = n_train_of(source.n_rows);
      source.statistics = result.statistics;
      return source;
    });
    result.notes.push_back(
        fmt::format("train: the first {}; validation: the last {}", result.n_samples, rest.n_samples));
    result.n_samples += rest.n_samples;
    result.n_bytes += rest.n_bytes;
    result.n_shards += rest.n_shards;
    result.time_s += rest.time_s;
    return result;
  };
  try {
    return convert_both();
  } catch (const AgreedError&) {
    if (is_new && comm.is_root()) fs::remove(options.out, ignored);  // if it is empty
    throw;
  }
}

std::vector<std::string> numbered_classes(int64_t max_id) {
  std::vector<std::string> names;
  if (max_id >= 65536) return names;
  for (int64_t id = 0; id <= max_id; ++id) names.push_back(std::to_string(id));
  return names;
}

std::string plain_file(Communicator& comm, const std::string& path, const std::string& scratch,
                       const std::string& name) {
  const std::string unpacked = scratch + "/" + name;
  int64_t packed = 0;
  check_on_root(comm, [&] {
    packed = is_gzip(path);
    if (packed) inflate_file(path, unpacked);
  });
  comm.broadcast(&packed, sizeof packed);
  return packed ? unpacked : path;
}

}  // namespace lockstep
