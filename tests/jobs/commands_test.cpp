// The other commands on a trained network, the contract of files with h5py, and every job file
// of jobs/ for 20 steps.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>

#include "io/formats/safetensors.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class Commands : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    const Ended ended = lockstep_on(2, place_->train("run"));
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }
  static double number(const std::string& json, const std::string& key) {
    const size_t at = json.find("\"" + key + "\": ");
    return at == std::string::npos ? -1 : std::stod(json.substr(at + key.size() + 4));
  }
  static Workplace* place_;
};
Workplace* Commands::place_ = nullptr;

TEST_F(Commands, EvaluateIsEqualOnAnyRankCount) {
  const std::string words =
      "evaluate " + place_->file("run/checkpoints/best.h5") + " --json --data " + place_->file("data/test");
  const Ended one = lockstep(words);
  ASSERT_EQ(one.status, 0) << one.output;
  EXPECT_GT(number(one.output, "accuracy"), 0.9) << one.output;
  EXPECT_EQ(number(one.output, "samples"), 60);
  EXPECT_EQ(lockstep_on(3, words).output, one.output);
  EXPECT_EQ(lockstep_on(4, words).output, one.output);
}

TEST_F(Commands, PredictWritesTheSameBytesOnAnyRankCount) {
  const std::string words = "predict " + place_->file("run/checkpoints/best.h5") + " --data " +
                            place_->file("data/test") + " --out ";
  ASSERT_EQ(lockstep(words + place_->file("one.h5")).status, 0);
  const Ended three = lockstep_on(3, words + place_->file("three.h5"));
  ASSERT_EQ(three.status, 0) << three.output;
  EXPECT_FALSE(read_file(place_->file("one.h5")).empty());
  EXPECT_TRUE(read_file(place_->file("one.h5")) == read_file(place_->file("three.h5")));
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed";
  EXPECT_EQ(run_h5py(place_->path(),
                     "p = h5py.File(folder + '/one.h5')\n"
                     "assert p['output'].shape == (60, 10) and p['class'].shape == (60,)\n"
                     "assert (np.argmax(p['output'][:], 1) == p['class'][:]).all()\n"
                     "import glob\n"
                     "labels = np.concatenate([h5py.File(f)['label'][:] for f in sorted(glob.glob(folder + "
                     "'/data/test/*.h5'))])\n"
                     "assert (labels == p['class'][:]).mean() > 0.9\n"),
            "");
}

TEST_F(Commands, InspectAndVerify) {
  const Ended job = lockstep("inspect " + place_->job() + " --json");
  ASSERT_EQ(job.status, 0) << job.output;
  EXPECT_EQ(number(job.output, "parameters"), 156 + 2416 + 64 * 120 + 120 + 120 * 84 + 84 + 840 + 10);
  EXPECT_NE(job.output.find("\"layers\": ["), std::string::npos);
  const Ended data = lockstep("inspect " + place_->file("data/train") + " --json");
  EXPECT_EQ(number(data.output, "samples"), 300) << data.output;
  const Ended checkpoint = lockstep("inspect " + place_->file("run/checkpoints/last.h5") + " --json");
  EXPECT_EQ(number(checkpoint.output, "step"), 380) << checkpoint.output;
  for (const char* what : {"run", "data/train", "run/checkpoints/last.h5"}) {
    EXPECT_EQ(lockstep("verify " + place_->file(what)).status, 0) << what;
  }
}

// What only training needs may be missing, and a GPU.
TEST_F(Commands, InspectNeedsTheModelAlone) {
  const std::string path = place_->file("alone.yaml");
  write_file(path, "model: {zoo: lenet5}\n");
  const Ended job = lockstep("inspect " + path), json = lockstep("inspect --json " + path);
  ASSERT_EQ(job.status, 0) << job.output;
  EXPECT_NE(job.output.find("61,706"), std::string::npos) << job.output;
  EXPECT_NE(job.output.find("plan of one sample, float32\n"), std::string::npos) << job.output;
  EXPECT_EQ(job.output.find("samples a step"), std::string::npos) << job.output;
  EXPECT_EQ(number(json.output, "parameters"), 61706) << json.output;
  write_file(path, "model: {input: [3, 8, 8], layers: [flatten, {affine: 5}]}\n");
  const Ended graph = lockstep("inspect " + path + " --set batch=8");
  EXPECT_NE(graph.output.find("8 samples a step in 1 micro-batches of 8"), std::string::npos) << graph.output;
  for (const char* zoo : {"autoencoder, input: [1, 8, 8]", "unet, classes: 2, input: [3, 8, 8]",
                          "perceptron, input: [4]", "sobel, input: [1, 8, 8]"}) {
    write_file(path, std::string("model: {zoo: ") + zoo + "}\n");
    const Ended other = lockstep("inspect " + path);
    EXPECT_EQ(other.status, 0) << other.output;
  }
  write_file(path, "device: cuda\nprecision: float16\nmodel: {zoo: lenet5}\n");
  const Ended of_gpu = run_shell("CUDA_VISIBLE_DEVICES= " LOCKSTEP_PROGRAM " inspect " + path);
  EXPECT_NE(of_gpu.output.find("plan of one sample, float32 on the CPU, as no GPU answers here"),
            std::string::npos)
      << of_gpu.output;
  const Ended trained = lockstep("train " + path);
  EXPECT_EQ(trained.status, 1);
  EXPECT_NE(trained.output.find("remedy: "), std::string::npos) << trained.output;
  write_file(path, "name: nothing\n");
  const Ended none = lockstep("inspect " + path);
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.output.find("model"), std::string::npos) << none.output;
}

