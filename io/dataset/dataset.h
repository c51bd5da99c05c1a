// A dataset: a folder of HDF5 files in name order (or one file), each holding equally named
// datasets whose first dimension counts samples. Files that h5py wrote without any Lockstep
// metadata are a valid dataset. Two kinds of fields are sequences: a flat one, whose rows are elements of one
// long stream, is cut into windows; a ragged one, NAME with NAME_offsets, has rows of unequal lengths.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/dataset/row_spans.h"
#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

/// One named quantity of every sample, such as "image" or "label".
struct Field {
  std::string name;
  DType dtype = DType::kFloat32;
  Shape shape;           // of one sample, without the sample dimension; ragged: of one element of it
  bool ragged = false;   // samples are sequences of elements, of unequal lengths
  bool windows = false;  // the first dimension of a sample counts elements of a flat field

  /// Of one element: what an HDF5 dataset holds one of per row, and what statistics describe.
  Shape element() const { return windows ? shape.without_front() : shape; }
};

/// How windows are cut out of one stream: window i is its elements [i * stride, i * stride + length + extra).
struct WindowOptions {
  int64_t length = 1;  // of an input
  int64_t stride = 1;  // from the beginning of one window to that of the next
  int64_t extra = 1;   // elements behind the input, which targets need
};

/// How a dataset is to be read.
struct DatasetOptions {
  std::vector<std::string> fields;  // that must fit ("label", "train/input"); the first counts the samples
  bool with_others = true;          // look at what else the files hold
  std::string layout;               // of images (rank 3): "NHWC", "NCHW", or "": as the files say
  bool external_storage = false;    // raw files that HDF5 files name may be read
  bool partial = false;             // of a converted dataset some shards are missing, and shall be
};

class Dataset {
 public:
  /// Opens every shard and compares it with the first. A dataset that is no field, or does not fit in some
  /// shard, is passed over; field() says why. Without options.fields the samples are counted by the usual
  /// name of an input, or by what most datasets have. Throws Error naming the shard: missing or empty folder,
  /// not HDF5, truncated, no field at all, shards of one conversion that are missing or there twice, and
  /// whatever is wrong with options.fields.
  static Dataset open(const std::string& path, const DatasetOptions& options = {});
  /// One dataset of fields of several, each under a name of its own; sample i is row i of all. Throws Error
  /// where they have different numbers of samples.
  struct Part {
    std::string name, field;  // here and there
    std::shared_ptr<const Dataset> dataset;
  };
  static Dataset join(std::vector<Part> parts);
  /// A dataset whose samples are windows of one field of `flat`: its rows are one stream, across the borders
  /// of shards. The field keeps its name, has the shape (length + extra, element's shape…), and n_samples is
  /// floor((n - length - extra) / stride) + 1. Statistics, vocabulary and class names carry over; other
  /// fields do not. Throws Error where the stream is shorter than one window, or the field is ragged.
  static Dataset windows(std::shared_ptr<const Dataset> flat, const std::string& field,
                         const WindowOptions& options);
  /// Some of a dataset's rows, in ascending order, each once: nothing is copied. All fields, names and
  /// vocabularies carry over, and shards() count all rows; statistics, which are of all rows, do not.
  static Dataset subset(std::shared_ptr<const Dataset> all, std::vector<int64_t> rows);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  const std::string& path() const;
  int64_t n_samples() const;
  const std::vector<Field>& fields() const;
  /// The field of that name. Throws Error naming the fields that exist.
  const Field& field(const std::string& name) const;

