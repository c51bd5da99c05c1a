// Jobs over data as other programs and people lay them out: the right numbers, or a sentence with the key
// that says what they are. The network is the identity or a table of numbers that h5py wrote.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(ended, part) EXPECT_NE((ended).output.find(part), std::string::npos) << (ended).output

class ForeignData : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_h5py()) GTEST_SKIP() << "no h5py here";
    // Images whose class is the channel that is bright; kept channels first and last.
    ASSERT_EQ(run_h5py(folder_.path(), R"(
import os
os.chdir(folder)
rng = np.random.default_rng(3)
Y = np.arange(240) % 3
X = rng.integers(0, 60, (240, 3, 8, 8), dtype='uint8')
X[np.arange(240), Y] += 150
L = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
with h5py.File('first.h5', 'w') as f: f['image'] = X; f['label'] = Y
with h5py.File('last.h5', 'w') as f: f['image'] = L; f['label'] = Y
with h5py.File('groups.h5', 'w') as f: f['train/x'] = X; f['train/y'] = Y; f['test/x'] = X[:9]; f['test/y'] = Y[:9]; f['weights'] = np.ones(7)
with h5py.File('images.h5', 'w') as f: f['data'] = X
with h5py.File('labels.h5', 'w') as f: f['data'] = Y
with h5py.File('unlabelled.h5', 'w') as f: f['image'] = X
with h5py.File('matlab.mat', 'w', userblock_size=512) as f: f['image'] = X; f['image'].attrs['MATLAB_class'] = np.bytes_('uint8'); f['label'] = Y.reshape(240, 1)
)"),
              "");
    write_file(file("job.yaml"), R"(name: foreign
seed: 3
model: {zoo: mlp, hidden: [8], classes: 3}
data: {train: {path: first.h5, input: image, target: label}}
batch: {global: 24, micro: 24}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.1}}
train: {epochs: 3}
)");
  }
  std::string file(const std::string& name) const { return folder_.file(name); }
  Ended run(const std::string& words) {
    return run_shell("cd " + folder_.path() + "; " + LOCKSTEP_PROGRAM + " " + words);
  }
  Ended train(const std::string& name, const std::string& sets) {
    return run("train job.yaml --out " + name + " " + sets);
  }
  /// The weights after training, as numbers.
  std::string weights(const std::string& run) {
    return run_h5py(
        folder_.path(),
        "import hashlib, sys\nf = h5py.File(folder + '/" + run +
            "/checkpoints/step-000000030.h5')\n"
            "h = hashlib.md5()\nfor n in sorted(f['parameters']):\n"
            "    g = f['parameters'][n]\n"
            "    for d in ([g] if isinstance(g, h5py.Dataset) else g.values()): h.update(d[...].tobytes())\n"
            "print(h.hexdigest())\nsys.exit(1)\n");
  }
  TemporaryFolder folder_;
};

TEST_F(ForeignData, EveryWayToSayWhereTheFieldsLieTrainsTheSameWeights) {
  ASSERT_EQ(train("a", "").status, 0);
  const std::string expected = weights("a");
  ASSERT_EQ(expected.find("Traceback"), std::string::npos) << expected;
  ASSERT_GE(expected.size(), 32U) << expected;
  const struct {
    const char *name, *sets;
  } cases[] = {
      {"groups",
       "--set data.train.path=groups.h5 --set data.train.input=train/x --set data.train.target=train/y"},
      {"files",
       "--set 'data={train: {input: {path: images.h5, field: data}, target: {path: labels.h5, field: "
       "data}}}'"},
      {"mixed",
       "--set 'data={train: {path: first.h5, input: image, target: {path: labels.h5, target: data}}}'"},
      {"last", "--set 'data={train: {path: last.h5, input: image, target: label, layout: NHWC}}'"},
      {"matlab", "--set 'data={train: {path: matlab.mat, input: image, target: label, layout: NCHW}}'"},
  };
  for (const auto& [name, sets] : cases) {
    const Ended ended = train(name, sets);
    ASSERT_EQ(ended.status, 0) << name << ": " << ended.output;
    EXPECT_EQ(weights(name), expected) << name;
  }
}

