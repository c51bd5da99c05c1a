// Readers of checkpoints: a whole file with bytes changed, which its seal must notice before HDF5 parses
// anything; and files of any meaning with a right seal and header checksum.
#include <fcntl.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/checkpoint_format.h"
#include "io/files/checksum.h"
#include "tests/fuzz/hdf5_maker.h"
#include "tests/io/checkpoint_state.h"
#include "tests/support/hdf5_files.h"

namespace lockstep::fuzz {

namespace {

const TemporaryFolder& folder() {
  static const TemporaryFolder made;
  return made;
}

/// Verifies the file, or loads what it says it holds.
void read_checkpoint(const std::string& path, bool verifies) {
  if (verifies) {
    verify_checkpoint(path);
    return;
  }
  std::vector<CheckpointTensor> tensors;
  std::vector<std::vector<char>> storage;
  for (const CheckpointEntry& entry : list_checkpoint(path)) {
    const int64_t n_bytes = entry.shape.n_elements() * size_of(entry.dtype);
    if (n_bytes > 1 << 20) continue;
    storage.emplace_back(static_cast<size_t>(n_bytes));
    tensors.push_back({entry.name, entry.shape, entry.dtype, storage.back().data()});
  }
  load_checkpoint(path, tensors);
}

/// A checkpoint as it is saved.
const std::string& whole_file() {
  static const std::string bytes = [] {
    TestState state = make_state("small");
    std::ifstream in(save_checkpoint_alone(folder().path(), state.info, state.tensors(), 1),
                     std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }();
  return bytes;
}

/// Patches of a whole, sealed file. What HDF5 reads without a seal is left alone: damaged metadata in a file
/// of HDF5's own tools is for HDF5 to notice.
void read_patched(std::string_view bytes) {
  Choices choices(bytes);
  const bool verifies = choices.flag();
  const std::string path = folder().file("patched.h5");
  const std::string& whole = whole_file();
  FileHandle file(path, O_RDWR | O_CREAT | O_TRUNC);
  file.write_at(whole.data(), static_cast<int64_t>(whole.size()), 0);
  const int64_t n_bytes = file.n_bytes();
  int64_t n_hdf5_bytes = 0;
  std::memcpy(&n_hdf5_bytes, whole.data() + 40, sizeof n_hdf5_bytes);  // the superblock's
  while (!choices.empty()) {
    const uint8_t kind = choices.byte();
    const auto at = static_cast<int64_t>(choices.word() % static_cast<uint64_t>(n_bytes));
    // The last bytes are those of the seal, which would seldom be hit.
    const int64_t offset = kind & 1 ? n_bytes - 1 - at % 100 : at;
    if (kind < 8) {
      file.resize(offset == n_hdf5_bytes ? offset - 1 : offset);
    } else {
      const std::string_view patch = choices.take(1 + kind / 16);
      file.write_at(patch.data(), static_cast<int64_t>(patch.size()), offset);
    }
  }
  read_checkpoint(path, verifies);
}

/// The checkpoint of `choices`; returns what it describes.
void write_meaning(hid_t file, Choices& choices) {
  CheckpointInfo info;
  info.step = choices.number();
  info.seed = choices.word();
  info.job = std::string(choices.take(choices.byte() % 40));
  std::erase(info.job, '\0');
  const auto write = [&](const char* name, auto value) {
    if (choices.below(24) == 23) {
      any_attribute(file, name, choices);
    } else {
      h5::write_attribute(file, name, value);
    }
  };
  write("format_version", choices.below(16) == 15 ? choices.number() : int64_t{1});
  write("step", info.step);
  write("epoch", info.epoch);
  write("step_in_epoch", info.step_in_epoch);
  write("seed", info.seed);
  write("job", info.job);
  std::vector<CheckpointEntry> entries;
  for (const char* name : {"/numbers", "/texts", "/parameters"}) {
    if (choices.below(16) == 15) continue;
    const h5::Id group(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    while (choices.below(4) == 3) {
      const std::string key = "k" + std::to_string(choices.below(4));
      const int64_t kind = choices.below(6);
      if (kind == 0) any_attribute(group.get(), key, choices);
      if (kind == 1) any_dataset(group.get(), key, choices);
      if (kind == 2) any_link(group.get(), key, choices);
      if (kind < 3) continue;
      CheckpointEntry entry{std::string(name) + "/" + key, {}, DType::kFloat32, 0};
      const int64_t rank = choices.below(3);
      for (int64_t d = 0; d < rank; ++d) entry.shape = entry.shape.with_front(choices.below(5));
      std::vector<hsize_t> extents(entry.shape.begin(), entry.shape.end());
      const h5::Id space(H5Screate_simple(static_cast<int>(rank), extents.data(), nullptr));
      const h5::Id dataset(H5Dcreate2(group.get(), key.c_str(), H5T_NATIVE_FLOAT, space.get(), H5P_DEFAULT,
                                      H5P_DEFAULT, H5P_DEFAULT));
      if (!dataset) continue;
      std::string content(choices.take(static_cast<size_t>(entry.shape.n_elements() * 4)));
      content.resize(static_cast<size_t>(entry.shape.n_elements() * 4));
      if (!content.empty())
        H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, content.data());
      ChunkedChecksum checksum;
      checksum.update(content.data(), static_cast<int64_t>(content.size()));
      entry.checksum = checksum.digest() + (choices.below(8) == 7);
      h5::write_attribute(dataset.get(), "checksum", static_cast<int64_t>(entry.checksum));
      entries.push_back(entry);
    }
  }
  // Right where nothing above was anything but a checkpoint's.
  write("header_checksum", static_cast<int64_t>(checkpoint_format::header_checksum(info, entries)));
}

void read_meaning(std::string_view bytes) {
  Choices choices(bytes);
  const std::string path = folder().file("meaning.h5");
  std::filesystem::remove(path);
  {
    const auto guard = h5::lock();
    h5::Id file = h5::create_file(path);
    write_meaning(file.get(), choices);
    file.close();
  }
  if (choices.below(4) < 3) append_seal(path, {});
  read_checkpoint(path, choices.flag());
}

const bool registered =
    register_reader("checkpoint", read_patched) && register_reader("checkpoint_meaning", read_meaning);

}  // namespace

}  // namespace lockstep::fuzz
