#include "jobs/saved_checkpoint.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "comm/agreement.h"
#include "io/files/files.h"

namespace lockstep {

void save_as(Communicator& comm, const std::string& path, const CheckpointInfo& info,
             const std::vector<CheckpointTensor>& tensors) {
  namespace fs = std::filesystem;
  std::string folder;
  check_on_root(comm, [&] {
    const fs::path parent = fs::path(path).parent_path();
    std::error_code error;
    if (!parent.empty()) fs::create_directories(parent, error);
    folder = (parent / fmt::format(".{}.XXXXXX", fs::path(path).filename().string())).string();
    if (error || ::mkdtemp(folder.data()) == nullptr)
      throw_file_error(path, "creating a folder beside it", error ? error.value() : errno);
  });
  folder = comm.broadcast_string(folder);
  const auto remove_folder = [&] {
    std::error_code ignored;
    if (comm.is_root()) fs::remove(folder, ignored);  // it is empty
  };
  try {
    const std::string saved = save_checkpoint(comm, folder, info, tensors);
    check_on_root(comm, [&] { rename_durably(saved, path); });
  } catch (...) {
    remove_folder();
    throw;
  }
  remove_folder();
}

}  // namespace lockstep
