// Training on mixed samples, and runs that end with their best weights: the same bits on any number of ranks
// and over a resume.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

class Mixing : public SmallRuns {};

TEST_F(Mixing, TrainsTheSameBitsOnAnyNumberOfRanksAndResumes) {
  const std::string mix = "--set batch.micro=2 --set data.mixup=0.4 ",
                    last = "/checkpoints/step-000000024.h5";
  for (const int ranks : {1, 2, 4}) {
    const Ended ended = lockstep_on(ranks, train("mix" + std::to_string(ranks)) + mix);
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  ASSERT_EQ(lockstep_on(2, train("mixed_resumed") + mix + "--set 'train={steps: 12}'").status, 0);
  ASSERT_EQ(lockstep_on(4, train("mixed_resumed") + mix + "--resume auto").status, 0);
  const std::string bytes = read_file(file("mix1") + last);
  ASSERT_GT(bytes.size(), 1000u);
  for (const char* run : {"mix2", "mix4", "mixed_resumed"})
    EXPECT_TRUE(bytes == read_file(file(run) + last)) << run;
  ASSERT_EQ(lockstep(train("unmixed") + "--set batch.micro=2").status, 0);
  EXPECT_FALSE(bytes == read_file(file("unmixed") + last));
  // p: 0 mixes nothing, and is the plain run up to the job that the checkpoint keeps.
  ASSERT_EQ(lockstep(train("never") + "--set batch.micro=2 --set 'data.mixup={p: 0}'").status, 0);
  EXPECT_EQ(lockstep("evaluate " + file("never") + last + " --data " + file("val.h5")).output,
            lockstep("evaluate " + file("unmixed") + last + " --data " + file("val.h5")).output);
}

TEST_F(Mixing, IsRefusedWhereItHasNoMeaning) {
  for (const auto& [set, says] :
       {std::pair{"data.mixup=0", "must lie in (0, 1000]"},
        {"'data.mixup={p: 2}'", "must lie in [0, 1]"},
        {"'data={train: a, mixup: {p: 0.7}, cutmix: {p: 0.7}}'", "a micro-batch is mixed in one way"},
        {"data.cutmix=1", "cuts boxes out of images"},
        {"batch.micro=1 --set data.mixup=1", "which holds a single one"},
        {"loss=hinge --set data.mixup=1", "the loss hinge has no label of probabilities"},
        {"train.stop_when=no_mistakes --set data.mixup=1", "mixed samples have two of them"},
        {"data.mixup.alhpa=1", "did you mean 'alpha'?"}}) {
    const Ended ended = lockstep_on(2, train("refused") + "--set " + set);
    EXPECT_EQ(ended.status, 1) << set;
    EXPECT_SAYS(ended, says);
  }
  EXPECT_FALSE(fs::exists(file("refused/checkpoints/last.h5")));
}

class RestoreBest : public SmallRuns {
 protected:
  /// A rate at which the validation loss soon rises.
  static std::string words(const std::string& out) {
    return train(out) +
           "--set optimizer.lr=3 --set train.epochs=6 --set train.restore_best=true "
           "--set checkpoint.best=loss --set 'train.early_stopping={patience: 2}' ";
  }
};

TEST_F(RestoreBest, EndsWithTheWeightsOfTheBestValidation) {
  for (const int ranks : {1, 2}) {
    const std::string run = "best" + std::to_string(ranks);
    const Ended ended = lockstep_on(ranks, words(run));
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_SAYS(ended, "stopped early");
    const std::string folder = file(run + "/checkpoints/");
    EXPECT_EQ(fs::read_symlink(folder + "last.h5"), fs::read_symlink(folder + "best.h5"));
    const std::string log = read_file(file(run + "/metrics.jsonl"));
    EXPECT_EQ(count(log, "\"restored_step\": "), 1) << log;
    EXPECT_EQ(lockstep("verify " + file(run)).status, 0);
  }
  // The run as it was trained, to its end, is still there.
  ASSERT_EQ(
      lockstep(train("best_not") + "--set optimizer.lr=3 --set train.epochs=6 --set checkpoint.best=loss "
                                   "--set 'train.early_stopping={patience: 2}'")
          .status,
      0);
  EXPECT_NE(fs::read_symlink(file("best_not/checkpoints/last.h5")),
            fs::read_symlink(file("best_not/checkpoints/best.h5")));
}

TEST_F(RestoreBest, NeedsValidationData) {
  write_file(
      file("blind.yaml"),
      "name: blind\nmodel: {zoo: mlp, classes: 4, hidden: [8]}\ndata: {train: {path: " + file("train.h5") +
          "}}\nbatch: 8\noptimizer: adam\ntrain: {epochs: 1, restore_best: true}\n");
  const Ended ended = lockstep("train " + file("blind.yaml") + " --out " + file("blind"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "restore_best: needs validation data");
}

}  // namespace
}  // namespace lockstep