TEST_F(Commands, InspectDrawsAugmentedImages) {
  const std::string sheet = place_->file("sheet.png"), words = "inspect " + place_->job();
  const std::string list = " --set 'data.augment=[{random_crop: {size: 6}}, {gaussian_noise: 2}]'";
  const Ended drawn = lockstep(words + list + " --augmented " + sheet);
  ASSERT_EQ(drawn.status, 0) << drawn.output;
  // Eight rows of twelve 8x8 images, twelvefold, with gaps of four pixels; the size stands big-endian at 16.
  const std::string png = read_file(sheet);
  ASSERT_GT(png.size(), 1000u);
  EXPECT_EQ(png.substr(1, 3), "PNG");
  const auto extent = [&](size_t at) {
    return static_cast<uint8_t>(png[at + 2]) * 256 + static_cast<uint8_t>(png[at + 3]);
  };
  EXPECT_EQ(extent(16), 12 * 100 + 4);
  EXPECT_EQ(extent(20), 8 * 100 + 4);
  const Ended listed = lockstep(words + list);
  EXPECT_NE(listed.output.find("training images           {random_crop: {size: 6}}"), std::string::npos)
      << listed.output;
  EXPECT_NE(lockstep(words + list + " --json").output.find("\"{gaussian_noise: {sigma: 2}}\""),
            std::string::npos);
  EXPECT_NE(lockstep(words + " --augmented " + sheet).output.find("--overwrite"), std::string::npos);
  EXPECT_NE(lockstep(words + " --overwrite --augmented " + sheet).output.find("it augments nothing"),
            std::string::npos);
  EXPECT_EQ(lockstep("inspect " + place_->file("data/train") + " --augmented " + sheet).status, 2);
}

// The network reads 6x6; validation, evaluate and predict read the middle of the stored 8x8.
TEST_F(Commands, CropsOfASizeAreEvaluatedInTheMiddle) {
  const Ended ended = lockstep_on(
      2, place_->train("cropped") + "--set train.epochs=4 --set 'data.augment=[{random_crop: {size: 6}}]'");
  ASSERT_EQ(ended.status, 0) << ended.output;
  const std::string words = "evaluate " + place_->file("cropped/checkpoints/last.h5") + " --json --data " +
                            place_->file("data/test");
  const Ended one = lockstep(words), two = lockstep_on(2, words);
  ASSERT_EQ(one.status, 0) << one.output;
  EXPECT_GT(number(one.output, "accuracy"), 0.2) << one.output;
  EXPECT_EQ(number(one.output, "loss"), number(two.output, "loss"));
  const std::string metrics = read_file(place_->file("cropped/metrics.jsonl"));
  const size_t last = metrics.rfind("\"kind\": \"validation\"");
  ASSERT_NE(last, std::string::npos);
  EXPECT_EQ(number(metrics.substr(last), "loss"), number(one.output, "loss"));
}

TEST_F(Commands, RunFolderHoldsTheContract) {
  for (const char* name :
       {"job.yaml", "metrics.jsonl", "confusion.json", "report.html", "checkpoints/best.h5", "tb"}) {
    EXPECT_TRUE(fs::exists(place_->file(std::string("run/") + name))) << name;
  }
  EXPECT_EQ(count(read_file(place_->file("run/metrics.jsonl")), "\"kind\": \"train\""), 380);
  const Ended report = lockstep("report " + place_->file("run"));
  EXPECT_EQ(report.status, 0) << report.output;
  const std::string page = read_file(place_->file("run/report.html"));
  EXPECT_GT(page.size(), 10000U);
  EXPECT_EQ(page.find("http://") == std::string::npos || page.find("http://www.w3.org") != std::string::npos,
            true);
}

