// Several checkpoints as one: ensembles and averaged weights against means by hand; weights as .npz.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "io/checkpoint/checkpoint.h"
#include "io/dataset/dataset.h"
#include "io/formats/npy_file.h"
#include "io/formats/zip_file.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

class Ensembles : public SmallRuns {
 protected:
  static void SetUpTestSuite() {
    SmallRuns::SetUpTestSuite();
    if (!has_h5py()) return;
    // Three networks of other seeds, and one of another shape.
    for (const char* seed : {"1", "2", "3"})
      ASSERT_EQ(lockstep(train("seed" + std::string(seed)) + "--set seed=" + seed).status, 0);
    ASSERT_EQ(lockstep(train("wide") + "--set model.hidden=[9]").status, 0);
    ASSERT_EQ(lockstep(train("hinged") + "--set loss=hinge").status, 0);
  }
  static std::string last(const std::string& run) { return file(run + "/checkpoints/last.h5"); }
  static std::string all() { return last("seed1") + " --with " + last("seed2") + " --with " + last("seed3"); }
  static std::vector<float> read(const std::string& path, const std::string& field, int64_t n) {
    const Dataset dataset = Dataset::open(path);
    std::vector<float> values(static_cast<size_t>(dataset.n_samples() * n));
    dataset.read(field, 0, dataset.n_samples(), values.data());
    return values;
  }
  static double number_in(const std::string& json, const std::string& key) {
    const size_t at = json.find("\"" + key + "\": ");
    EXPECT_NE(at, std::string::npos) << json;
    return std::stod(json.substr(at + key.size() + 4));
  }
};

TEST_F(Ensembles, AverageProbabilities) {
  std::vector<double> mean(32 * 4);
  for (const char* seed : {"1", "2", "3"}) {
    const std::string out = file("p" + std::string(seed) + ".h5");
    ASSERT_EQ(lockstep("predict " + last("seed" + std::string(seed)) + " --data " + file("val.h5") +
                       " --out " + out)
                  .status,
              0);
    const std::vector<float> one = read(out, "probability", 4);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += double{one[i]} / 3;
  }
  for (const int ranks : {1, 2, 4})
    ASSERT_EQ(lockstep_on(ranks, "predict " + all() + " --data " + file("val.h5") + " --out " +
                                     file("e" + std::to_string(ranks) + ".h5"))
                  .status,
              0);
  const std::vector<float> together = read(file("e1.h5"), "probability", 4);
  double loss = 0;
  int n_right = 0;
  for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(together[i], mean[i], 1e-6);
  for (size_t row = 0; row < 32; ++row) {
    loss -= std::log(mean[row * 4 + row % 4]) / 32;
    const auto begin = mean.begin() + static_cast<int64_t>(row) * 4;
    n_right += static_cast<size_t>(std::max_element(begin, begin + 4) - begin) == row % 4;
  }
  EXPECT_EQ(read(file("e1.h5"), "output", 4), read(file("e2.h5"), "output", 4));
  EXPECT_EQ(read(file("e1.h5"), "output", 4), read(file("e4.h5"), "output", 4));
  const std::string words =
      "evaluate " + all() + " --json --metrics 'accuracy, perplexity' --data " + file("val.h5");
  const Ended judged = lockstep(words);
  ASSERT_EQ(judged.status, 0) << judged.output;
  EXPECT_EQ(lockstep_on(2, words).output, judged.output);
  EXPECT_NEAR(number_in(judged.output, "loss"), loss, 1e-6);
  EXPECT_EQ(number_in(judged.output, "accuracy"), n_right / 32.0);
  EXPECT_NEAR(number_in(judged.output, "perplexity"), std::exp(loss), 1e-5);
  EXPECT_EQ(number_in(judged.output, "samples"), 32);
  EXPECT_EQ(count(judged.output, "\"with\": ["), 1);
  // A network with itself is that network.
  const Ended alone = lockstep("evaluate " + last("seed1") + " --json --data " + file("val.h5")),
              twice = lockstep("evaluate " + last("seed1") + " --with " + last("seed1") + " --json --data " +
                               file("val.h5"));
  EXPECT_NEAR(number_in(twice.output, "loss"), number_in(alone.output, "loss"), 1e-6);
  EXPECT_EQ(number_in(twice.output, "accuracy"), number_in(alone.output, "accuracy"));
  EXPECT_EQ(twice.output.substr(twice.output.find("\"confusion\"")),
            alone.output.substr(alone.output.find("\"confusion\"")));
}

