// What a run was computed with: recorded in checkpoints and metrics, told by inspect and report, compared at
// a resume. And that it does not bind: what a GPU has trained in float16 is of use on a machine without one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "io/files/metrics.h"
#include "tests/jobs/rewritten_checkpoint.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

const std::string kPrefix = "computed_with.";

/// The entries of a checkpoint's record by their names.
std::map<std::string, std::string> record_of(const std::string& checkpoint) {
  std::map<std::string, std::string> record;
  for (const auto& [key, text] : read_checkpoint_info(checkpoint).texts)
    if (key.starts_with(kPrefix)) record[key.substr(kPrefix.size())] = text;
  return record;
}

/// What `lockstep --version` prints, by name.
std::map<std::string, std::string> printed_versions() {
  std::stringstream lines(lockstep("--version").output);
  std::map<std::string, std::string> versions;
  std::string line;
  std::getline(lines, line);
  EXPECT_TRUE(line.starts_with("lockstep ")) << line;
  versions["Lockstep"] = line.substr(9);
  while (std::getline(lines, line)) {
    const size_t end = line.find(' ', 2), value = line.find_first_not_of(' ', end);
    versions[line.substr(2, end - 2)] = line.substr(value);
  }
  return versions;
}

/// Texts of the warnings in a run's metrics.
std::vector<std::string> warnings(const std::string& run_folder) {
  std::vector<std::string> texts;
  for (const MetricsLine& line : read_metrics(run_folder + "/metrics.jsonl"))
    if (*line.text("kind") == "warning") texts.push_back(*line.text("text"));
  return texts;
}

class ComputedWith : public SmallRuns {
 protected:
  void SetUp() override {
    SmallRuns::SetUp();
    setenv("CUDA_VISIBLE_DEVICES", "", 1);  // a machine without a GPU, wherever this runs
    if (has_h5py() && !fs::exists(file("calm"))) {
      ASSERT_EQ(lockstep(train("calm")).status, 0);
    }
  }
  static constexpr int kStep = 9, kLast = 24;