  /// Optional metadata; empty where the files carry none.
  const std::vector<std::string>& class_names() const;
  /// The tokens that a field's whole numbers stand for, from 0: the texts of the dataset NAME_vocabulary.
  /// Empty where there is none.
  const std::vector<std::string>& vocabulary(const std::string& field) const;
  /// The tokenizer that made them: the text of a tokenizer.json, from the dataset NAME_tokenizer. Empty where
  /// there is none.
  const std::string& tokenizer(const std::string& field) const;
  /// Statistics of a field's values as stored: one per channel (first dimension of an element).
  struct Statistics {
    std::vector<double> mean, stddev;
  };
  const Statistics* statistics(const std::string& field) const;  // null: not recorded
  /// Records them.
  void set_statistics(const std::string& field, Statistics statistics);
  /// What the files tell of a field's values.
  struct Traits {
    bool from_matlab = false;  // which stores the dimensions in reverse order
    std::string layout;        // "NHWC", "NCHW", or "": not told
    double scale = 1,
           offset = 0;  // packed numbers of netCDF: value = stored * scale + offset; applied by read()
    std::optional<double> missing;  // as stored; read() refuses it
  };
  const Traits& traits(const std::string& field) const;
  /// Datasets of the files that are no fields, each with the reason ("has 3 rows, label has 64").
  struct PassedOver {
    std::string name, reason, remedy;
  };
  const std::vector<PassedOver>& passed_over() const;

  struct Shard {
    std::string path;
    int64_t first = 0, n_samples = 0;  // global index of its first sample
  };
  const std::vector<Shard>& shards() const;

  /// The lengths of a ragged field's rows, in elements; empty for other fields.
  const std::vector<int32_t>& row_lengths(const std::string& field) const;
  /// Which elements a field's rows are.
  const RowSpans& row_spans(const std::string& field) const;
  /// Elements of a field: the rows of the HDF5 datasets. As many as samples, unless it is ragged or cut into
  /// windows.
  int64_t n_elements(const std::string& field) const;

  /// Elements of a field that are decoded together in the first shard (a chunk's); 1 where each can be read
  /// by itself.
  int64_t rows_decoded_together(const std::string& field) const;
  /// Rows of one of row_of_block()'s blocks in the first shard; 1 where there are none.
  int64_t rows_of_block(const std::string& field) const;
  /// Blocks and decoded chunks may take at least that much memory (32 MiB at first).
  void keep_blocks(int64_t n_bytes) const;

  /// Copies rows [first, first + count) of a field, as stored (no conversion), to `dst`
  /// (count x bytes of one sample). May cross shards. Safe from any thread. Reads contiguous
  /// storage and chunks (plain, deflate, lzf, lz4, zstd, bitshuffle, shuffle, fletcher32) with pread,
  /// anything else through HDF5 under its lock. Throws Error naming the shard and rows if the file cannot
  /// give them, and for a ragged field.
  void read(const std::string& field, int64_t first, int64_t count, void* dst) const;
  /// The same by the field's number, which spares a loop over rows a look at its name.
  size_t index_of(const std::string& field) const;
  void read(size_t field, int64_t first, int64_t count, void* dst) const;
  /// Elements [first, first + count) of a field to `dst`, likewise.
  void read_elements(const std::string& field, int64_t first, int64_t count, void* dst) const;
  /// Elements [first_element, first_element + count) of one row of a ragged field, likewise.
  void read_ragged(const std::string& field, int64_t row, int64_t first_element, int64_t count,
                   void* dst) const;
  /// For those who will soon want a row's neighbours: the row as stored, in a block of memory that is read if
  /// need be and stays a while, at least as long as the pointer. Null where it is large or must be read by
  /// itself: read() it. Safe from any thread. Throws as read() does.
  std::shared_ptr<const std::byte> row_of_block(const std::string& field, int64_t row) const;
  std::shared_ptr<const std::byte> row_of_block(size_t field, int64_t row) const;

  /// Compares the stored checksum of every dataset with its content, in shards part, part + n_parts …; what
  /// has none is read. Returns one line per mismatch and per dataset that cannot be read. Counts datasets of
  /// shards with and without a checksum.
  std::vector<std::string> verify(int64_t* n_checked, int64_t* n_unchecked, int part = 0,
                                  int n_parts = 1) const;

 private:
  struct Impl;
  explicit Dataset(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
