// What the program says of itself and of mistakes: help, version, limits of a job, losses that are not
// finite.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <limits>

#include "tests/jobs/program.h"
#include "tests/support/manual_tables.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

bool has(const Ended& ended, const std::string& part) { return ended.output.find(part) != std::string::npos; }
#define EXPECT_SAYS(ended, part) \
  EXPECT_TRUE(has(ended, part)) << "lacks: " << (part) << "\n" << (ended).output

TEST(Words, HelpOfEveryKind) {
  const Ended help = lockstep("train --help"), asked = lockstep("help train");
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(asked.status, 0);
  EXPECT_EQ(asked.output, help.output);
  EXPECT_SAYS(help, "usage: lockstep train JOB.yaml");
  const Ended bench = lockstep("bench --help");
  EXPECT_EQ(bench.status, 0);
  for (const char* kind : {"bench input", "bench scaling", "bench step"}) EXPECT_SAYS(bench, kind);
  EXPECT_EQ(lockstep("bench").status, 2);
  EXPECT_EQ(lockstep("help bench step").output, lockstep("bench step --help").output);
  const Ended unknown = lockstep("help trian");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_SAYS(unknown, "did you mean 'train'?");
}

TEST(Words, TheManualNamesEveryCommandAndConverterAndNoOther) {
  std::set<std::string> commands, kinds;
  std::stringstream usage(lockstep("--help").output);
  for (std::string line; std::getline(usage, line);)
    if (line.starts_with("  ")) commands.insert(line.substr(2, line.find_last_not_of(' ', 17) - 1));
  expect_table(read_manual("README.md"), "## Commands", 0, commands);
  const std::string refused = lockstep("convert tsv x").output, label = "; known: ";
  const size_t begin = refused.find(label) + label.size();
  std::stringstream list(refused.substr(begin, refused.find('\n', begin) - begin));
  for (std::string kind; std::getline(list, kind, ',');)
    kinds.insert(kind.substr(kind.find_first_not_of(' ')));
  expect_table(read_manual("data.md"), "## Converters", 0, kinds);
}

TEST(Words, VersionNamesCommitCompilerAndLibraries) {
  const Ended version = lockstep("--version");
  EXPECT_EQ(version.status, 0);
  for (const char* part : {"lockstep 0.", "(commit ", "compiler", "MPI", "HDF5", "oneDNN",
                           "instructions oneDNN ", "images       JPEG, PNG, BMP, ", "GPUs"})
    EXPECT_SAYS(version, part);
}

TEST(Words, MistakesOnTheCommandLineSayWhatToWrite) {
  for (const auto& [words, reason, remedy] :
       {std::array{"trian", "unknown command 'trian'; did you mean 'train'?", "lockstep --help"},
        std::array{"train", "JOB.yaml is missing", "write lockstep train JOB.yaml"},
        std::array{"train x.yaml --otu y", "unknown option --otu; did you mean --out?", "--help lists"},
        std::array{"evaluate x.h5", "--data PATH is missing", "--data data/test"},
        std::array{"predict x.h5 --data y", "--out FILE is missing", "--out predictions.h5"},
        std::array{"export x.h5", "--out WEIGHTS.safetensors is missing", "--out weights.safetensors"},
        std::array{"import x --job y", "--out CHECKPOINT.h5 is missing", "--out imported.h5"},
        std::array{"convert csv x.csv --out y --shards -1", "--shards must not be negative, found -1",
                   "--shards 4"},
        std::array{"predict x.h5 --data y --out ''", "--out is empty", "write lockstep predict"},
        std::array{"train ''", "JOB.yaml is empty", "write lockstep train"},
        std::array{"convert images x --out y --size 8,8,3", "expected a height and a width",
                   "--size 224,224"},
        std::array{"convert tsv x", "cannot convert from 'tsv'", "lockstep convert csv --help"},
        std::array{"bench step jobs/x.yaml --steps 0", "--steps must be at least 1, found 0",
                   "--steps 50"}}) {
    const Ended ended = lockstep(words);
    EXPECT_EQ(ended.status, 2) << words;
    EXPECT_SAYS(ended, reason);
    const size_t at = ended.output.find("\n  remedy: ");
    ASSERT_NE(at, std::string::npos) << ended.output;
    EXPECT_NE(ended.output.find(remedy, at), std::string::npos) << ended.output;
  }
}

