// A folder with small datasets of four classes, written by h5py, and a job that learns them in a moment.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/jobs/program.h"

namespace lockstep {

class SmallRuns : public testing::Test {
 protected:
  /// train (64 samples), val, val2, smaller (24), nan (as val, with NaN in row 17), named (classes ant, bee,
  /// cat, dog), gap (ant, cat, dog): FOLDER/NAME.h5; job.yaml: 8 steps an epoch, a checkpoint every 3.
  static void SetUpTestSuite() {
    if (!has_h5py()) return;
    folder_ = new TemporaryFolder;
    ASSERT_EQ(run_h5py(folder_->path(),
                       "def write(name, n, seed, names=None, nan=None):\n"
                       "    rng = np.random.default_rng(seed)\n"
                       "    y = np.arange(n) % 4\n"
                       "    x = rng.normal(size=(n, 4)).astype('f4')\n"
                       "    x[np.arange(n), y] += 3\n"
                       "    if nan is not None: x[nan, 1] = np.nan\n"
                       "    with h5py.File(folder + '/' + name + '.h5', 'w') as f:\n"
                       "        f['input'] = x\n"
                       "        f['target'] = np.minimum(y, len(names) - 1) if names else y\n"
                       "        if names: f.attrs['class_names'] = names\n"
                       "write('train', 64, 0)\n"
                       "write('val', 32, 1)\n"
                       "write('val2', 32, 2)\n"
                       "write('smaller', 24, 3)\n"
                       "write('nan', 32, 1, nan=17)\n"
                       "write('named', 64, 0, ['ant', 'bee', 'cat', 'dog'])\n"
                       "write('gap', 32, 1, ['ant', 'cat', 'dog'])\n"
                       "write('first', 32, 1, ['ant', 'bee'])\n"
                       "write('renamed', 64, 0, ['bee', 'ant', 'cat', 'dog'])\n"),
              "");
    write_file(file("job.yaml"),
               "name: small\nmodel: {zoo: mlp, classes: 4, hidden: [8]}\ndata: {train: {path: " +
                   file("train.h5") + "}, validation: {path: " + file("val.h5") +
                   "}}\nbatch: {global: 8, micro: 4}\noptimizer: {sgd: {lr: 0.1}}\n"
                   "train: {epochs: 3, log_every_steps: 5}\ncheckpoint: {every_steps: 3, keep: 0}\n");
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed";
  }

  static std::string file(const std::string& name) { return folder_->file(name); }
  /// "train JOB --out FOLDER/NAME ".
  static std::string train(const std::string& out) {
    return "train " + file("job.yaml") + " --out " + file(out) + " ";
  }
  static std::string data(const std::string& kind, const std::string& name) {
    return "--set data." + kind + ".path=" + file(name + ".h5") + " ";
  }
  static std::string checkpoint(const std::string& run, int step) {
    const std::string digits = std::to_string(step);
    return file(run + "/checkpoints/step-" + std::string(9 - digits.size(), '0') + digits + ".h5");
  }
  static bool has(const Ended& ended, const std::string& part) {
    return ended.output.find(part) != std::string::npos;
  }

 private:
  static inline TemporaryFolder* folder_ = nullptr;
};

}  // namespace lockstep
