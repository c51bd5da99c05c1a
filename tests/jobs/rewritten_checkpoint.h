// A whole checkpoint with another header, as another machine or program could have written it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/checkpoint/checkpoint.h"

namespace lockstep {

/// Changes the header of a checkpoint; checksums and seal are written anew.
template <typename Edit>
void rewrite_checkpoint(const std::string& path, Edit&& edit) {
  namespace fs = std::filesystem;
  CheckpointInfo info = read_checkpoint_info(path);
  std::vector<CheckpointTensor> tensors;
  std::vector<std::vector<char>> memory;
  for (const CheckpointEntry& entry : list_checkpoint(path)) {
    const int64_t n_bytes = entry.shape.n_elements() * size_of(entry.dtype);
    void* data = memory.emplace_back(static_cast<size_t>(n_bytes)).data();
    tensors.push_back({entry.name, entry.shape, entry.dtype, data});
  }
  load_checkpoint(path, tensors);
  edit(info);
  const fs::path aside = fs::path(path).parent_path() / "rewritten";
  fs::rename(save_checkpoint_alone(aside.string(), info, tensors, 10), path);
  fs::remove(aside);
}

}  // namespace lockstep
