// Reading a checkpoint, without MPI: first the seal (before HDF5 parses anything), then the
// header against its checksum, then each tensor's content against its own.
#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/checkpoint_format.h"
#include "io/files/checksum.h"
#include "io/files/files.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep {

using checkpoint_format::kVersion;

namespace {

constexpr const char* kUseOlder = "use an older checkpoint of this run";

struct OpenCheckpoint {
  std::string path;
  bool sealed = false;
  h5::Id file;
  CheckpointInfo info;
  std::vector<CheckpointEntry> entries;  // in name order
};

CheckpointEntry read_entry(hid_t file, const std::string& path, const std::string& name) {
  const std::string where = path + ": " + name;
  const h5::Id dataset = h5::own(h5::open_dataset(file, name).release(), "H5Dopen2", where);
  const h5::Id type = h5::own(H5Dget_type(dataset.get()), "H5Dget_type", where);
  CheckpointEntry entry;
  entry.name = name;
  entry.shape = h5::shape_of(dataset.get());
  int64_t n_bytes = 8;
  for (const int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(n_bytes, extent, &n_bytes))
      throw Error(where, "has the impossible shape " + entry.shape.str(), kUseOlder);
  }
  entry.dtype = h5::dtype_of(type.get(), where);
  entry.checksum = static_cast<uint64_t>(h5::read_int_attribute(dataset.get(), "checksum", where));
  return entry;
}

/// Links may make a group contain itself.
constexpr int64_t kMaxDepth = 32;

void collect_entries(hid_t file, const std::string& path, const std::string& group,
                     std::vector<CheckpointEntry>& entries) {
  if (std::count(group.begin(), group.end(), '/') > kMaxDepth)
    throw Error(
        path, "its groups are nested more than " + std::to_string(kMaxDepth) + " deep, or contain themselves",
        kUseOlder);
  const h5::Id id = h5::own(h5::open_group(file, group).release(), "H5Gopen2", path + ": " + group);
  for (const std::string& name : h5::dataset_names(id.get())) {
    entries.push_back(read_entry(file, path, group + name));
  }
  for (const std::string& name : h5::group_names(id.get())) {
    collect_entries(file, path, group + name + "/", entries);
  }
}

CheckpointInfo read_info(hid_t file, const std::string& path) {
  CheckpointInfo info;
  info.step = h5::read_int_attribute(file, "step", path);
  info.epoch = h5::read_int_attribute(file, "epoch", path);
  info.step_in_epoch = h5::read_int_attribute(file, "step_in_epoch", path);
  info.seed = h5::read_uint_attribute(file, "seed", path);
  info.job = h5::read_string_attribute(file, "job", path);
  const h5::Id numbers = h5::own(h5::open_group(file, "/numbers").release(), "H5Gopen2", path);
  for (const std::string& name : h5::attribute_names(numbers.get())) {
    info.numbers[name] = h5::read_double_attribute(numbers.get(), name, path);
  }
  const h5::Id texts = h5::own(h5::open_group(file, "/texts").release(), "H5Gopen2", path);
  for (const std::string& name : h5::attribute_names(texts.get())) {
    info.texts[name] = h5::read_string_attribute(texts.get(), name, path);
  }
  return info;
}

OpenCheckpoint open_checkpoint(const std::string& path) {
  const auto guard = h5::lock();
  OpenCheckpoint open;
  open.path = path;
  std::error_code status;
  if (!std::filesystem::exists(path, status))
    throw Error(path, "does not exist", "check the path: a run keeps its checkpoints in RUN/checkpoints");
  if (std::filesystem::is_directory(path, status)) {
    throw Error(path, "is a folder, not a checkpoint",
                "name a file in it, such as " + checkpoint_file_name(1000));
  }
  const char* remedy = "use an older checkpoint of this run";
  const Seal seal = check_seal(path, remedy);
  if (seal == Seal::kBareTail) throw Error(path, "its seal is damaged", remedy);
  open.sealed = seal == Seal::kWhole;
  try {
    open.file = h5::open_file(path);
  } catch (const Error& error) {
    throw Error(path, "is not a whole HDF5 file (" + error.reason() + ")", kUseOlder);
  }
  if (!h5::has_attribute(open.file.get(), "format_version") ||
      !h5::has_attribute(open.file.get(), "header_checksum")) {
    throw Error(path, "is an HDF5 file but not a checkpoint of Lockstep",
                "name one that training wrote, such as RUN/checkpoints/" + checkpoint_file_name(1000));
  }
  const int64_t version = h5::read_int_attribute(open.file.get(), "format_version", path);
  if (version > kVersion) {
    throw Error(path,
                "has checkpoint format " + std::to_string(version) + "; this program reads up to " +
                    std::to_string(kVersion),
                "use the Lockstep that wrote it, or a newer one");
  }
  open.info = read_info(open.file.get(), path);
  collect_entries(open.file.get(), path, "/", open.entries);
  const auto stored = static_cast<uint64_t>(h5::read_int_attribute(open.file.get(), "header_checksum", path));
  if (checkpoint_format::header_checksum(open.info, open.entries) != stored) {
    throw Error(path, "its attributes or tensor names do not agree with their checksum", kUseOlder);
  }
  std::sort(open.entries.begin(), open.entries.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.name < b.name; });
  return open;
}

