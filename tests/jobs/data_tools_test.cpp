// Data as users meet it: archives converted and split on 1, 2 and 4 ranks, what inspect says of them,
// training with balanced classes and a mean image on any number of ranks.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/dataset/dataset.h"
#include "tests/io/archives.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::elements_of;
using testing::make_npy;
using testing::make_zip;

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

/// 240 grey images of 6 x 6 in four classes of 120, 80, 30 and 10, told apart by their brightness.
std::string make_images(const TemporaryFolder& folder) {
  std::vector<uint8_t> pixels, labels;
  for (int i = 0; i < 240; ++i) {
    const int label = i % 24 < 12 ? 0 : i % 24 < 20 ? 1 : i % 24 < 23 ? 2 : 3;
    labels.push_back(static_cast<uint8_t>(label));
    for (int p = 0; p < 36; ++p) pixels.push_back(static_cast<uint8_t>(60 * label + (i * 31 + p * 17) % 40));
  }
  write_file(folder.file("m.npz"),
             make_zip({{"images.npy", make_npy("|u1", "(240, 6, 6)", elements_of(pixels))},
                       {"labels.npy", make_npy("|u1", "(240,)", elements_of(labels))}},
                      true));
  return folder.file("m.npz");
}

void expect_equal_files(const std::string& a, const std::string& b) {
  const std::string bytes = read_file(a);
  EXPECT_FALSE(bytes.empty()) << a;
  EXPECT_TRUE(bytes == read_file(b)) << a << " and " << b;
}

TEST(DataTools, ConvertAndSplitGiveTheSameBytesOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  const std::string archive = make_images(folder);
  const std::string parts = " --into train=0.6,validation=0.2,test=0.2 --stratify --shards 3 --out ";
  for (const int ranks : {1, 2, 4}) {
    const std::string n = std::to_string(ranks);
    const Ended converted =
        lockstep_on(ranks, "convert npz " + archive + " --shards 3 --out " + folder.file("all" + n));
    ASSERT_EQ(converted.status, 0) << converted.output;
    EXPECT_SAYS(converted, "taken: 240 rows of uint8 (1, 6, 6), with labels (images and labels)");
    const Ended split =
        lockstep_on(ranks, "split " + folder.file("all" + n) + parts + folder.file("parts" + n));
    ASSERT_EQ(split.status, 0) << split.output;
    EXPECT_SAYS(split, "parts" + n + "/train: 144 samples in 3 files");
  }
  int n_compared = 0;
  for (const char* n : {"2", "4"})
    for (const char* part : {"all", "parts?/train", "parts?/validation", "parts?/test"})
      for (const char* shard : {"/shard-00000.h5", "/shard-00001.h5", "/shard-00002.h5"}) {
        std::string one = part, other = part;
        if (one == "all") one += "1", other += n;
        if (const size_t at = one.find('?'); at != std::string::npos)
          one.replace(at, 1, "1"), other.replace(at, 1, n);
        expect_equal_files(folder.file(one + shard), folder.file(other + shard));
        ++n_compared;
      }
  EXPECT_EQ(n_compared, 24);
  EXPECT_EQ(lockstep("verify " + folder.file("parts2/test")).status, 0);
  const Ended again = lockstep("split " + folder.file("all1") + parts + folder.file("parts1"));
  EXPECT_EQ(again.status, 1);
  EXPECT_SAYS(again, "the output folder is not empty");
  EXPECT_EQ(lockstep("split " + folder.file("all1") + parts + folder.file("parts1") + " --overwrite").status,
            0);
  const Ended mistaken =
      lockstep("split " + folder.file("all1") + " --into train=0.5 --out " + folder.file("x"));
  EXPECT_EQ(mistaken.status, 1);
  EXPECT_SAYS(mistaken, "names one part only");
  const Ended both = lockstep("split " + folder.file("all1") + parts + folder.file("x") + " --in-order");
  EXPECT_EQ(both.status, 2);
  EXPECT_SAYS(both, "exclude each other");
  const Ended rare = lockstep_on(2, "split " + folder.file("all1") +
                                        " --into train=0.99,test=0.01 --stratify --out " + folder.file("x"));
  EXPECT_EQ(rare.status, 1);
  EXPECT_EQ(count(rare.output, "would have no sample in a part: train"), 1) << rare.output;
  EXPECT_FALSE(fs::exists(folder.file("x")));
}

