// Converters: foreign files -> sharded HDF5 with class names, statistics (io/dataset/statistics.h) and
// checksums. Collective: shards are dealt over the ranks, and the output is the same, byte for
// byte, for any number of them. Errors are AgreedErrors on every rank and leave `out` as it was.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/convert/image_listing.h"
#include "io/convert/text/text_tokens.h"
#include "io/dataset/dataset.h"

namespace lockstep {

struct ConvertOptions {
  std::string out;       // output folder, created
  int64_t n_shards = 0;  // 0: about 64 MiB each, at least 1
  bool shuffle = false;  // random order (of `seed`) over all samples before sharding
  uint64_t seed = 0;
  /// Rows [skip, skip + limit) of the (shuffled) input; limit < 0: to the end. For splits.
  int64_t skip = 0, limit = -1;
  /// Replace the shards in `out`. Without it a non-empty `out` is an error.
  bool overwrite = false;
};

struct ConvertResult {
  int64_t n_samples = 0, n_bytes = 0, n_shards = 0;
  double time_s = 0;
  std::vector<Dataset::Statistics> statistics;  // one per field
  std::vector<std::string> notes;               // what was taken and what was left out, for people; on root
};

/// Numbers separated by commas (or `separator`), plain or .gz; one sample a row. Columns
/// other than the target are the input, reshaped to `shape` (default: flat), without those in `dropped`
/// and without leading ones that the header leaves unnamed: the index that pandas and R write. Values that
/// are all whole numbers in 0..255 are stored as uint8, else as float32. The input is called "image" if
/// `shape` has three dimensions, else "input". Class labels ("label", int64) are whole numbers from 0, or
/// texts that `class_names` (default: all texts, numbers first and in their order) turns into numbers. A
/// label that stands for a missing value (nan, NA, …) is an error unless it is quoted.
struct CsvOptions {
  std::string path;
  char separator = ',';
  int header_lines = -1;         // -1: skip the first line if it names the columns
  int64_t target_column = -1;    // from 0, as in the file; -1: last; -2: no target
  bool target_is_class = true;   // false: float32 regression target
  std::vector<int64_t> dropped;  // columns to leave out, from 0
  /// A column that is no input but the int64 field "group", for split_dataset(): whole numbers as they are,
  /// texts as a hash of theirs. From 0; -1: none.
  int64_t group_column = -1;
  std::vector<int64_t> shape;  // of one input sample, e.g. {1, 8, 8}
  std::vector<std::string> class_names;
};
ConvertResult convert_csv(Communicator& comm, const CsvOptions& csv, const ConvertOptions& options);

/// IDX files (MNIST), plain or .gz: images (N, H, W) become "image" (1, H, W), (N, C, H, W)
/// "image" (C, H, W), (N, D) "input" (D). uint8 stays uint8, other types become float32.
/// Labels (N): whole numbers become "label" int64, float types "target" float32.
struct IdxOptions {
  std::string images, labels;  // labels may be empty
};
ConvertResult convert_idx(Communicator& comm, const IdxOptions& idx, const ConvertOptions& options);

/// NumPy's .npy: inputs (N, …), labels (N), each in one file or in several, one behind the other. (N, C, H,
/// W) and uint8 (N, H, W) become "image", all else "input"; whole numbers of 8 bits and less than 0 or of 16
/// bits become int32, those of 64 bits uint8 or int32 where all fit, float16 float32. Whole labels become
/// "label" int64, others "target".
struct NpyOptions {
  std::vector<std::string> files, labels;  // labels may be none
  std::string layout;          // of images: "NCHW", "NHWC" (turned); "": refused where it is unclear
  std::vector<int64_t> shape;  // of an input sample; none: as stored
  bool as_stored = false;      // types and shapes as the files have them
};
ConvertResult convert_npy(Communicator& comm, const NpyOptions& npy, const ConvertOptions& options);

/// Two arrays of a .npz archive, likewise.
struct NpzOptions {
  std::string path;
  std::string input, target;  // names of arrays; "": by their usual names; target "none": there is none
  std::string layout;
  std::vector<int64_t> shape;
};
ConvertResult convert_npz(Communicator& comm, const NpzOptions& npz, const ConvertOptions& options);

/// CIFAR's binary batches: "image" (3, 32, 32) uint8 and "label" int64. Records of 3,073 bytes are
/// CIFAR-10's, of 3,074 (two labels) CIFAR-100's. Class names come from batches.meta.txt, or
/// fine_label_names.txt or coarse_label_names.txt, beside the files; else they are numbers.
struct CifarOptions {
  std::vector<std::string> paths;  // files, one behind the other; or the folder that holds them
  bool test = false;    // of a folder: test_batch.bin or test.bin, else data_batch_*.bin or train.bin
  bool coarse = false;  // of CIFAR-100: the twenty superclasses
};
ConvertResult convert_cifar(Communicator& comm, const CifarOptions& cifar, const ConvertOptions& options);

/// A folder with one sub-folder of JPEG or PNG files per class (image_listing.h). Images become "image"
/// (C, H, W) uint8, or int32 where files hold 16 bits; all are of one size, or resized to height x width
/// (bilinear, antialiased). Files that cannot be read are reported together, or left out. Then every file is
/// decoded before rows are chosen, so that splits stay disjoint.
struct ImagesOptions {
  std::string folder;
  int64_t channels = 3;           // 1: grey, 3: RGB
  int64_t height = 0, width = 0;  // 0: as the first image; others must agree
  int64_t bits = 0;               // 8, 16; 0: 16 if any file holds them
  OnError on_error = OnError::kStop;
  bool classes = true;  // false: all images below the folder (or one file), without labels
};
ConvertResult convert_images(Communicator& comm, const ImagesOptions& images, const ConvertOptions& options);

/// tar archives of samples (WebDataset): files with one key, all of their name up to the first dot behind the
/// last slash, are a sample: an image, and its class as the text of KEY.cls or the value of label_key in
/// KEY.json. Labels that are all whole numbers stay as they are, others are numbered in their order. .tar.gz
/// is unpacked first. Images are treated as those of folders (ImagesOptions: folder and classes do not
/// apply).
struct TarOptions {
  std::vector<std::string> files;
  std::string image;  // extension of the images, without a dot; "": any that is read here
  std::string label;  // "cls", "json:KEY"; "": .cls, else the key "label" of .json; "none": no labels
  ImagesOptions images;
};
ConvertResult convert_tar(Communicator& comm, const TarOptions& tar, const ConvertOptions& options);

/// Text as one stream: the files' contents one after the other (UTF-8, without a byte order mark) become the
/// flat dataset "tokens", ids uint8 where they fit, else int32, with its vocabulary (vocabulary.h; of words
/// "<unk>" is always a part). With a tokenizer its ids, int32, and the dataset carries the tokenizer. With
/// validation_fraction f > 0 options.out gets the folders "train", the first int(n * (1 - f)) of n tokens,
/// and "validation"; the vocabulary is that of the whole text. options.shuffle, skip and limit do not apply.
struct TextOptions {
  std::vector<std::string> files;
  TokenLevel level = TokenLevel::kCharacters;
  int64_t vocabulary = 0;          // most ids; 0: all tokens
  std::string vocabulary_from;     // a dataset whose vocabulary, or tokenizer, is taken
  std::string tokenizer;           // byte-level BPE: file or folder, as read_tokenizer_file() says
  bool lossy = false;              // U+FFFD for bytes that are no UTF-8, which are an error otherwise
  double validation_fraction = 0;  // in [0, 1)
};
ConvertResult convert_text(Communicator& comm, const TextOptions& text, const ConvertOptions& options);

/// Two texts line by line (or one of lines source TAB target): the ragged fields "source" and "target", the
/// latter as "<s>" … "</s>", each with its vocabulary, in which "<pad>", "<s>", "</s>" and "<unk>" are 0, 1,
/// 2 and 3.
struct PairsOptions {
  std::string source, target;  // target empty: lines of the source hold both
  TokenLevel source_level = TokenLevel::kCharacters, target_level = TokenLevel::kCharacters;
  int64_t source_vocabulary = 0, target_vocabulary = 0;  // most ids; 0: all tokens
  std::string vocabulary_from;                           // a dataset of pairs whose vocabularies are taken
};
ConvertResult convert_pairs(Communicator& comm, const PairsOptions& pairs, const ConvertOptions& options);

/// Lines LABEL TAB text: the ragged field "input" with its vocabulary, in which "<pad>" and "<unk>" are 0 and
/// 1, and "label" int64 with class names: whole numbers from 0 stay as they are, other labels are numbered in
/// their order.
struct LabelledTextOptions {
  std::string path;
  TokenLevel level = TokenLevel::kWords;
  int64_t vocabulary = 0;       // most ids; 0: all tokens
  std::string vocabulary_from;  // a dataset whose vocabulary of "input" is taken
};
ConvertResult convert_labelled_text(Communicator& comm, const LabelledTextOptions& text,
                                    const ConvertOptions& options);

/// Columns of a table over time, a step a row: the flat field "series" (D) float32, in the order of `columns`
/// (names of the header, or numbers from 0; none: all of them). With validation_fraction f > 0 the folders
/// "train", the first int(n * (1 - f)) rows, and "validation", both with the statistics of "train".
/// options.shuffle, skip and limit do not apply.
struct SeriesOptions {
  std::string path;
  std::vector<std::string> columns;
  char separator = ',';
  int header_lines = -1;  // as in CsvOptions
  double validation_fraction = 0;
};
ConvertResult convert_series(Communicator& comm, const SeriesOptions& series, const ConvertOptions& options);

}  // namespace lockstep