// Folds measure their own mean and deviation: members get the input as they know it. 255 x of a uint8 field
// would be another matter; here the two normalisations are of one float32 field with recorded statistics.
TEST_F(Ensembles, MembersMayNormaliseOtherwise) {
  ASSERT_EQ(
      run_h5py(
          file(""),
          "for name, mean, std in (('na', [0.5] * 4, [2] * 4), ('nb', [-1, 0, 1, 2], [1, 3, 2, 1])):\n"
          "    with h5py.File(folder + '/train.h5') as t, h5py.File(folder + '/' + name + '.h5', 'w') as f:\n"
          "        f['input'] = t['input'][()]\n"
          "        f['target'] = t['target'][()]\n"
          "        f['input'].attrs['mean'] = np.array(mean, 'f8')\n"
          "        f['input'].attrs['stddev'] = np.array(std, 'f8')\n"),
      "");
  std::vector<double> mean(32 * 4);
  for (const char* name : {"na", "nb"}) {
    ASSERT_EQ(lockstep(train(name) + data("train", name)).status, 0);
    ASSERT_EQ(lockstep("predict " + last(name) + " --data " + file("val.h5") + " --out " +
                       file(std::string("p_") + name + ".h5"))
                  .status,
              0);
    const std::vector<float> one = read(file(std::string("p_") + name + ".h5"), "probability", 4);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += double{one[i]} / 2;
  }
  ASSERT_EQ(lockstep("predict " + last("na") + " --with " + last("nb") + " --data " + file("val.h5") +
                     " --out " + file("p_both.h5"))
                .status,
            0);
  const std::vector<float> both = read(file("p_both.h5"), "probability", 4);
  for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(both[i], mean[i], 2e-6);
}

TEST_F(Ensembles, RefuseMembersThatDoNotFit) {
  for (const auto& [with, says] : {std::pair{"hinged", "was trained with hinge"}, {"none", "none"}}) {
    const Ended ended =
        lockstep_on(2, "evaluate " + last("seed1") + " --with " + last(with) + " --data " + file("val.h5"));
    EXPECT_EQ(ended.status, 1);
    EXPECT_SAYS(ended, says);
  }
  // Of the same inputs and classes, whatever lies between them.
  EXPECT_EQ(
      lockstep("evaluate " + last("seed1") + " --with " + last("wide") + " --data " + file("val.h5")).status,
      0);
}

