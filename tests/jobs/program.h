// Runs the program `lockstep` as a user would, and the small job and data that its tests share.
#pragma once

#include <string>

#include "tests/support/hdf5_files.h"

namespace lockstep {

struct Ended {
  int status = -1;  // exit status; 128 + signal if killed
  double time_s = 0;
  std::string output;  // stdout and stderr together
};

/// Runs a shell command with a time limit (status 124 then).
Ended run_shell(const std::string& command, int limit_s = 100);

/// `lockstep WORDS` on one process, or through mpirun on n ranks.
Ended lockstep(const std::string& words);
Ended lockstep_on(int n_ranks, const std::string& words);
/// The command line behind lockstep_on, to be started in the background.
std::string lockstep_command(int n_ranks, const std::string& words);

/// A folder with data/train (300 samples) and data/test (60) of ten noisy 8x8 patterns as
/// HDF5, made from CSV by `lockstep convert`, and job.yaml: a small LeNet-5, 20 epochs of 19
/// steps, eight micro-batches a step, a checkpoint every 7 steps.
class Workplace {
 public:
  Workplace();
  const std::string& path() const { return folder_.path(); }
  std::string file(const std::string& name) const { return folder_.file(name); }
  std::string job() const { return file("job.yaml"); }
  /// "train JOB --out FOLDER/NAME " with keep: 0, so that all checkpoints stay.
  std::string train(const std::string& out_name) const;
  std::string checkpoint(const std::string& out_name, int64_t step) const;

 private:
  TemporaryFolder folder_;
};

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& text);
/// Changes one bit of a file.
void flip_bit(const std::string& path, uint64_t at, int bit = 4);
/// How often `part` occurs in `text`.
int count(const std::string& text, const std::string& part);

}  // namespace lockstep
