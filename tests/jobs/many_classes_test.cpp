// What counting confusions costs: the samples, not the square of the classes.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

/// The largest resident set of any process that ended so far, in MiB.
int64_t peak_of_children() {
  rusage usage = {};
  getrusage(RUSAGE_CHILDREN, &usage);
  return usage.ru_maxrss / 1024;
}

/// 64 samples of 4 numbers with classes k * step, and a job of one layer.
void write_place(const TemporaryFolder& folder, int64_t n_classes, int64_t step) {
  FixtureField input{"x", {64, 4}, "float32", {}}, label{"y", {64}, "int32", {}};
  for (int i = 0; i < 64 * 4; ++i) input.values.push_back((i * 37 % 101) / 50.0 - 1);
  for (int i = 0; i < 64; ++i) label.values.push_back(static_cast<double>(i * step));
  write_hdf5(folder.file("data.h5"), {input, label});
  write_file(folder.file("job.yaml"),
             "name: classes\nmodel: {zoo: linear, outputs: " + std::to_string(n_classes) +
                 "}\nloss: softmax_cross_entropy\ndata: {train: " + folder.file("data.h5") +
                 ", validation: " + folder.file("data.h5") +
                 "}\nbatch: {global: 16, micro: 8}\noptimizer: {sgd: {lr: 0.1}}\ntrain: {epochs: 2}\n");
}

TEST(ManyClasses, CostTheirSamples) {
  const TemporaryFolder few, many;
  write_place(few, 64, 1);
  const Ended small = lockstep_on(2, "train " + few.file("job.yaml") + " --out " + few.file("run"));
  ASSERT_EQ(small.status, 0) << small.output;
  const int64_t before = peak_of_children();

  write_place(many, 15000, 234);
  const Ended large = lockstep_on(2, "train " + many.file("job.yaml") + " --out " + many.file("run"));
  ASSERT_EQ(large.status, 0) << large.output;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(peak_of_children(), before + 100) << "MiB";
#endif

  const std::string confusion = read_file(many.file("run/confusion.json"));
  EXPECT_LT(confusion.size(), 1u << 20);
  EXPECT_EQ(confusion.find("\"matrix\""), std::string::npos);
  const size_t cells = confusion.find("\"cells\"");
  ASSERT_NE(cells, std::string::npos);
  EXPECT_EQ(count(confusion.substr(cells), "],") + 1, 64)
      << confusion.substr(cells);  // each sample in a cell of its own
  EXPECT_NE(read_file(many.file("run/report.html")).find("Most confused"), std::string::npos);
  EXPECT_LT(std::filesystem::file_size(many.file("run/report.html")), 4u << 20);

  const std::string evaluate =
      "evaluate " + many.file("run/checkpoints/best.h5") + " --data " + many.file("data.h5");
  const Ended table = lockstep(evaluate);
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.output.find("classes have no sample and no prediction"), std::string::npos) << table.output;
  const Ended json = lockstep(evaluate + " --json");
  EXPECT_NE(json.output.find("\"confusion_cells\": [[0, "), std::string::npos) << json.output;
  EXPECT_EQ(lockstep_on(2, evaluate + " --json").output, json.output);
}

}  // namespace
}  // namespace lockstep
