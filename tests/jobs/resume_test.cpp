// What the numbers of a checkpoint mean: measure, data, classes, normalisation. What has changed at a resume
// is named and begins anew, or is refused; values that are not finite are named and never the best.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>

#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class Resumes : public SmallRuns {
 protected:
  /// A run of the name with only the checkpoints up to a step of a calm one.
  static void cut_off(const std::string& name, int last_step) {
    if (!fs::exists(file("calm"))) {
      ASSERT_EQ(lockstep(train("calm")).status, 0);
    }
    fs::copy(file("calm"), file(name), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    for (const std::string& path : list_checkpoints(file(name + "/checkpoints")))
      if (checkpoint_step(path) > last_step) fs::remove(path);
  }
  /// Of lines of a kind after a step: the members that do not depend on time.
  static std::vector<std::string> lines(const std::string& run, const std::string& kind, int after) {
    std::vector<std::string> found;
    for (const MetricsLine& line : read_metrics(file(run + "/metrics.jsonl"))) {
      const std::string* text = line.text("kind");
      const double* step = line.number("step");
      if (!text || *text != kind || !step || *step <= after) continue;
      std::string shown;
      for (const char* key : {"step", "epoch", "loss", "accuracy", "lr", "grad_norm"})
        if (const double* value = line.number(key)) shown += json_number(*value) + " ";
      found.push_back(shown);
    }
    return found;
  }
};

TEST_F(Resumes, TheFirstLineAfterwardsIsThatOfAnUndisturbedRun) {
  for (const int step : {3, 6, 9, 12}) {  // within intervals of 5 steps
    const std::string run = "middle" + std::to_string(step);
    cut_off(run, step);
    const Ended ended = lockstep_on(step % 2 + 1, train(run) + "--resume auto");
    ASSERT_EQ(ended.status, 0) << ended.output;
    const std::vector<std::string> wanted = lines("calm", "train", step);
    ASSERT_GE(wanted.size(), 3U);
    EXPECT_EQ(lines(run, "train", step), wanted) << step;
    EXPECT_EQ(lines(run, "validation", step), lines("calm", "validation", step));
    EXPECT_TRUE(read_file(checkpoint(run, 24)) == read_file(checkpoint("calm", 24)));
  }
}

TEST_F(Resumes, TheBestOfAnotherMeasureBeginsAnew) {
  cut_off("measure", 16);
  const Ended ended = lockstep(train("measure") + "--resume auto --set checkpoint.best=loss");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(has(ended, "compared by accuracy, softmax_cross_entropy")) << ended.output;
  EXPECT_TRUE(has(ended, "begin anew")) << ended.output;
  EXPECT_TRUE(std::regex_search(ended.output, std::regex("best validation loss 0\\.[0-9]+ \\(step 24\\)")))
      << ended.output;
  EXPECT_EQ(linked_checkpoint(file("measure/checkpoints"), kBestLink), 24);
}

TEST_F(Resumes, TheBestOnOtherValidationDataBeginsAnew) {
  cut_off("other", 16);
  const Ended ended = lockstep(train("other") + "--resume auto " + data("validation", "val2"));
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(has(ended, "the validation data have changed")) << ended.output;
  EXPECT_TRUE(has(ended, "(step 24)")) << ended.output;
  // The same samples in another file are the same data.
  cut_off("moved", 16);
  fs::copy(file("val.h5"), file("elsewhere.h5"), fs::copy_options::overwrite_existing);
  const Ended moved = lockstep(train("moved") + "--resume auto " + data("validation", "elsewhere"));
  ASSERT_EQ(moved.status, 0) << moved.output;
  EXPECT_FALSE(has(moved, "anew")) << moved.output;
}

TEST_F(Resumes, OtherTrainingDataAreRefused) {
  cut_off("data", 24);
  for (const char* name : {"smaller", "val"}) {
    const Ended ended = lockstep_on(2, train("data") + "--resume auto " + data("train", name));
    EXPECT_EQ(ended.status, 1) << ended.output;
    EXPECT_TRUE(has(ended, "it was trained on other data (64 samples")) << ended.output;
    EXPECT_EQ(count(ended.output, "lockstep: "), 1) << ended.output;
  }
  const Ended values =
      lockstep(train("data") + "--resume auto --set data.normalize=unit --set train.epochs=4");
  EXPECT_EQ(values.status, 1) << values.output;
  EXPECT_TRUE(has(values, "normalised with mean none")) << values.output;
}

TEST_F(Resumes, NothingOfLaterStepsStaysInTheWay) {
  cut_off("back", 24);
  ASSERT_TRUE(fs::exists(file("back/confusion.json")));
  const Ended ended = lockstep(train("back") + "--resume " + checkpoint("back", 9) +
                               " --set train.epochs=2 " + data("validation", "nan"));
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_FALSE(fs::exists(file("back/confusion.json")));
  EXPECT_TRUE(fs::exists(checkpoint("back", 24) + ".superseded"));
  EXPECT_EQ(checkpoint_step(list_checkpoints(file("back/checkpoints")).back()), 16);
  EXPECT_EQ(linked_checkpoint(file("back/checkpoints"), kLastLink), 16);
  EXPECT_EQ(linked_checkpoint(file("back/checkpoints"), kBestLink), -1);
  const Ended again =
      lockstep(train("back") + "--resume auto --set train.epochs=2 " + data("validation", "nan"));
  EXPECT_TRUE(has(again, "finished after step 16")) << again.output;
}

