// Sweeps: which cells there are, and lockstep sweep on any number of ranks, cell by cell and at once.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "src/run/select/grid.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

#define EXPECT_SAYS(ended, part) \
  EXPECT_NE((ended).output.find(part), std::string::npos) << "lacks: " << (part) << "\n" << (ended).output

TEST(SweepCells, AreEveryCombination) {
  const std::vector<Trial> cells = sweep_cells({"a=1,2", "b=[3,4],{c: 5, d: 6},'x,y'"}, {}, 0, 0);
  ASSERT_EQ(cells.size(), 6u);
  EXPECT_EQ(cells[0].assignments, (std::vector<std::string>{"a=1", "b=[3,4]"}));
  EXPECT_EQ(cells[1].assignments, (std::vector<std::string>{"a=1", "b={c: 5, d: 6}"}));
  EXPECT_EQ(cells[5].assignments, (std::vector<std::string>{"a=2", "b='x,y'"}));
  EXPECT_EQ(cells[5].name, "cell-6");
}

TEST(SweepCells, DrawsLieInTheirRangesAndStayAsCellsAreAdded) {
  const std::vector<std::string> ranges{"r=log(1e-4,1)", "m=uniform(-2,3)", "n=int(2,4)", "w=relu,tanh"};
  const std::vector<Trial> cells = sweep_cells({}, ranges, 400, 7), fewer = sweep_cells({}, ranges, 20, 7);
  int n_low = 0;
  double m_sum = 0;
  std::set<std::string> whole, words;
  for (const Trial& cell : cells) {
    const auto value = [&](size_t i) { return cell.assignments[i].substr(2); };
    const double rate = std::stod(value(0)), m = std::stod(value(1));
    EXPECT_TRUE(rate >= 1e-4 && rate <= 1) << rate;
    EXPECT_TRUE(m >= -2 && m <= 3) << m;
    n_low += rate < 1e-2;
    m_sum += m;
    whole.insert(value(2));
    words.insert(value(3));
  }
  EXPECT_NEAR(n_low, 200, 40);  // half of the decades; four standard deviations
  EXPECT_NEAR(m_sum / 400, 0.5, 0.29);
  EXPECT_EQ(whole, (std::set<std::string>{"2", "3", "4"}));
  EXPECT_EQ(words, (std::set<std::string>{"relu", "tanh"}));
  for (size_t i = 0; i < fewer.size(); ++i) EXPECT_EQ(fewer[i].assignments, cells[i].assignments);
  EXPECT_NE(sweep_cells({}, ranges, 1, 8)[0].assignments, cells[0].assignments);
  EXPECT_EQ(sweep_cells({"a=1,2"}, {"r=log(1,2)"}, 3, 7).size(), 6u);
}