// Sanitizers reserve terabytes of addresses.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const std::string kFewAddresses;
#else
const std::string kFewAddresses = "ulimit -v 6000000; ulimit -c 0; ";
#endif

// 64 layers of 40,000 units are 412 GB of weights, as much of gradients and twice that of Adam's state;
// bfloat16 keeps packed copies besides. The limit on addresses leaves room for the libraries alone.
TEST(Words, InspectTakesNoMemoryOfTheModel) {
  const std::string folder = LOCKSTEP_SOURCE_DIR "/jobs";
  std::string hidden = "40000";
  for (int i = 1; i < 64; ++i) hidden += ",40000";
  const std::string words =
      std::string(LOCKSTEP_PROGRAM) + " inspect " + folder +
      "/bench-mlp.yaml --json --set 'optimizer={adam: {lr: 0.1}}' --set 'model.hidden=[" + hidden + "]'";
  const int64_t weights = 784 * 40'000 + 63 * int64_t{40'000} * 40'000 + 10 * 40'000, biases = 64 * 40'000;
  for (const char* precision : {"float32", "bfloat16"}) {
    const Ended ended = run_shell(kFewAddresses + words + " --set precision=" + precision);
    ASSERT_EQ(ended.status, 0) << ended.output;
    EXPECT_LT(ended.time_s, 60);
    EXPECT_SAYS(ended, "\"parameters\": " + std::to_string(weights + biases + 10) + ",");
    // The last bias is padded to 64 elements, all else is a multiple of them.
    EXPECT_SAYS(ended, "\"weight_bytes\": " + std::to_string((weights + biases + 64) * 4) + ",");
    EXPECT_SAYS(ended, "\"optimizer_bytes\": " + std::to_string((weights + biases + 64) * 8) + ",");
  }
}

// Convolutions pack their weights too, and constant ones (the shortcut `pad`) are computed when they are
// made.
TEST(Words, InspectTakesNoMemoryOfActivations) {
  const Ended ended =
      run_shell(kFewAddresses + std::string(LOCKSTEP_PROGRAM) + " inspect " +
                LOCKSTEP_SOURCE_DIR
                "/jobs/resnet20-cifar10.yaml --json --set batch.global=1048576 --set batch.micro=131072");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_SAYS(ended, "\"parameters\": 269722,");
  const std::string key = "\"activation_bytes\": ";
  EXPECT_GT(std::stoll(ended.output.substr(ended.output.find(key) + key.size())), int64_t{100} << 30);
}

class WordsOfAJob : public testing::Test {
 protected:
  static void SetUpTestSuite() { place_ = new Workplace; }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }
  Ended refused(const std::string& words) {
    Ended ended = lockstep(place_->train("refused") + words);
    EXPECT_EQ(ended.status, 1) << words << "\n" << ended.output;
    EXPECT_SAYS(ended, "remedy: ");
    return ended;
  }
  static Workplace* place_;
};
Workplace* WordsOfAJob::place_ = nullptr;

TEST_F(WordsOfAJob, NamesOfOtherFrameworks) {
  EXPECT_SAYS(refused("--set device=gpu"), "did you mean 'cuda'?");
  EXPECT_SAYS(refused("--set precision=bf16"), "did you mean 'bfloat16'?");
  EXPECT_SAYS(refused("--set loss=mse"), "did you mean 'l2'?");
  EXPECT_SAYS(refused("--set loss=cross_entropy"), "did you mean 'softmax_cross_entropy'?");
  EXPECT_SAYS(refused("--set 'model={layers: [flatten, {dense: 10}]}'"), "did you mean 'affine'?");
  EXPECT_SAYS(refused("--set 'model={layers: [flatten, {linear: 10}]}'"), "did you mean 'affine'?");
}