TEST_F(Resumes, ClassNamesAreCompared) {
  const Ended refused = lockstep(train("names") + data("train", "named") + data("validation", "gap"));
  EXPECT_EQ(refused.status, 1) << refused.output;
  EXPECT_TRUE(has(refused, "3 (ant, cat, dog), trained 4 (ant, bee, cat, dog)")) << refused.output;
  const Ended ended = lockstep(train("names") + data("train", "named") + data("validation", "first"));
  ASSERT_EQ(ended.status, 0) << ended.output;
  for (const char* name : {"gap", "renamed"}) {
    const Ended evaluated =
        lockstep("evaluate " + checkpoint("names", 24) + " --data " + file(std::string(name) + ".h5"));
    EXPECT_EQ(evaluated.status, 1) << evaluated.output;
    EXPECT_TRUE(has(evaluated, "trained 4 (ant, bee, cat, dog)")) << evaluated.output;
  }
  EXPECT_EQ(lockstep("evaluate " + checkpoint("names", 24) + " --data " + file("named.h5")).status, 0);
  EXPECT_EQ(lockstep("evaluate " + checkpoint("names", 24) + " --data " + file("val.h5")).status, 0);
  const Ended resumed = lockstep(train("names") + "--resume auto --set train.epochs=4 " +
                                 data("train", "renamed") + data("validation", "val"));
  EXPECT_EQ(resumed.status, 1) << resumed.output;
  EXPECT_TRUE(has(resumed, "mean other classes: 4 (ant, bee, cat, dog), those of the job's data 4 (bee, ant"))
      << resumed.output;
}

TEST_F(Resumes, MoreClassesThanTheDataAreTold) {
  const Ended ended = lockstep_on(2, train("ten") + "--set model.classes=10");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(count(ended.output, "the model tells 10 classes apart, the largest label"), 1) << ended.output;
  const Ended named = lockstep(train("six") + "--set model.classes=6 " + data("train", "named"));
  EXPECT_EQ(count(named.output, "the model tells 6 classes apart, " + file("named.h5") + " names 4"), 1)
      << named.output;
  EXPECT_FALSE(has(lockstep(train("four") + "--set model.classes=4"), "classes apart"));
}

TEST_F(Resumes, ValuesThatAreNotFiniteAreNamedAndNeverTheBest) {
  const std::string where = file("nan.h5") + ": field 'input' of row 17 holds a value that is not finite";
  const Ended ended = lockstep_on(2, train("nan") + data("validation", "nan") +
                                         "--set train.early_stopping.patience=1 --set train.epochs=4");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_TRUE(has(ended, where)) << ended.output;
  EXPECT_TRUE(has(ended, "finished after step 32")) << ended.output;
  EXPECT_FALSE(has(ended, "best")) << ended.output;
  EXPECT_FALSE(fs::exists(file("nan/checkpoints/best.h5")));
  for (const int ranks : {1, 2}) {
    const std::string words = "evaluate " + checkpoint("nan", 32) + " --data " + file("nan.h5");
    EXPECT_TRUE(has(lockstep_on(ranks, words), where));
    EXPECT_TRUE(has(lockstep_on(ranks, words + " --json"), "\"not_finite\": \"" + where));
    const Ended predicted =
        lockstep_on(ranks, "predict " + checkpoint("nan", 32) + " --data " + file("nan.h5") +
                               " --overwrite --out " + file("nan.out.h5"));
    EXPECT_EQ(predicted.status, 0) << predicted.output;
    EXPECT_TRUE(has(predicted, where)) << predicted.output;
  }
}

TEST_F(Resumes, ABadLabelInTheLastRowCostsNoState) {
  ASSERT_EQ(run_h5py(file(""),
                     "x = h5py.File(folder + '/train.h5')['input'][...]\n"
                     "y = h5py.File(folder + '/train.h5')['target'][...]\n"
                     "y[-1] = 77\n"
                     "with h5py.File(folder + '/bad.h5', 'w') as f:\n"
                     "    f['input'] = x\n"
                     "    f['target'] = y\n"),
            "");
  const std::string options =
      data("train", "bad") + "--set data.shuffle=false --set checkpoint.every_steps=0 --set data.prefetch=1";
  for (const int ranks : {1, 2}) {
    const std::string run = "bad" + std::to_string(ranks);
    const Ended ended = lockstep_on(ranks, train(run) + options);
    EXPECT_NE(ended.status, 0);
    EXPECT_TRUE(has(ended, "77")) << ended.output;
    EXPECT_FALSE(list_checkpoints(file(run + "/checkpoints")).empty()) << ended.output;
  }
}

TEST_F(Resumes, ALossThatIsNotFiniteCostsNoState) {
  ASSERT_EQ(run_h5py(file(""),
                     "x = h5py.File(folder + '/train.h5')['input'][...]\n"
                     "y = h5py.File(folder + '/train.h5')['target'][...]\n"
                     "x[-1] = np.inf\n"
                     "with h5py.File(folder + '/inf.h5', 'w') as f:\n"
                     "    f['input'] = x\n"
                     "    f['target'] = y\n"),
            "");
  const Ended ended = lockstep_on(
      2, train("inf") + data("train", "inf") + "--set data.shuffle=false --set checkpoint.every_steps=0");
  EXPECT_EQ(ended.status, 1) << ended.output;
  ASSERT_EQ(list_checkpoints(file("inf/checkpoints")).size(), 1U) << ended.output;
  EXPECT_EQ(checkpoint_step(list_checkpoints(file("inf/checkpoints"))[0]), 7);
}

}  // namespace
}  // namespace lockstep