/// Reads one whole tensor to `data` and checks it.
void read_content(const OpenCheckpoint& open, const CheckpointEntry& entry, void* data) {
  const std::string where = open.path + ": " + entry.name;
  const int64_t n_bytes = entry.shape.n_elements() * size_of(entry.dtype);
  if (n_bytes > 0) {
    const auto guard = h5::lock();
    const h5::Id dataset =
        h5::own(h5::open_dataset(open.file.get(), entry.name).release(), "H5Dopen2", where);
    h5::check(H5Dread(dataset.get(), h5::native_type(entry.dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, data),
              "H5Dread", where);
  }
  ChunkedChecksum checksum;
  checksum.update(data, n_bytes);
  if (checksum.digest() != entry.checksum) {
    throw Error(where, "its content does not agree with its checksum", kUseOlder);
  }
}

/// Up to five names of the file, those most alike (longest common beginning and end) first.
std::string names_like(const std::string& wanted, const std::vector<CheckpointEntry>& entries) {
  auto likeness = [&](const std::string& name) {
    const auto n = static_cast<std::ptrdiff_t>(std::min(name.size(), wanted.size()));
    const auto head = std::mismatch(name.begin(), name.begin() + n, wanted.begin()).first - name.begin();
    const auto tail =
        std::mismatch(name.rbegin(), name.rbegin() + (n - head), wanted.rbegin()).first - name.rbegin();
    return head + tail;
  };
  std::vector<std::string> names;
  for (const CheckpointEntry& entry : entries) names.push_back(entry.name);
  std::stable_sort(names.begin(), names.end(),
                   [&](const std::string& a, const std::string& b) { return likeness(a) > likeness(b); });
  std::string text;
  for (size_t i = 0; i < names.size() && i < 5; ++i) text += (i ? ", " : "") + names[i];
  return names.size() > 5 ? text + ", …" : text;
}

const CheckpointEntry& find_entry(const OpenCheckpoint& open, const CheckpointTensor& tensor) {
  for (const CheckpointEntry& entry : open.entries) {
    if (entry.name != tensor.name) continue;
    const std::string where = open.path + ": " + entry.name;
    if (!(entry.shape == tensor.shape)) {
      throw Error(where, "has shape " + entry.shape.str() + "; the model needs " + tensor.shape.str(),
                  "check that the checkpoint is of the same model and number of classes");
    }
    if (entry.dtype != tensor.dtype) {
      throw Error(where,
                  "holds " + std::string(name_of(entry.dtype)) + "; " + std::string(name_of(tensor.dtype)) +
                      " is needed",
                  "check that the checkpoint is of the same model");
    }
    return entry;
  }
  throw Error(open.path,
              "has no tensor " + tensor.name + "; it has " + std::to_string(open.entries.size()) +
                  " tensors: " + names_like(tensor.name, open.entries),
              "check that the checkpoint is of the same model and optimizer");
}

}  // namespace

CheckpointInfo read_checkpoint_info(const std::string& path) { return open_checkpoint(path).info; }

std::vector<CheckpointEntry> list_checkpoint(const std::string& path) {
  return open_checkpoint(path).entries;
}

void load_checkpoint(const std::string& path, const std::vector<CheckpointTensor>& tensors) {
  const OpenCheckpoint open = open_checkpoint(path);
  std::vector<const CheckpointEntry*> found;  // all names and shapes before any content
  for (const CheckpointTensor& tensor : tensors) found.push_back(&find_entry(open, tensor));
  std::vector<std::byte> whole;  // of one sharded tensor at a time
  for (size_t i = 0; i < tensors.size(); ++i) {
    const CheckpointTensor& tensor = tensors[i];
    if (!tensor.sharded) {
      read_content(open, *found[i], tensor.data);
      continue;
    }
    whole.resize(static_cast<size_t>(checkpoint_format::n_bytes_of(tensor)));
    read_content(open, *found[i], whole.data());
    const int64_t size = size_of(tensor.dtype);
    for (const TensorPart& part : tensor.parts)
      std::memcpy(part.data, whole.data() + part.first * size, static_cast<size_t>(part.n_elements * size));
  }
}

std::vector<std::string> verify_checkpoint(const std::string& path) {
  std::vector<std::string> problems;
  try {
    const OpenCheckpoint open = open_checkpoint(path);
    if (!open.sealed) {
      problems.push_back(path + ": has no seal at its end: it was cut off, or rewritten by another program");
    }
    const int64_t n_file_bytes = FileHandle(path, O_RDONLY).n_bytes();
    for (const CheckpointEntry& entry : open.entries) {
      try {
        const int64_t n_bytes = entry.shape.n_elements() * size_of(entry.dtype);
        // Not even a compressed file holds this much; do not ask for the memory.
        if (n_bytes / 2048 > n_file_bytes)
          throw Error(path + ": " + entry.name, "is larger than the file", kUseOlder);
        const auto buffer = std::make_unique_for_overwrite<char[]>(static_cast<size_t>(n_bytes));
        read_content(open, entry, buffer.get());
      } catch (const Error& error) {
        problems.push_back(error.where() + ": " + error.reason());
      }
    }
  } catch (const Error& error) {
    problems.push_back(error.where() + ": " + error.reason());
  } catch (const std::exception& error) {
    problems.push_back(path + ": " + error.what());
  }
  return problems;
}

}  // namespace lockstep