TEST_F(Ensembles, AveragedWeightsAreTheMean) {
  const std::string three = last("seed1") + " " + last("seed2") + " " + last("seed3");
  for (const int ranks : {1, 2}) {
    const Ended ended =
        lockstep_on(ranks, "average " + three + " --out " + file("mean" + std::to_string(ranks) + ".h5"));
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  EXPECT_TRUE(read_file(file("mean1.h5")) == read_file(file("mean2.h5")));
  int n_compared = 0;
  for (const CheckpointEntry& entry : list_checkpoint(last("seed1"))) {
    if (!entry.name.starts_with("/parameters/")) continue;
    const auto n = static_cast<size_t>(entry.shape.n_elements());
    std::vector<double> sum(n);
    std::vector<float> values(n);
    for (const char* run : {"seed1", "seed2", "seed3"}) {
      load_checkpoint(last(run), {{entry.name, entry.shape, DType::kFloat32, values.data()}});
      for (size_t i = 0; i < n; ++i) sum[i] += double{values[i]};
    }
    load_checkpoint(file("mean1.h5"), {{entry.name, entry.shape, DType::kFloat32, values.data()}});
    for (size_t i = 0; i < n; ++i, ++n_compared) EXPECT_EQ(values[i], static_cast<float>(sum[i] / 3));
  }
  EXPECT_EQ(n_compared, 4 * 8 + 8 + 8 * 4 + 4);
  EXPECT_EQ(lockstep("verify " + file("mean1.h5")).status, 0);
  EXPECT_EQ(lockstep("evaluate " + file("mean1.h5") + " --data " + file("val.h5")).status, 0);
  const Ended trained = lockstep(train("from_mean") + "--resume " + file("mean1.h5"));
  EXPECT_EQ(trained.status, 0) << trained.output;
  const Ended kept = lockstep("average " + three + " --out " + file("mean1.h5"));
  EXPECT_EQ(kept.status, 1);
  EXPECT_SAYS(kept, "--overwrite");
  const Ended other = lockstep("average " + last("seed1") + " " + last("wide") + " --out " + file("no.h5"));
  EXPECT_EQ(other.status, 1);
  EXPECT_SAYS(other, "where the first one has");
  EXPECT_FALSE(fs::exists(file("no.h5")));
  EXPECT_EQ(lockstep("average " + last("seed1") + " --out " + file("no.h5")).status, 2);
}

TEST_F(Ensembles, StatisticsAreMadeAnewForAveragedWeights) {
  write_file(
      file("bn.yaml"),
      "name: bn\nmodel: {layers: [{batch_norm: {name: bn}}, {affine: 8}, {batch_norm: {name: bn2}}, relu, "
      "{affine: 4}]}\ndata: {train: {path: " +
          file("train.h5") +
          "}}\nbatch: {global: 8, micro: 8}\noptimizer: {sgd: {lr: 0.1}}\naverage: "
          "{ema: 0.9}\n"
          "train: {epochs: 2}\n");
  for (const char* seed : {"1", "2"})
    ASSERT_EQ(lockstep("train " + file("bn.yaml") + " --out " + file(std::string("bn") + seed) +
                       " --set seed=" + seed)
                  .status,
              0);
  const std::string two = last("bn1") + " " + last("bn2");
  for (const int ranks : {1, 2}) {
    const Ended ended = lockstep_on(ranks, "average " + two + " --statistics " + file("train.h5") +
                                               " --out " + file("renewed" + std::to_string(ranks) + ".h5"));
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_SAYS(ended, "those of 64 samples");
  }
  EXPECT_TRUE(read_file(file("renewed1.h5")) == read_file(file("renewed2.h5")));
  const auto statistic = [&](const std::string& checkpoint, const std::string& name, int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    load_checkpoint(checkpoint, {{"/buffers/" + name, Shape{n}, DType::kFloat32, values.data()}});
    return values;
  };
  // The first one sees the inputs.
  const Dataset data = Dataset::open(file("train.h5"));
  std::vector<float> inputs(64 * 4);
  data.read("input", 0, 64, inputs.data());
  const std::vector<float> first = statistic(file("renewed1.h5"), "bn.running_mean", 4);
  const std::vector<float> variances = statistic(file("renewed1.h5"), "bn.running_var", 4);
  for (size_t c = 0; c < 4; ++c) {
    double sum = 0, squares = 0;
    for (size_t i = c; i < inputs.size(); i += 4) sum += inputs[i], squares += inputs[i] * inputs[i];
    EXPECT_NEAR(first[c], sum / 64, 1e-5) << c;
    const double variance = squares / 64 - sum / 64 * sum / 64;
    EXPECT_NEAR(variances[c], variance, 0.15 * variance) << c;  // of batches of eight
  }
  // The second one sees what the averaged weights make of the first one's output, whose mean is its bias.
  std::vector<float> bias(8);
  for (const CheckpointEntry& entry : list_checkpoint(file("renewed1.h5")))
    if (entry.name == "/parameters/affine1.bias")
      load_checkpoint(file("renewed1.h5"), {{entry.name, entry.shape, DType::kFloat32, bias.data()}});
  std::vector<float> weights(4), shift(4), matrix(32);
  load_checkpoint(file("renewed1.h5"),
                  {{"/parameters/bn.bias", Shape{4}, DType::kFloat32, shift.data()},
                   {"/parameters/affine1.weight", Shape{8, 4}, DType::kFloat32, matrix.data()}});
  const std::vector<float> second = statistic(file("renewed1.h5"), "bn2.running_mean", 8);
  for (size_t o = 0; o < 8; ++o) {
    double expected = bias[o];
    for (size_t i = 0; i < 4; ++i) expected += static_cast<double>(matrix[o * 4 + i]) * shift[i];
    EXPECT_NEAR(second[o], expected, 1e-4) << o;
  }
  // Running averages of one run, with statistics of their own.
  const Ended one = lockstep("average " + last("bn1") + " --average --statistics " + file("train.h5") +
                             " --samples 20 --out " + file("ema.h5"));
  ASSERT_EQ(one.status, 0) << one.output;
  EXPECT_SAYS(one, "those of 24 samples");
  EXPECT_EQ(lockstep("evaluate " + file("ema.h5") + " --data " + file("val.h5")).status, 0);
  const Ended none = lockstep_on(2, "average " + last("seed1") + " " + last("seed2") + " --statistics " +
                                        file("train.h5") + " --out " + file("no2.h5"));
  EXPECT_EQ(none.status, 1);
  EXPECT_SAYS(none, "has no batch normalisation");
}

TEST_F(Ensembles, WeightsLeaveAsNpz) {
  ASSERT_EQ(lockstep("export " + last("seed1") + " --out " + file("w.npz")).status, 0);
  ASSERT_EQ(lockstep("export " + last("seed1") + " --to npz --out " + file("v.bin")).status, 0);
  EXPECT_TRUE(read_file(file("w.npz")) == read_file(file("v.bin")));
  const ZipFile archive(file("w.npz"));
  int n_arrays = 0;
  for (const CheckpointEntry& entry : list_checkpoint(last("seed1"))) {
    if (!entry.name.starts_with("/parameters/")) continue;
    const ZipFile::Entry* found = archive.find(entry.name.substr(12) + ".npy");
    ASSERT_NE(found, nullptr) << entry.name;
    const std::string array = file("array" + std::to_string(n_arrays++) + ".npy");
    archive.extract(*found, array);  // compares the CRC
    NpyFile npy(array);
    EXPECT_EQ(npy.n_rows(), entry.shape[0]);
    EXPECT_TRUE(npy.shape() == entry.shape.without_front());
    EXPECT_EQ(npy.dtype(), DType::kFloat32);
    const auto n = static_cast<size_t>(entry.shape.n_elements()), row = n / static_cast<size_t>(npy.n_rows());
    std::vector<float> expected(n), values(n);
    load_checkpoint(last("seed1"), {{entry.name, entry.shape, DType::kFloat32, expected.data()}});
    for (int64_t r = 0; r < npy.n_rows(); ++r)
      npy.read_row(r, reinterpret_cast<std::byte*>(values.data() + static_cast<size_t>(r) * row));
    EXPECT_EQ(values, expected) << entry.name;
  }
  EXPECT_EQ(n_arrays, 4);
  EXPECT_EQ(archive.entries().size(), 4u);
  EXPECT_EQ(run_h5py(file(""),
                     "z = np.load(folder + '/w.npz')\n"
                     "with h5py.File(folder + '/seed1/checkpoints/last.h5') as f:\n"
                     "    p = f['parameters']\n"
                     "    assert sorted(z.files) == sorted(p), z.files\n"
                     "    for k in p: assert z[k].dtype == 'f4' and np.array_equal(z[k], p[k][()]), k\n"),
            "");
}

}  // namespace
}  // namespace lockstep