TEST_F(ForeignData, ChannelsLastAndMatlabAreAskedAbout) {
  const Ended last = train("x", "--set data.train.path=last.h5");
  EXPECT_EQ(last.status, 1);
  EXPECT_SAYS(last, "channels last");
  EXPECT_SAYS(last, "layout: NHWC");
  const Ended matlab = train("x", "--set data.train.path=matlab.mat");
  EXPECT_EQ(matlab.status, 1);
  EXPECT_SAYS(matlab, "written by MATLAB");
  EXPECT_EQ(
      train("y", "--set 'data={train: {path: last.h5, input: image, target: label, layout: NCHW}}'").status,
      0);
}

TEST_F(ForeignData, FieldsThatDoNotBelongTogetherAreRefused) {
  const Ended counts = train(
      "x", "--set data.train.path=groups.h5 --set data.train.input=train/x --set data.train.target=test/y");
  EXPECT_EQ(counts.status, 1);
  EXPECT_SAYS(counts, "another sample count");
  const Ended absent = train(
      "x", "--set data.train.path=groups.h5 --set data.train.input=train/z --set data.train.target=train/y");
  EXPECT_EQ(absent.status, 1);
  EXPECT_SAYS(absent, "train/x");
  EXPECT_SAYS(run("inspect groups.h5"), "passed over: weights");
}

TEST_F(ForeignData, OneHotLabelsAreToldToBeNumbers) {
  ASSERT_EQ(run_h5py(folder_.path(), R"(
with h5py.File(folder + '/hot.h5', 'w') as f: f['image'] = np.zeros((24, 3, 8, 8), 'f4'); f['label'] = np.eye(3)[np.arange(24) % 3]
)"),
            "");
  const Ended ended = train("x", "--set data.train.path=hot.h5");
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "labels.argmax(axis=1)");
}

TEST_F(ForeignData, ImagesAreNotConvertedIntoTheirOwnFolder) {
  fs::create_directories(file("photos/cat"));
  for (const char* out : {"photos", "photos/shards", "photos/../photos/cat"}) {
    const Ended ended = run(std::string("convert images photos --overwrite --out ") + out);
    EXPECT_EQ(ended.status, 1);
    EXPECT_SAYS(ended, "lies in the folder of the images");
  }
  EXPECT_FALSE(fs::exists(file("photos/shards")));
}

TEST_F(ForeignData, PredictNeedsNoLabels) {
  ASSERT_EQ(train("a", "").status, 0);
  const Ended ended = run("predict a/checkpoints/step-000000030.h5 --data unlabelled.h5 --out out.h5");
  EXPECT_EQ(ended.status, 0) << ended.output;
}

TEST_F(ForeignData, ADatasetThatIsNotWholeIsRefused) {
  std::string csv = "a,b,label\n";
  for (int i = 0; i < 40; ++i)
    csv += std::to_string(0.5 * i) + "," + std::to_string(i % 7) + "," + std::to_string(i % 2) + "\n";
  write_file(file("t.csv"), csv);
  ASSERT_EQ(run("convert csv t.csv --out d --shards 4").status, 0);
  const std::string sets = "--set 'data={train: {path: d}}' --set model.classes=2 --set batch=8 ";
  EXPECT_EQ(train("whole", sets).status, 0);
  fs::rename(file("d/shard-00002.h5"), file("moved.h5"));
  Ended ended = train("x", sets);
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "3 of the 4 shards of a conversion; missing: number 2");
  EXPECT_NE(run("verify d").status, 0);
  EXPECT_EQ(
      train("part", "--set 'data={train: {path: d, partial: true}}' --set model.classes=2 --set batch=8")
          .status,
      0);
  fs::rename(file("moved.h5"), file("d/shard-00002.h5"));
  fs::copy_file(file("d/shard-00001.h5"), file("d/shard-00001-copy.h5"));
  ended = train("x", sets);
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "the same shard");
}

}  // namespace
}  // namespace lockstep
