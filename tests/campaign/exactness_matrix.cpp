// exactness_matrix [--jobs NAME,…] [--ranks 1,2,4,8,16] [--report FILE]: trains every job of jobs/, made
// small, on every number of ranks, each time in another variant (matrix_variants.h), and compares every
// tensor of the last checkpoint with that of one rank without variants. Ends with status 1 if a bit differs.
//
// Made small: two epochs of 75 samples in batches of 32, so the last step of an epoch has 11: some of its 16
// micro-batches are cut, some empty. Data of the right shape is made up.
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>

#include "io/checkpoint/checkpoint.h"
#include "io/dataset/synthetic.h"
#include "tests/campaign/matrix_variants.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSamples = 75, kSteps = 6, kFirstStop = 2, kSecondStop = 4;

/// What a job trains on, found by a text in its file.
struct MadeUpData {
  const char* text;
  const char* folder;  // images: with train and test in it
  Shape input;
  int64_t n_classes;
  bool is_image;  // fields image, label; else input, target
  const char* options = "";
};
const std::vector<MadeUpData> kData = {
    {"data/digits", "data/digits", {1, 8, 8}, 10, true},
    {"data/mnist", "data/mnist", {1, 28, 28}, 10, true},
    {"zoo: resnet18_cifar", "data/cifar10", {3, 32, 32}, 10, true, " --set model.width=0.125"},
    {"data/cifar10", "data/cifar10", {3, 32, 32}, 10, true, " --set model.width=0.5"},
    {"data/points", "data/points", {2}, 2, false},
    {"name: bench-lenet5", "data/bench-lenet5", {1, 32, 32}, 10, false},
    {"name: bench-mlp", "data/bench-mlp", {784}, 10, false},
};

/// Random bytes, with classes in turn and their names.
void write_images(const std::string& path, const Shape& image, int64_t n_classes, int64_t n_samples) {
  std::mt19937 random(7);
  FixtureField images{"image", {n_samples}, "uint8", {}}, labels{"label", {n_samples}, "int64", {}};
  for (int i = 0; i < image.rank(); ++i) images.extents.push_back(image[i]);
  for (int64_t i = 0; i < n_samples * image.n_elements(); ++i)
    images.values.push_back(static_cast<double>(random() % 256));
  std::vector<std::string> names;
  for (int64_t i = 0; i < n_samples; ++i) labels.values.push_back(static_cast<double>(i % n_classes));
  for (int64_t i = 0; i < n_classes; ++i) names.push_back("class " + std::to_string(i));
  write_hdf5(path, {images, labels}, names);
}

class Matrix {
 public:
  explicit Matrix(std::vector<int> ranks) : ranks_(std::move(ranks)) {}

  /// A row of the table; counts differences.
  std::string row(const fs::path& job, int job_number);
  int n_launches = 0, n_compared = 0, n_different = 0;
  VariantChooser chooser;
  std::string problems;

 private:
  /// Makes the data that a job names; its options.
  std::string make_data(const fs::path& job);
  void train(const std::string& run, int n_ranks, const std::string& options);
  /// The run's bytes begin with another's checkpoint of that step.
  void copy_checkpoint(const std::string& from, const std::string& to, int64_t step);
  std::string checkpoint(const std::string& run, int64_t step) const {
    return folder_.file(run + "/checkpoints/" + checkpoint_file_name(step));
  }
  bool equal(const std::string& a, const std::string& b);

  std::vector<int> ranks_;
  TemporaryFolder folder_;
};

std::string Matrix::make_data(const fs::path& job) {
  const std::string text = read_file(job);
  const auto data = std::find_if(kData.begin(), kData.end(), [&](const MadeUpData& known) {
    return text.find(known.text) != std::string::npos;
  });
  if (data == kData.end())
    throw std::runtime_error("exactness_matrix.cpp does not know the data of " + job.string() +
                             ": add it to kData");
  const std::string root = folder_.file(data->folder);
  const auto make = [&](const std::string& folder, int64_t n_samples) {
    if (fs::exists(folder)) return;
    fs::create_directories(folder);
    if (data->is_image) {
      write_images(folder + "/a.h5", data->input, data->n_classes, n_samples);
    } else {
      write_synthetic_dataset(folder + "/a.h5", data->input, {}, data->n_classes, n_samples, 7);
    }
  };
  make(data->is_image ? root + "/train" : root, kSamples);
  if (data->is_image) make(root + "/test", 20);
  const bool is_named = text.find(data->folder) != std::string::npos;
  return data->options + (is_named ? "" : " --set data.train.path=" + std::string(data->folder));
}

void Matrix::train(const std::string& run, int n_ranks, const std::string& options) {
  ++n_launches;
  const Ended ended = run_shell(
      "cd " + folder_.path() + " && " + lockstep_command(n_ranks, "train " + options + " --out " + run), 500);
  if (ended.status == 0) return;
  problems += fmt::format("{} on {} ranks ended with status {}; options: {}\n{}\n", run, n_ranks,
                          ended.status, options, ended.output);
}

void Matrix::copy_checkpoint(const std::string& from, const std::string& to, int64_t step) {
  fs::create_directories(fs::path(checkpoint(to, step)).parent_path());
  if (fs::exists(checkpoint(from, step))) fs::copy(checkpoint(from, step), checkpoint(to, step));
}

