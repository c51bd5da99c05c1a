// Checkpoint files: one HDF5 file, written collectively, readable by h5py, independent of
// the number of ranks that wrote it, with a checksum per dataset.
//
//   /parameters/NAME        canonical shapes, float32
//   /buffers/NAME           running statistics
//   /optimizer/SLOT/NAME    optimizer state, one group per slot (velocity, m, v, …)
//   attributes of /         format_version, step, epoch, step_in_epoch, seed, job, …
//
//   /numbers, /texts        groups whose attributes are CheckpointInfo's numbers and texts
//
// Commit: write checkpoints/.step-000001000.h5.tmp, sync it, rename it to
// step-000001000.h5, sync the folder. A crash leaves the previous or the new file whole.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep {

/// Elements [first, first + n_elements) of a tensor, counted as it lies in memory.
struct TensorPart {
  int64_t first = 0, n_elements = 0;
  void* data = nullptr;
};

/// One tensor to save or to fill. `name` is the HDF5 path ("/parameters/conv1.weight").
/// Every rank holds the whole tensor at `data` (n_elements of dtype). Or it is sharded: `data` is null, and
/// each rank holds its `parts`, ascending, which together make up the tensor.
struct CheckpointTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::kFloat32;
  void* data = nullptr;
  bool sharded = false;
  std::vector<TensorPart> parts = {};
};

struct CheckpointInfo {
  int64_t step = 0;           // updates done
  int64_t epoch = 0;          // of the next step
  int64_t step_in_epoch = 0;  // of the next step
  uint64_t seed = 0;
  std::string job;                           // resolved job file (YAML text)
  std::map<std::string, double> numbers;     // further scalars: best accuracy, early-stopping state …
  std::map<std::string, std::string> texts;  // versions of libraries
};

/// "step-000001000.h5"
std::string checkpoint_file_name(int64_t step);

/// Collective. Writes `folder` (created where absent)/checkpoint_file_name(info.step) by the
/// commit above; each rank writes one contiguous P-th of the state. The file's bytes are
/// independent of the rank count, and of time and host. Returns the path. If any rank fails
/// (disk full, no permission) the temporary file is removed and all ranks throw AgreedError. Not for sharded
/// tensors, which CheckpointSaver saves.
std::string save_checkpoint(Communicator& comm, const std::string& folder, const CheckpointInfo& info,
                            const std::vector<CheckpointTensor>& tensors);

/// The same file, byte for byte, written by one rank alone, without MPI, while other ranks and threads may be
/// blocked for ever: `tensors` are whole and on the host. Returns the path; a whole file that is there
/// already stays as it is. Where HDF5 is not free within `hdf5_limit_s`, a forked copy of the process writes.
/// Throws Error where the file cannot be written, or a tensor is sharded.
std::string save_checkpoint_alone(const std::string& folder, const CheckpointInfo& info,
                                  const std::vector<CheckpointTensor>& tensors, double hdf5_limit_s);

/// Throws Error where HDF5 cannot store tensors of these paths beside each other, and names the path: an
/// empty part or "." in it, or a tensor where another one needs a group.
void check_tensor_names(const std::vector<std::string>& names);

struct CheckpointEntry {
  std::string name;
  Shape shape;
  DType dtype = DType::kFloat32;
  uint64_t checksum = 0;
};

/// Opens read-only without MPI. Throws Error when the file is not a checkpoint, truncated, or
/// of a newer format version.
CheckpointInfo read_checkpoint_info(const std::string& path);
std::vector<CheckpointEntry> list_checkpoint(const std::string& path);

/// Fills `tensors` by name and checks each one's checksum. Throws Error naming the tensor:
/// missing, of another shape, or with wrong checksum. Called on any subset of ranks; of sharded tensors
/// each fills its own parts.
void load_checkpoint(const std::string& path, const std::vector<CheckpointTensor>& tensors);

/// Checks every dataset against its checksum; one line per problem, empty when whole.
std::vector<std::string> verify_checkpoint(const std::string& path);

/// Paths of the finished checkpoints of a folder, ascending by step; temporary files are not
/// listed. Empty where the folder is absent.
std::vector<std::string> list_checkpoints(const std::string& folder);

/// Paths of what interrupted saves (or one under way) left in a folder, in name order.
std::vector<std::string> list_temporary_files(const std::string& folder);

/// The step of a checkpoint's file name, "step-N.h5", folders in front allowed; -1 for other names.
int64_t checkpoint_step(const std::string& path);

/// Whether a file in a folder of checkpoints has a name that Lockstep gives there: finished, temporary,
/// NAME.damaged, NAME.superseded, last.h5 and best.h5.
bool is_checkpoint_file_name(const std::string& name);

/// Rank 0 only. Renames checkpoints of steps > last_step to NAME.superseded, so that nothing resumes from
/// them, and points last.h5 and best.h5 no more at them; returns the new paths.
std::vector<std::string> set_aside_later_checkpoints(const std::string& folder, int64_t last_step);

/// Rank 0 only. Deletes all checkpoints but the last `keep` and those whose step `protects`, and
/// temporary files of crashed runs. keep <= 0 keeps all. Not while a save into the folder is under
/// way. A file that cannot be deleted is left.
void prune_checkpoints(const std::string& folder, int keep, const std::function<bool(int64_t)>& protects);

/// Copies a checkpoint into another folder under its own name: temporary name, sync, rename. Throws Error
/// naming the file, and leaves nothing behind then.
void copy_checkpoint(const std::string& path, const std::string& folder);

/// Links in a folder of checkpoints.
inline constexpr const char *kLastLink = "last.h5", *kBestLink = "best.h5";

/// Rank 0 only. Points the link at the checkpoint of `step`, in one go; nothing happens where that
/// file is absent, or the file system has no links.
void link_checkpoint(const std::string& folder, const std::string& link, int64_t step);
/// The step of the checkpoint that a link points at; -1 where there is no link or no such file.
int64_t linked_checkpoint(const std::string& folder, const std::string& link);

}  // namespace lockstep