TEST_F(Commands, CheckpointOpensInH5py) {
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed";
  EXPECT_EQ(
      run_h5py(place_->path(),
               "f = h5py.File(folder + '/run/checkpoints/last.h5')\n"
               "assert f['parameters/conv1.weight'].shape == (6, 1, 5, 5)\n"
               "assert f['parameters/fc1.weight'].shape == (120, 64), f['parameters/fc1.weight'].shape\n"
               "assert f['parameters/fc3.bias'].dtype == np.float32\n"
               "assert f['optimizer/velocity/conv2.weight'].shape == (16, 6, 5, 5)\n"
               "assert f['buffers/input.mean'].shape == (1,)\n"
               "assert f.attrs['step'] == 380 and f.attrs['epoch'] == 20 and f.attrs['step_in_epoch'] == 0\n"
               "assert 'lenet5' in str(f.attrs['job'])\n"),
      "");
}

TEST_F(Commands, DatasetOfAFewLinesOfH5pyTrains) {
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed";
  ASSERT_EQ(run_h5py(place_->path(),
                     "import os\n"
                     "os.makedirs(folder + '/mine')\n"
                     "rng = np.random.default_rng(0)\n"
                     "for shard in range(3):\n"
                     "    label = rng.integers(0, 4, 100)\n"
                     "    image = rng.normal(size=(100, 1, 8, 8)) + label[:, None, None, None]\n"
                     "    with h5py.File(folder + f'/mine/part{shard}.h5', 'w') as f:\n"
                     "        f['image'] = image.astype('float32')\n"
                     "        f['label'] = label\n"),
            "");
  write_file(place_->file("mine.yaml"),
             "name: mine\nmodel: {zoo: mlp, hidden: [32], classes: 4}\ndata: {train: {path: " +
                 place_->file("mine") +
                 "}}\nbatch: {global: 32, micro: 8}\noptimizer: {adam: {lr: 0.01}}\ntrain: {epochs: 8}\n");
  const Ended train =
      lockstep_on(2, "train " + place_->file("mine.yaml") + " --out " + place_->file("mine-run"));
  ASSERT_EQ(train.status, 0) << train.output;
  const Ended evaluate = lockstep("evaluate " + place_->file("mine-run/checkpoints/last.h5") +
                                  " --json --data " + place_->file("mine"));
  EXPECT_GT(number(evaluate.output, "accuracy"), 0.8) << evaluate.output;
}

TEST_F(Commands, ExportedWeightsComeBackWithTheSameBytes) {
  const std::string best = place_->file("run/checkpoints/best.h5"), weights = place_->file("a.safetensors");
  ASSERT_EQ(lockstep("export " + best + " --out " + weights).status, 0);
  const Ended import =
      lockstep_on(2, "import " + weights + " --job " + place_->job() + " --out " + place_->file("in.h5"));
  ASSERT_EQ(import.status, 0) << import.output;
  EXPECT_NE(import.output.find("10 tensors"), std::string::npos) << import.output;
  EXPECT_FALSE(fs::exists(place_->file("in.h5.tmp")));
  ASSERT_EQ(
      lockstep("import " + weights + " --job " + place_->job() + " --out " + place_->file("one.ck")).status,
      0);
  EXPECT_TRUE(read_file(place_->file("in.h5")) == read_file(place_->file("one.ck")));
  ASSERT_EQ(lockstep("export " + place_->file("in.h5") + " --out " + place_->file("b.safetensors")).status,
            0);
  EXPECT_GT(read_file(weights).size(), 80000u);
  EXPECT_TRUE(read_file(weights) == read_file(place_->file("b.safetensors")));

  // It is the network that was trained, to evaluate, predict and train alike.
  EXPECT_EQ(lockstep("verify " + place_->file("in.h5")).status, 0);
  const auto evaluate = [&](const std::string& checkpoint) {
    const std::string text =
        lockstep("evaluate " + checkpoint + " --json --data " + place_->file("data/test")).output;
    return text.substr(std::min(text.size(), text.find("\"samples\"")));
  };
  EXPECT_NE(evaluate(best), "");
  EXPECT_EQ(evaluate(place_->file("in.h5")), evaluate(best));
  const std::string words = " --data " + place_->file("data/test") + " --out ";
  ASSERT_EQ(lockstep("predict " + place_->file("in.h5") + words + place_->file("in-out.h5")).status, 0);
  ASSERT_EQ(lockstep("predict " + best + words + place_->file("best-out.h5")).status, 0);
  EXPECT_TRUE(read_file(place_->file("in-out.h5")) == read_file(place_->file("best-out.h5")));
  const Ended train =
      lockstep_on(2, place_->train("tuned") + "--set train.epochs=1 --resume " + place_->file("in.h5"));
  ASSERT_EQ(train.status, 0) << train.output;
  const std::string metrics = read_file(place_->file("tuned/metrics.jsonl"));
  const size_t first = metrics.find("\"kind\": \"train\"");
  EXPECT_NE(metrics.substr(first, 80).find("\"step\": 1,"), std::string::npos) << metrics;
  EXPECT_LT(number(metrics.substr(first), "loss"), 0.5);  // a fresh network begins at 2.3
}

