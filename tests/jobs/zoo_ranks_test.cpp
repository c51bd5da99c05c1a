// Every model of the zoo has the same bits on 1, 2, 4 and 8 ranks, in float32 and bfloat16.
#include <gtest/gtest.h>

#include <sstream>

#include "src/network/model.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

/// What zoo_ranks_program printed on so many ranks, a line per model and precision.
std::vector<std::string> lines_of(int n_ranks) {
  const TemporaryFolder folder;
  const Ended ended = run_shell(std::string(LOCKSTEP_MPIEXEC) + " -n " + std::to_string(n_ranks) + " " +
                                    LOCKSTEP_ZOO_PROGRAM + " " + folder.path(),
                                500);
  EXPECT_EQ(ended.status, 0) << ended.output;
  std::vector<std::string> lines;
  std::stringstream text(ended.output);
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("zoo: ")) lines.push_back(line);
  }
  return lines;
}

TEST(ZooRanks, EveryModelHasTheSameBitsOnAnyNumberOfRanks) {
  const std::vector<std::string> expected = lines_of(1);
  ASSERT_FALSE(expected.empty());
  for (const std::string& name : zoo_names()) {
    int n_found = 0;
    for (const std::string& line : expected) n_found += line.starts_with("zoo: " + name + ",");
    EXPECT_GE(n_found, 2) << name << " is not among the models of zoo_ranks_program";
  }
  for (const std::string& line : expected) {
    EXPECT_EQ(line.find("nan"), std::string::npos) << line;
    EXPECT_EQ(line.find("inf"), std::string::npos) << line;
  }
  for (int n_ranks : {2, 4, 8}) {
    const std::vector<std::string> actual = lines_of(n_ranks);
    ASSERT_EQ(actual.size(), expected.size()) << n_ranks << " ranks";
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(actual[i], expected[i]) << n_ranks << " ranks";
  }
}

}  // namespace
}  // namespace lockstep