TEST(DataTools, InspectShowsWhatIsThere) {
  const TemporaryFolder folder;
  write_file(folder.file("t.csv"), "a,b,kind\n1.5,2,cat\n1.5,2,dog\n4.25,-7,cat\n1.5,2,cat\n");
  ASSERT_EQ(
      lockstep("convert csv " + folder.file("t.csv") + " --out " + folder.file("t") + " --shards 2").status,
      0);
  const Ended shown = lockstep("inspect " + folder.file("t"));
  EXPECT_SAYS(shown, "4 samples in 2 files, 64 B");
  EXPECT_SAYS(shown, "from -7 to 4.25");
  EXPECT_SAYS(shown, "2 classes in 'label': 1 to 3 samples each");
  EXPECT_SAYS(shown, "3  ████████████████████████████████████████\n");
  EXPECT_SAYS(shown, "1  █████████████\n");
  EXPECT_SAYS(shown,
              "2 samples are equal in 'input' to an earlier one, 1 of them in another class, for instance "
              "rows 0 and 1");
  const Ended json = lockstep("inspect --json " + folder.file("t"));
  EXPECT_SAYS(json, "\"min\": -7, \"max\": 4.25, \"mean_of_values\": 0.96875, \"nan\": 0, \"infinite\": 0");
  EXPECT_SAYS(json, "\"class_counts\": {\"0\": 3, \"1\": 1}");
  EXPECT_SAYS(json, "\"duplicates\": 2, \"duplicates_of_another_class\": 1");
  write_hdf5(folder.file("n.h5"),
             {{"x", {2, 3}, "float32", {1, NAN, 3, INFINITY, 5, -2}}, {"y", {2}, "float32", {1, 2}}});
  const Ended faulty = lockstep("inspect " + folder.file("n.h5"));
  EXPECT_SAYS(faulty, "from -2 to 5; mean 1.75; 1 NaN; 1 infinite");
  const Ended none = lockstep("inspect " + folder.file("t") + " --sheet " + folder.file("s.html"));
  EXPECT_EQ(none.status, 1);
  EXPECT_SAYS(none, "holds no images of 1 or 3 channels");

  ASSERT_EQ(lockstep("convert npz " + make_images(folder) + " --out " + folder.file("m")).status, 0);
  ASSERT_EQ(lockstep("inspect " + folder.file("m") + " --sheet " + folder.file("s.html")).status, 0);
  const std::string page = read_file(folder.file("s.html"));
  EXPECT_EQ(count(page, "<img alt=\"row "), 40);
  EXPECT_EQ(count(page, "<h2>"), 4);
  EXPECT_NE(page.find("<h2>0 <span>120 samples</span></h2>"), std::string::npos);
  EXPECT_NE(page.find("<figcaption>23</figcaption>"), std::string::npos);  // the first of class 3
  ASSERT_EQ(lockstep("inspect " + folder.file("m") + " --sheet " + folder.file("s.png")).status, 0);
  EXPECT_TRUE(read_file(folder.file("s.png")).starts_with("\x89PNG"));
  const Ended kept = lockstep("inspect " + folder.file("m") + " --sheet " + folder.file("s.png"));
  EXPECT_EQ(kept.status, 1);
  EXPECT_SAYS(kept, "--overwrite");
  EXPECT_SAYS(lockstep("inspect " + folder.file("m") + " --overwrite --sheet " + folder.file("s.gif")),
              "neither FILE.html nor FILE.png");
}