  /// The run of the name stands at kStep, with a header that `edit` has changed.
  template <typename Edit>
  static void interrupt(const std::string& name, Edit&& edit) {
    fs::copy(file("calm"), file(name), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    for (const std::string& path : list_checkpoints(file(name + "/checkpoints")))
      if (checkpoint_step(path) > kStep) fs::remove(path);
    rewrite_checkpoint(checkpoint(name, kStep), edit);
  }
  static Ended resume(const std::string& name, const std::string& options = "", int n_ranks = 1) {
    return lockstep_on(n_ranks, train(name) + "--resume auto " + options);
  }
  /// As a GPU machine would have written it.
  static void move_to_gpu(CheckpointInfo& info) {
    info.job = "device: cuda\nprecision: float16\n" + info.job;
    info.texts[kPrefix + "device"] = "NVIDIA H200";
    info.texts[kPrefix + "precision"] = "float16";
    info.texts[kPrefix + "cuDNN"] = "9.19.0";
    info.numbers["loss_scale"] = info.numbers["loss_scale_next"] = 65536;
    info.numbers["loss_scale_good_steps"] = 7;
  }
};

TEST_F(ComputedWith, TheRecordIsWhatTheProgramSaysOfItself) {
  const std::map<std::string, std::string> record = record_of(checkpoint("calm", kLast)),
                                           printed = printed_versions();
  for (const char* name : {"Lockstep", "compiler", "MPI", "HDF5", "oneDNN", "instructions"}) {
    ASSERT_TRUE(record.contains(name)) << name;
    ASSERT_TRUE(printed.contains(name)) << name;
    EXPECT_EQ(record.at(name), printed.at(name));
  }
  EXPECT_EQ(record.at("precision"), "float32");
  EXPECT_EQ(record.size(), 8U);  // these, and the device
  EXPECT_EQ(record_of(checkpoint("calm", 3)), record);

  const std::vector<MetricsLine> lines = read_metrics(file("calm/metrics.jsonl"));
  const Ended shown = lockstep("inspect " + checkpoint("calm", kLast)),
              json = lockstep("inspect --json " + checkpoint("calm", kLast));
  const std::string report = read_file(file("calm/report.html"));
  for (const auto& [name, value] : record) {
    const std::string* text = lines[0].text(kPrefix + name);
    ASSERT_NE(text, nullptr) << name;
    EXPECT_EQ(*text, value);
    EXPECT_TRUE(has(shown, "computed with " + name + " ") && has(shown, " " + value + "\n")) << shown.output;
    EXPECT_TRUE(has(json, json_quote(name) + ": " + json_quote(value))) << json.output;
    EXPECT_NE(report.find(value + "</dd>"), std::string::npos) << name;
  }
}

TEST_F(ComputedWith, AResumeTellsWhatDiffersAndNothingElse) {
  interrupt("other", [](CheckpointInfo& info) {
    info.texts[kPrefix + "oneDNN"] = "3.1.4";
    info.texts[kPrefix + "Lockstep"] = "0.0.9 (commit 0123456789ab)";
    info.texts[kPrefix + "abacus"] = "1";  // of a version to come
  });
  const std::map<std::string, std::string> now = record_of(checkpoint("calm", kLast));
  const Ended ended = resume("other", "", 2);
  ASSERT_EQ(ended.status, 0) << ended.output;
  const std::string wanted =
      "the checkpoint was computed with other versions, so bits may differ from here on: Lockstep was 0.0.9 "
      "(commit 0123456789ab), is " +
      now.at("Lockstep") + "; oneDNN was 3.1.4, is " + now.at("oneDNN");
  EXPECT_EQ(count(ended.output, wanted + "\n"), 1) << ended.output;
  EXPECT_EQ(warnings(file("other")), std::vector<std::string>{wanted});
  // What goes on here is computed with what is here.
  EXPECT_TRUE(read_file(checkpoint("other", kLast)) == read_file(checkpoint("calm", kLast)));
}

TEST_F(ComputedWith, EqualVersionsAndCheckpointsWithoutThemAreNoNews) {
  interrupt("equal", [](CheckpointInfo&) {});
  interrupt("older", [](CheckpointInfo& info) {
    std::erase_if(info.texts, [](const auto& text) { return text.first.starts_with(kPrefix); });
  });
  for (const char* run : {"equal", "older"}) {
    const Ended ended = resume(run);
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_FALSE(has(ended, "warning")) << ended.output;
    EXPECT_TRUE(warnings(file(run)).empty());
    EXPECT_TRUE(read_file(checkpoint(run, kLast)) == read_file(checkpoint("calm", kLast))) << run;
  }
}

TEST_F(ComputedWith, ForeignTextsAreShownSafelyAndShort) {
  const std::string bell = "\x1b]0;title\a\n  injected: line\n";
  interrupt("hostile", [&](CheckpointInfo& info) {
    info.texts[kPrefix + "oneDNN"] = bell;
    info.texts[kPrefix + "MPI"] = std::string(30'000, 'x') + "END";
    info.texts[kPrefix + bell + "name"] = "value";
  });
  for (const std::string& words :
       {"inspect " + checkpoint("hostile", kStep), "inspect --json " + checkpoint("hostile", kStep),
        train("hostile") + "--resume auto"}) {
    const Ended ended = lockstep(words);
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_TRUE(has(ended, "oneDNN")) << ended.output;
    EXPECT_EQ(ended.output.find_first_of("\x1b\a"), std::string::npos) << words;
    EXPECT_FALSE(has(ended, "\n  injected")) << words;
    if (words.find("--json") == std::string::npos) {
      EXPECT_FALSE(has(ended, "END")) << words;
    }
  }
  ASSERT_EQ(warnings(file("hostile")).size(), 1U);
  EXPECT_LT(warnings(file("hostile"))[0].size(), 1000U);
}

TEST_F(ComputedWith, WhatAGpuHasTrainedIsOfUseWithoutOne) {
  interrupt("from_gpu", move_to_gpu);
  const std::string ours = checkpoint("calm", kStep), theirs = checkpoint("from_gpu", kStep);
  const auto outcome = [&](const std::string& before, const std::string& path, const std::string& after) {
    const Ended ended = lockstep(before + path + after);
    EXPECT_EQ(ended.status, 0) << ended.output;
    return ended.output.substr(ended.output.find('\n'));
  };
  const std::string evaluate = " --data " + file("val.h5") + " --json";
  const Ended evaluated = lockstep("evaluate " + theirs + evaluate);
  EXPECT_EQ(evaluated.status, 0) << evaluated.output;
  EXPECT_TRUE(has(evaluated, "\"accuracy\": ")) << evaluated.output;
  const auto exported = [&](const std::string& path, const std::string& name) {
    const Ended ended = lockstep("export " + path + " --out " + file(name));
    EXPECT_EQ(ended.status, 0) << ended.output;
    return read_file(file(name));
  };
  const std::string weights = exported(theirs, "theirs.safetensors");
  EXPECT_FALSE(weights.empty());
  EXPECT_TRUE(weights == exported(ours, "ours.safetensors"));
  const auto predicted = [&](const std::string& path, const std::string& name) {
    const Ended ended = lockstep("predict " + path + " --data " + file("val.h5") + " --out " + file(name));
    EXPECT_EQ(ended.status, 0) << ended.output;
    return read_file(file(name));
  };
  const std::string predictions = predicted(theirs, "theirs.csv");
  EXPECT_FALSE(predictions.empty());
  EXPECT_TRUE(predictions == predicted(ours, "ours.csv"));
  EXPECT_EQ(lockstep("inspect " + theirs).status, 0);
  EXPECT_EQ(lockstep("verify " + theirs).status, 0);
  EXPECT_EQ(outcome("evaluate ", theirs, " --data " + file("val.h5")),
            outcome("evaluate ", ours, " --data " + file("val.h5")));
}

// Where training goes on is said by the job that is given now.
TEST_F(ComputedWith, AGpuJobIsResumedOnTheCpuWhereTheJobSaysSo) {
  interrupt("goes_on", move_to_gpu);
  const std::string on_gpu = "--set device=cuda --set precision=float16 ";
  const Ended refused = resume("goes_on", on_gpu, 2);
  EXPECT_EQ(refused.status, 1) << refused.output;
  EXPECT_TRUE(has(refused, "--set device=cpu --set precision=float32")) << refused.output;
  EXPECT_EQ(count(refused.output, "remedy: "), 1) << refused.output;
  const Ended half = resume("goes_on", on_gpu + "--set device=cpu");
  EXPECT_EQ(half.status, 1) << half.output;
  EXPECT_TRUE(has(half, "--set precision=float32")) << half.output;

  const Ended ended = resume("goes_on", on_gpu + "--set device=cpu --set precision=float32");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(has(ended, "so bits may differ from here on: device was NVIDIA H200, is ")) << ended.output;
  EXPECT_TRUE(has(ended, "; precision was float16, is float32\n")) << ended.output;
  EXPECT_FALSE(has(ended, "cuDNN")) << ended.output;  // of another kind of device: that one says it all
  EXPECT_TRUE(has(ended, "finished after step 24")) << ended.output;
}

}  // namespace
}  // namespace lockstep