TEST_F(Commands, ImportListsEverythingThatDoesNotFit) {
  const std::string file = place_->file("odd.safetensors");
  const auto import = [&](const std::string& words) {
    return lockstep_on(
        2, "import " + file + " --job " + place_->job() + " --out " + place_->file("odd.h5") + " " + words);
  };
  const std::vector<SafetensorsTensor> tensors{{"net.conv1.weight", {6, 1, 5, 5}},
                                               {"net.conv1.bias", {6}},
                                               {"net.conv2.weight", {16, 6, 3, 3}},
                                               {"net.conv2.bias", {16}},
                                               {"net.fc1.weight", {120, 64}},
                                               {"net.fc1.bias", {120}},
                                               {"net.fc2.weight", {84, 120}},
                                               {"net.fc2.bias", {84}},
                                               {"net.head.weight", {1000, 84}},
                                               {"net.bn.num_batches_tracked", {}, DType::kInt64},
                                               {"more.conv1.bias", {6}}};
  write_safetensors(file, tensors, [&](size_t i, void* data) {
    std::memset(data, 0, static_cast<size_t>(tensors[i].shape.n_elements() * size_of(tensors[i].dtype)));
  });
  const Ended all = import("--map '^net\\.='");
  EXPECT_EQ(all.status, 1);
  EXPECT_EQ(count(all.output, "lockstep: "), 1) << all.output;
  for (const char* part :
       {"missing in the file (2):", "fc3.weight (10, 84)", "fc3.bias (10)", "of another shape (1):",
        "conv2.weight (in the file: net.conv2.weight): (16, 6, 3, 3), the model needs (16, 6, 5, 5)",
        "not in the model (2):", "more.conv1.bias (6)",
        "head.weight (in the file: net.head.weight) (1000, 84)", "remedy: "}) {
    EXPECT_NE(all.output.find(part), std::string::npos) << part << "\n" << all.output;
  }
  EXPECT_EQ(all.output.find("num_batches"), std::string::npos) << all.output;
  EXPECT_FALSE(fs::exists(place_->file("odd.h5")));
  EXPECT_EQ(count(import("").output, "net.conv1.weight"), 1);
  const Ended doubled = import("--map '^net\\.=' --map '^more\\.='");
  EXPECT_NE(doubled.output.find("two tensors with one name (1):"), std::string::npos) << doubled.output;
  EXPECT_EQ(import("--map no-equals-sign").status, 2);
  EXPECT_EQ(import("--ignore '('").status, 2);

  // A network for other classes: its head starts anew.
  const Ended tuned = import(
      "--map '^net\\.=' --ignore 'head\\..*|conv2\\.weight' --ignore 'more.*' --allow-missing 'fc3\\..*' "
      "--allow-missing conv2.weight --set model.classes=7");
  ASSERT_EQ(tuned.status, 0) << tuned.output;
  EXPECT_NE(tuned.output.find("initialised by the job: "), std::string::npos) << tuned.output;
  const Ended inspect = lockstep("inspect " + place_->file("odd.h5"));
  EXPECT_NE(inspect.output.find("(7, 84)"), std::string::npos) << inspect.output;
}

TEST_F(Commands, ImportRefusesWeightsThatAreNotFinite) {
  const std::string file = place_->file("broken.safetensors");
  write_safetensors(file, {{"conv1.bias", {6}}}, [](size_t, void* data) {
    const float values[6] = {0, 0, std::numeric_limits<float>::quiet_NaN(), 0, 0, 0};
    std::memcpy(data, values, sizeof values);
  });
  const Ended ended = lockstep("import " + file + " --job " + place_->job() + " --allow-missing '.*' --out " +
                               place_->file("broken.h5"));
  EXPECT_EQ(ended.status, 1) << ended.output;
  EXPECT_NE(ended.output.find("value 2 of conv1.bias is not finite as float32"), std::string::npos)
      << ended.output;
  EXPECT_FALSE(fs::exists(place_->file("broken.h5")));
}