TEST(DataTools, BalancedTrainingHasTheSameBitsOnAnyNumberOfRanksAndResumes) {
  const TemporaryFolder folder;
  ASSERT_EQ(lockstep("convert npz " + make_images(folder) + " --out " + folder.file("m")).status, 0);
  write_file(folder.file("job.yaml"),
             "name: balanced\nmodel: {zoo: mlp, hidden: [8], classes: 4}\ndata:\n  train: " +
                 folder.file("m") + "\n  validation: " + folder.file("m") +
                 "\n  order: balanced\n  normalize: mean_image\nbatch: {global: 32, micro: 4}\n"
                 "loss: {softmax_cross_entropy: {class_weights: balanced}}\noptimizer: {sgd: {lr: 0.05}}\n"
                 "train: {epochs: 3}\ncheckpoint: {every_steps: 5, keep: 0}\n");
  const auto train = [&](int ranks, const std::string& out, const std::string& more = "") {
    return lockstep_on(ranks, "train " + folder.file("job.yaml") + " --out " + folder.file(out) + " " + more);
  };
  for (const int ranks : {1, 2, 4}) {
    const Ended ended = train(ranks, "run" + std::to_string(ranks));
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  // Ended on two ranks, gone on with on four.
  ASSERT_EQ(train(2, "resumed", "--set train.epochs=1").status, 0);
  ASSERT_EQ(train(4, "resumed", "--resume auto").status, 0);
  const std::string last = "/checkpoints/step-000000024.h5";
  ASSERT_TRUE(fs::exists(folder.file("run1" + last))) << lockstep("inspect " + folder.file("run1")).output;
  expect_equal_files(folder.file("run1" + last), folder.file("run2" + last));
  expect_equal_files(folder.file("run1" + last), folder.file("run4" + last));
  expect_equal_files(folder.file("run1" + last), folder.file("resumed" + last));
  // evaluate weighs as training did, and knows the mean image, from the checkpoint alone.
  const Ended inspected = lockstep("inspect --json " + folder.file("run1" + last));
  EXPECT_SAYS(inspected, "\"/buffers/input.mean\", \"dtype\": \"float32\", \"shape\": [36]");
  std::vector<float> mean(36);
  load_checkpoint(folder.file("run1" + last), {{"/buffers/input.mean", {36}, DType::kFloat32, mean.data()}});
  for (int p = 0; p < 36; ++p) {
    int64_t sum = 0;
    for (int i = 0; i < 240; ++i) {
      const int label = i % 24 < 12 ? 0 : i % 24 < 20 ? 1 : i % 24 < 23 ? 2 : 3;
      sum += 60 * label + (i * 31 + p * 17) % 40;
    }
    EXPECT_EQ(mean[static_cast<size_t>(p)], static_cast<float>(static_cast<double>(sum) / 240)) << p;
  }
  const Ended evaluated =
      lockstep("evaluate " + folder.file("run1" + last) + " --data " + folder.file("m") + " --json");
  EXPECT_EQ(evaluated.status, 0) << evaluated.output;
  const Ended weights = lockstep("train " + folder.file("job.yaml") + " --out " + folder.file("listed") +
                                 " --set loss.softmax_cross_entropy.class_weights=[0.5,0.75,2,6]");
  ASSERT_EQ(weights.status, 0) << weights.output;
  const Ended listed =
      lockstep("evaluate " + folder.file("listed" + last) + " --data " + folder.file("m") + " --json");
  EXPECT_EQ(listed.output.substr(listed.output.find("\"loss\"")),
            evaluated.output.substr(evaluated.output.find("\"loss\"")));
  const Ended plain = lockstep("train " + folder.file("job.yaml") + " --out " + folder.file("plain") +
                               " --set loss=softmax_cross_entropy");
  ASSERT_EQ(plain.status, 0) << plain.output;
  const Ended unweighted =
      lockstep("evaluate " + folder.file("plain" + last) + " --data " + folder.file("m") + " --json");
  EXPECT_NE(unweighted.output.substr(unweighted.output.find("\"loss\"")),
            listed.output.substr(listed.output.find("\"loss\"")));
  // Mistakes are one message.
  for (const auto& [set, says] : {std::pair{"data.shuffle=false", "which is an order of its own"},

                                  {"data.augment=[vignette]", "which augmentation moves"}}) {
    const Ended refused = train(2, "x", "--set '" + std::string(set) + "'");
    EXPECT_EQ(refused.status, 1) << refused.output;
    EXPECT_EQ(count(refused.output, says), 1) << refused.output;
  }
}

}  // namespace
}  // namespace lockstep