bool Matrix::equal(const std::string& a, const std::string& b) {
  if (!fs::exists(a) || !fs::exists(b) || !verify_checkpoint(a).empty() || !verify_checkpoint(b).empty())
    return false;
  const std::vector<CheckpointEntry> mine = list_checkpoint(a), other = list_checkpoint(b);
  bool same = mine.size() == other.size() && !mine.empty() &&
              read_checkpoint_info(a).numbers == read_checkpoint_info(b).numbers;
  for (size_t i = 0; same && i < mine.size(); ++i) {
    same = mine[i].name == other[i].name && mine[i].shape == other[i].shape &&
           mine[i].checksum == other[i].checksum;
    ++n_compared;
  }
  return same;
}

std::string Matrix::row(const fs::path& job, int job_number) {
  const bool by_steps = read_file(job).find("train: {steps:") != std::string::npos;
  const std::string base =
      job.string() + make_data(job) + " --set batch='{global: 32, micro: 2}' --set train." +
      (by_steps ? "steps=6" : "epochs=2") + " --set 'checkpoint={every_steps: 1, keep: 0}'";
  const std::string name = job.stem();
  std::map<int, std::string> references;  // by wire
  std::string line = "| " + name;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const int n_ranks = ranks_[i];
    const Variant variant = chooser.next(job_number, n_ranks);
    const std::string options = base + variant.wire_options();
    std::string& reference = references[variant.wire()];
    if (reference.empty()) {
      reference = name + "-calm" + std::to_string(variant.wire());
      train(reference, 1, options);
    }
    // Stops are a run's checkpoints of steps 2 and 4, in the middle of an epoch, taken up by other runs.
    const std::string run = name + "-" + std::to_string(n_ranks), all = options + variant.other_options();
    std::string from = reference;
    if (variant.n_resumes() > 0 && (variant.n_resumes() == 2 || n_ranks == 1)) {
      const int between = n_ranks == 4 ? 2 : 4;
      if (variant.n_resumes() == 2) copy_checkpoint(reference, run + "-before", kFirstStop);
      train(run + "-before", between, all + (variant.n_resumes() == 2 ? " --resume auto" : ""));
      from = run + "-before";
    }
    if (variant.n_resumes() > 0) copy_checkpoint(from, run, kSecondStop);
    train(run, n_ranks, all + (variant.n_resumes() > 0 ? " --resume auto" : ""));
    const bool same = equal(checkpoint(run, kSteps), checkpoint(reference, kSteps));
    n_different += !same;
    line += fmt::format(" | `{}` {}", variant.code(), same ? "=" : "**DIFFERS**");
    fs::remove_all(folder_.file(run));
  }
  return line + " |\n";
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::stringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) words.push_back(word);
  return words;
}

int run(int argc, char** argv) {
  namespace po = boost::program_options;
  std::string jobs, ranks = "1,2,4,8,16", report;
  po::options_description options("exactness_matrix");
  options.add_options()("help", "print this")("jobs", po::value(&jobs),
                                              "names in jobs/, with commas between (all)")(
      "ranks", po::value(&ranks), "numbers of ranks, powers of two up to 16 (1,2,4,8,16)")(
      "report", po::value(&report), "also write the table to this file");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, options), values);
  po::notify(values);
  if (values.contains("help")) {
    std::cout << options;
    return 0;
  }

  const std::vector<std::string> wanted = split(jobs);
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(LOCKSTEP_SOURCE_DIR "/jobs")) {
    const bool is_wanted =
        wanted.empty() || std::count(wanted.begin(), wanted.end(), entry.path().stem().string());
    if (entry.path().extension() == ".yaml" && is_wanted) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<int> numbers;
  for (const std::string& word : split(ranks)) numbers.push_back(std::stoi(word));
  if (paths.empty() || numbers.empty()) throw std::runtime_error("no job of that name, or no ranks");

  std::string table = "| job", rule = "\n|---";
  for (const int n : numbers) table += fmt::format(" | {} rank{}", n, n > 1 ? "s" : ""), rule += "|---";
  table += " |" + rule + "|\n";
  fmt::print("{}", table);
  Matrix matrix(numbers);
  for (size_t i = 0; i < paths.size(); ++i) {
    const std::string row = matrix.row(paths[i], static_cast<int>(i));
    fmt::print("{}", row);
    std::fflush(stdout);
    table += row;
  }
  const std::string sum = fmt::format(
      "\n{}\n\n{} launches, {} tensors compared, {} of {} pairs of options met; {} runs differ.\n",
      kVariantLegend, matrix.n_launches, matrix.n_compared, matrix.chooser.n_option_pairs_met(),
      VariantChooser::n_option_pairs(), matrix.n_different);
  fmt::print("{}{}", sum, matrix.problems);
  if (!report.empty()) std::ofstream(report) << table << sum << matrix.problems;
  return matrix.n_different == 0 && matrix.problems.empty() && matrix.n_compared > 0 ? 0 : 1;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  try {
    return lockstep::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "exactness_matrix: {}\n", error.what());
    return 2;
  }
}
