// jobs/perceptron.yaml as a user runs it, on a table made here: it ends with the first epoch without
// mistakes, on one rank; stays ended; and never ends early where no plane separates the classes.
#include <gtest/gtest.h>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

class PerceptronJob : public testing::Test {
 protected:
  /// data/points from a table of x, y, class on a grid; the class is that of x + 2 y > 3.
  void convert(const std::string& more_lines) {
    std::string table = "x,y,class\n";
    for (int i = -3; i <= 4; ++i)
      for (int j = -3; j <= 4; ++j)
        if (i + 2 * j != 3)
          table += std::to_string(i) + "," + std::to_string(j) + (i + 2 * j > 3 ? ",yes\n" : ",no\n");
    write_file(folder_.file("points.csv"), table + more_lines);
    const Ended ended =
        lockstep("convert csv " + folder_.file("points.csv") + " --out " + folder_.file("points"));
    ASSERT_EQ(ended.status, 0) << ended.output;
  }
  Ended train(const std::string& words = "") {
    return lockstep("train " + std::string(LOCKSTEP_SOURCE_DIR) + "/jobs/perceptron.yaml --out " +
                    folder_.file("run") + " --set data.train=" + folder_.file("points") + " " + words);
  }
  std::string metrics() { return read_file(folder_.file("run/metrics.jsonl")); }

  TemporaryFolder folder_;
};

TEST_F(PerceptronJob, EndsWithTheFirstEpochWithoutMistakes) {
  convert("");
  const Ended ended = train("--set train.log_every_steps=1000000");  // one line an epoch
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(count(ended.output, "stopped early"), 1) << ended.output;
  const std::string lines = metrics();
  EXPECT_EQ(count(lines, "\"status\": \"early_stopped\""), 1) << lines;
  EXPECT_EQ(count(lines, "\"accuracy\": 1,"), 1) << lines;  // only the last epoch had none
  EXPECT_GT(count(lines, "\"kind\": \"train\""), 2) << lines;
  EXPECT_LT(count(lines, "\"kind\": \"train\""), 1000);
  const Ended evaluated = lockstep("evaluate " + folder_.file("run/checkpoints/last.h5") + " --json --data " +
                                   folder_.file("points"));
  EXPECT_EQ(count(evaluated.output, "\"accuracy\": 1"), 1) << evaluated.output;

  const int n_lines = count(lines, "\"kind\": \"train\"");
  EXPECT_EQ(train("--set train.epochs=2000 --resume auto").status, 0);
  EXPECT_EQ(count(metrics(), "\"kind\": \"train\""), n_lines) << "it went on";
}

TEST_F(PerceptronJob, GoesOnWhereNothingSeparates) {
  convert("0,0,yes\n");
  const Ended ended = train("--set train.epochs=30");
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(count(metrics(), "\"status\": \"finished\""), 1) << ended.output;
}

}  // namespace
}  // namespace lockstep
