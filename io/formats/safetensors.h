// Weights as other programs exchange them: a .safetensors file, or several with an index.
//
//   [ 8 bytes: n, little-endian ][ n bytes: JSON header ][ data ]
//   header   {"__metadata__": {…}, NAME: {"dtype": "F32", "shape": [6, 1, 5, 5], "data_offsets": [0, 600]},
//   …}
//
// Offsets count from the start of the data; tensors are row-major and little-endian, follow one
// another without gaps, and end where the file ends. (huggingface.co/docs/safetensors)
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/files/files.h"
#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

struct SafetensorsEntry {
  std::string name;
  std::string type;            // as in the file: "F32", "BF16", …
  std::optional<DType> dtype;  // none: a type that Lockstep does not compute with
  Shape shape;
  int64_t offset = 0, n_bytes = 0;  // in the data
  size_t file = 0;                  // of several
  std::string unusable;             // why it cannot be read ("has 9 dimensions"); empty: it can
};

class SafetensorsFile {
 public:
  /// Opens a .safetensors file, an index (model.safetensors.index.json) with the files that it names, or a
  /// folder with one of these. Reads and checks each header: its length, JSON, names, types, shapes, and that
  /// the tensors cover the data without gap, overlap or rest. Throws Error naming file, tensor and remedy; a
  /// tensor of an unknown type, or of too many dimensions, is only marked.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  // in the order of their data
  /// Fills dst (entry.shape.n_elements()) with the tensor as float32, a MiB at a time. Throws
  /// Error where the type has no conversion.
  void read(const SafetensorsEntry& entry, float* dst) const;

 private:
  void add_file(const std::string& path);
  void add_indexed_files(const std::string& index_path);

  std::string path_;
  struct Opened {
    FileHandle file;
    int64_t data_begin = 0;
  };
  std::vector<Opened> files_;
  std::vector<SafetensorsEntry> entries_;
};

/// A tensor to be written: float32 or int64.
struct SafetensorsTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::kFloat32;
};

/// Writes `path` with the metadata {"format": "pt"}; `fill(i, data)` provides the content of
/// tensors[i] when its turn comes, so that one tensor is in memory at a time. Tensors stand in
/// the file as Python's package orders them: int64 before float32, then by name. The file appears by
/// rename, or not at all.
void write_safetensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                       const std::function<void(size_t i, void* data)>& fill);

}  // namespace lockstep