TEST_F(Commands, Benchmarks) {
  const Ended step = lockstep_on(2, "bench step " + place_->job() + " --steps 5 --profile --json");
  ASSERT_EQ(step.status, 0) << step.output;
  EXPECT_GT(number(step.output, "samples_per_s"), 0) << step.output;
  EXPECT_GT(count(step.output, "\"packing_ms\": "), 5) << step.output;  // steps of the plan
  EXPECT_EQ(lockstep("bench step " + place_->job() + " --steps 1 --profile").status, 0);
  const Ended scaling = lockstep("bench scaling " + place_->job() + " --ranks 1,2 --steps 5 --json");
  ASSERT_EQ(scaling.status, 0) << scaling.output;
  EXPECT_EQ(count(scaling.output, "\"ranks\": "), 2) << scaling.output;
  const std::string study = "bench scaling " + place_->job() + " --ranks 1,2 --steps 3 --mode strong --out " +
                            place_->file("study") + " --rounds ";
  ASSERT_EQ(lockstep(study + "1").status, 0);
  const Ended again = lockstep(study + "2 --launcher false");  // the first round is there, the second is not
  EXPECT_EQ(again.status, 1) << again.output;
  EXPECT_EQ(lockstep(study + "1 --launcher false").status, 0);
  EXPECT_EQ(count(read_file(place_->file("study/scaling.csv")), "\n"), 3);
  EXPECT_NE(read_file(place_->file("study/scaling.html")).find("strong scaling"), std::string::npos);
  EXPECT_EQ(lockstep(study + "1 --mode wide").status, 2);
  EXPECT_EQ(lockstep("bench scaling " + place_->job() + " --slurm").status, 2);  // where to?
  const Ended sums = lockstep_on(2, "bench allreduce --sizes 0.01,0.5 --rounds 2 --json");
  ASSERT_EQ(sums.status, 0) << sums.output;
  EXPECT_EQ(count(sums.output, "\"bytes\": "), 2) << sums.output;
  EXPECT_GT(number(sums.output, "tree_over_mpi"), 0) << sums.output;
  EXPECT_EQ(lockstep_on(3, "bench allreduce --sizes 0.5 --rounds 1").status, 0);  // no tree, but the others
  EXPECT_EQ(lockstep("bench allreduce").status, 2);
}

TEST_F(Commands, BenchInput) {
  const Ended synthetic = lockstep_on(
      2,
      "bench input --synthetic --samples 500 --shape 1,8,8 --seconds 0.1 --window 100 --threads 2 "
      "--layouts contiguous,chunked,gzip,sparse --json");
  ASSERT_EQ(synthetic.status, 0) << synthetic.output;
  EXPECT_EQ(count(synthetic.output, "\"order\": \"shuffled\""), 4) << synthetic.output;
  EXPECT_EQ(count(synthetic.output, "\"order\": \"window 100, block 1\""), 4) << synthetic.output;
  EXPECT_GT(number(synthetic.output, "samples_per_s"), 0) << synthetic.output;
  const Ended own = lockstep("bench input " + place_->file("data/train") + " --seconds 0.1 --cache_mb 64");
  ASSERT_EQ(own.status, 0) << own.output;
  EXPECT_NE(own.output.find("shuffled"), std::string::npos) << own.output;
  EXPECT_EQ(lockstep("bench input").status, 2);
  EXPECT_EQ(lockstep("bench input --synthetic --layouts zip").status, 2);
}

TEST_F(Commands, EveryJobFileRunsTwentySteps) {
  int n_jobs = 0;
  for (const auto& entry : fs::directory_iterator(std::string(LOCKSTEP_SOURCE_DIR) + "/jobs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++n_jobs;
    // Jobs whose data is not there run on random data of the right shape.
    const std::string input =
        entry.path().stem() == "lenet5-mnist" ? "--set 'model.input=[1,28,28]' --set model.classes=10 "
        : entry.path().stem() == "perceptron" ? "--set 'model.input=[4]' "
        : entry.path().stem().string().ends_with("-digits") ? "--set 'model.input=[1,8,8]' "
                                                            : "";
    const std::string classes = entry.path().stem() == "lenet5-digits" ? "--set model.classes=10 " : "";
    const Ended ended =
        run_shell("cd " + place_->path() + " && " +
                  lockstep_command(2, "bench step " + entry.path().string() + " --steps 20 " +
                                          "--set batch.global=32 --set batch.micro=16 " + input + classes));
    EXPECT_EQ(ended.status, 0) << entry.path() << "\n" << ended.output;
  }
  EXPECT_GE(n_jobs, 5);
}

}  // namespace
}  // namespace lockstep