TEST(SweepCells, MistakesNameTheOption) {
  const auto message = [](std::vector<std::string> grid, std::vector<std::string> ranges, int64_t n) {
    try {
      sweep_cells(grid, ranges, n, 0);
    } catch (const Error& error) {
      EXPECT_FALSE(error.remedy().empty());
      return std::string(error.what());
    }
    return std::string("no error");
  };
  for (const auto& [text, says] : {std::pair{message({"a"}, {}, 0), "has no KEY="},
                                   {message({"a=1,"}, {}, 0), "has an empty value"},
                                   {message({"a=1,1"}, {}, 0), "names '1' twice"},
                                   {message({"a=1", "a=2"}, {}, 0), "changes a twice"},
                                   {message({}, {"a=log(0,1)"}, 2), "has no logarithm"},
                                   {message({}, {"a=log(1)"}, 2), "is not two numbers"},
                                   {message({}, {"a=uniform(2,1)"}, 2), "the smaller one first"},
                                   {message({}, {"a=int(1,2.5)"}, 2), "no whole numbers"},
                                   {message({}, {"a=int(1,2)"}, 0), "--random times, which is missing"},
                                   {message({"a=1"}, {}, 3), "draws from ranges, and there is none"},
                                   {message({}, {}, 0), "neither a grid nor ranges"},
                                   {message({}, {"a=int(1,9)"}, 20'000), "are more than"}})
    EXPECT_NE(text.find(says), std::string::npos) << text;
}

class Sweep : public SmallRuns {
 protected:
  static std::string words(const std::string& out) {
    return "sweep " + file("job.yaml") +
           " --grid optimizer.sgd.lr=0.01,0.3,1e30 --grid 'model.hidden=[8],[6]' --set train.epochs=1 "
           "--set batch.micro=2 --out " +
           file(out) + " ";
  }
};

TEST_F(Sweep, HasTheSameBytesOnAnyNumberOfRanksAndInAnyOrder) {
  const Ended one = lockstep(words("sweep1"));
  ASSERT_EQ(one.status, 0) << one.output;  // two cells diverge, which is a result
  ASSERT_EQ(lockstep_on(2, words("sweep2") + "--only 4").status, 0);
  EXPECT_FALSE(fs::exists(file("sweep2/cell-1")));
  const Ended rest = lockstep_on(4, words("sweep2"));
  ASSERT_EQ(rest.status, 0) << rest.output;
  EXPECT_EQ(count(rest.output, "4 of 6: "), 0);
  for (const char* name : {"/sweep.csv", "/sweep.html"})
    EXPECT_TRUE(read_file(file("sweep1") + name) == read_file(file("sweep2") + name)) << name;
  std::stringstream table(read_file(file("sweep1/sweep.csv")));
  std::string line;
  std::getline(table, line);
  EXPECT_EQ(line, "rank,cell,optimizer.sgd.lr,model.hidden,status,steps,best_step,loss,accuracy");
  double before = 2;
  int n_finished = 0, n_lines = 0;
  for (; std::getline(table, line); ++n_lines) {
    if (line.find("not_finite") != std::string::npos) continue;
    EXPECT_EQ(n_finished, n_lines) << line;  // what has a result comes first
    const double accuracy = std::stod(line.substr(line.rfind(',') + 1));
    EXPECT_LE(accuracy, before);
    before = accuracy;
    ++n_finished;
  }
  EXPECT_EQ(n_lines, 6);
  EXPECT_EQ(n_finished, 4);
  const std::string page = read_file(file("sweep1/sweep.html"));
  EXPECT_EQ(count(page, "<path class=\"line s"),
            6 + 2 * 8);  // cells; two charts of four curves and their keys
  EXPECT_EQ(count(page, "http:") + count(page, "https:"), 0);
  // What has ended is not trained again, a diverged cell neither.
  const Ended again = lockstep(words("sweep1"));
  EXPECT_EQ(again.status, 0);
  EXPECT_EQ(count(again.output, " of 6: "), 0) << again.output;
}

TEST_F(Sweep, UnknownKeysEndItBeforeAnythingRuns) {
  const Ended ended = lockstep_on(
      2, "sweep " + file("job.yaml") +
             " --grid optimizer.sgd.lr=0.1 --grid optimizer.sgd.momentun=0,0.9 --out " + file("unknown"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "did you mean 'momentum'?");
  EXPECT_FALSE(fs::exists(file("unknown")));
  const Ended listed = lockstep("sweep " + file("job.yaml") + " --grid optimizer.lr=1,2 --list");
  EXPECT_EQ(listed.output, "cell-1  optimizer.lr=1\ncell-2  optimizer.lr=2\n");
  EXPECT_EQ(lockstep("sweep " + file("job.yaml") + " --random -1").status, 2);
}

// A cell that cannot be trained at all is told, and the others go on.
TEST_F(Sweep, GoesOnAfterACellThatFails) {
  const Ended ended = lockstep_on(2, "sweep " + file("job.yaml") +
                                         " --grid batch.global=8,4 --set batch.micro=4 --set train.epochs=1 "
                                         "--out " +
                                         file("partial"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_SAYS(ended, "cell-2: ");
  EXPECT_EQ(count(read_file(file("partial/sweep.csv")), "finished"), 1);
}

}  // namespace
}  // namespace lockstep