TEST_F(WordsOfAJob, LimitsAndPlaces) {
  EXPECT_SAYS(refused("--set threads=40000"), "--set threads=40000: must be at most 4096");
  EXPECT_SAYS(refused("--set threads=4096"), "more_than_cores: true");
  EXPECT_SAYS(refused("--set data.threads=20000"), "at most 256");
  EXPECT_SAYS(refused("--set data.prefetch=1000000"), "at most 10000");
  EXPECT_SAYS(refused("--set train.epochs=2305843009213693952"), "train.epochs");
  EXPECT_SAYS(refused("--set batch.global=010"), "global: 10");
  for (const char* set : {"model.classes=four", "model.classes=-1", "model.clases=10"})
    EXPECT_SAYS(refused(std::string("--set ") + set), std::string("--set ") + set + ": ");
  EXPECT_SAYS(refused("--set data.train.path='~/data'"), "only a shell replaces ~");
  const Ended none = refused("--set batch.global=0");
  EXPECT_SAYS(none, "batch.global");
  EXPECT_SAYS(none, "must be at least 1, found 0");
  EXPECT_SAYS(none, "global: 128");
  const std::string folder = place_->file("ten #3");
  fs::copy(place_->file("data/train"), folder, fs::copy_options::recursive);
  const Ended taken =
      lockstep(place_->train("hash") + "--set train.steps=2 --set train.epochs= --set data.train.path='" +
               folder + "'");
  EXPECT_EQ(taken.status, 0) << taken.output;
}

TEST_F(WordsOfAJob, FilesThatBlockAreRefused) {
  const std::string pipe = place_->file("pipe.h5");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& words :
       {"inspect " + pipe, "verify " + pipe, place_->train("fifo") + "--set data.train.path=" + pipe,
        "evaluate " + pipe + " --data " + place_->file("data/test"),
        "import " + pipe + " --job " + place_->job() + " --out " + place_->file("x.h5")}) {
    const Ended ended = run_shell(lockstep_command(1, words), 20);
    EXPECT_NE(ended.status, 124) << "hung: " << words;
    EXPECT_NE(ended.status, 0) << words;
    EXPECT_SAYS(ended, "pipe");
  }
}

TEST_F(WordsOfAJob, ALossThatIsNotFiniteNamesFieldAndRow) {
  const std::string folder = place_->file("nan");
  fs::create_directories(folder);
  std::vector<double> x(64 * 4, 0.5), y(64);
  x[17 * 4 + 2] = std::numeric_limits<double>::quiet_NaN();
  for (size_t i = 0; i < y.size(); ++i) y[i] = static_cast<double>(i % 4);
  write_hdf5(folder + "/a.h5", {{"input", {64, 4}, "float32", x}, {"label", {64}, "int64", y}});
  write_file(place_->file("nan.yaml"),
             "name: nan\nmodel: {layers: [{affine: 4}]}\ndata: {train: {path: " + folder +
                 "}, shuffle: false}\nbatch: 8\nloss: softmax_cross_entropy\noptimizer: {sgd: {lr: 0.1}}\n"
                 "train: {epochs: 1}\n");
  const Ended ended = lockstep("train " + place_->file("nan.yaml") + " --out " + place_->file("runs-nan"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "step 3: the loss is not finite");
  EXPECT_SAYS(ended, "in row 17 of the dataset (value 2 of the sample)");
  EXPECT_SAYS(ended, "field 'input'");
  EXPECT_SAYS(ended, "the last good checkpoint is in");
  EXPECT_FALSE(fs::is_empty(place_->file("runs-nan/checkpoints")));  // the state before that step
  EXPECT_NE(read_file(place_->file("runs-nan/metrics.jsonl")).find("\"status\": \"not_finite\""),
            std::string::npos);
  EXPECT_NE(read_file(place_->file("runs-nan/report.html")).find("the loss was not finite"),
            std::string::npos);
}

TEST_F(WordsOfAJob, StrongScalingSharesTheGlobalBatch) {
  const std::string jobs = std::string(LOCKSTEP_SOURCE_DIR) + "/jobs/";
  const Ended ended =
      lockstep("bench scaling " + jobs + "bench-mlp.yaml --strong --ranks 1,2 --steps 2 --json --launcher '" +
               LOCKSTEP_MPIEXEC + " -n'");
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_SAYS(ended, "\"ranks\": 2");
}

}  // namespace
}  // namespace lockstep
