// Models of the zoo train on a CUDA device as on the CPU, up to rounding, and with the same bits
// on 1 and 2 ranks. The device is a GPU or, in the program linked with lockstep_kernels_on_host, the
// stand-in for one.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "tests/jobs/program.h"

namespace lockstep {
namespace {

struct Line {
  std::string model, precision, weights;
  double first_loss = 0, second_loss = 0;
};

/// What zoo_ranks_program printed: "zoo: OPTIONS PRECISION loss X Y weights HASH".
std::vector<Line> lines_of(int n_ranks, const std::string& device, const std::string& name) {
  const TemporaryFolder folder;
  const Ended ended =
      run_shell(std::string(LOCKSTEP_MPIEXEC) + " -n " + std::to_string(n_ranks) + " " +
                    LOCKSTEP_ZOO_PROGRAM + " " + folder.path() + " " + device + " \"zoo: " + name + ",\"",
                800);
  EXPECT_EQ(ended.status, 0) << ended.output;
  std::vector<Line> lines;
  std::stringstream text(ended.output);
  for (std::string row; std::getline(text, row);) {
    const size_t loss = row.find(" loss ");
    if (!row.starts_with("zoo: ") || loss == std::string::npos) continue;
    const size_t precision = row.rfind(' ', loss - 1);
    Line line{row.substr(0, precision), row.substr(precision + 1, loss - precision - 1), {}};
    std::stringstream(row.substr(loss + 6)) >> line.first_loss >> line.second_loss;
    line.weights = row.substr(row.rfind(' ') + 1);
    lines.push_back(line);
  }
  return lines;
}

// Small ones, for the stand-in is slow; reference_models_test takes one of every kind.
class ZooOnCuda : public testing::TestWithParam<const char*> {};

TEST_P(ZooOnCuda, TrainsAsOnTheCpuWithTheSameBitsOnAnyNumberOfRanks) {
  const std::vector<Line> cpu = lines_of(1, "cpu", GetParam()), one = lines_of(1, "cuda", GetParam()),
                          two = lines_of(2, "cuda", GetParam());
  ASSERT_FALSE(cpu.empty());
  ASSERT_EQ(one.size(), two.size());
  size_t n_compared = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].weights, two[i].weights) << one[i].model << " " << one[i].precision << " on 2 ranks";
    EXPECT_TRUE(std::isfinite(one[i].second_loss)) << one[i].model << " " << one[i].precision;
    for (const Line& line : cpu) {
      if (line.model != one[i].model || line.precision != one[i].precision) continue;
      // Before the first update: behind batch norm over two numbers, gradients are little but rounding;
      // MobileNetV2 has so many such layers here that its losses feel it too.
      const bool feels_rounding = line.model.find("mobilenet") != std::string::npos;
      const double tolerance = feels_rounding ? 0.2 : line.precision == "float32" ? 1e-4 : 5e-2;
      EXPECT_NEAR(one[i].first_loss, line.first_loss, tolerance * std::abs(line.first_loss))
          << line.model << " " << line.precision;
      ++n_compared;
    }
  }
  EXPECT_EQ(n_compared, cpu.size());
}

INSTANTIATE_TEST_SUITE_P(Zoo, ZooOnCuda,
                         testing::Values("perceptron", "mlp", "lenet5", "resnet20", "mobilenet_v2", "tdnn",
                                         "conv_autoencoder", "unet", "char_lstm", "char_gru",
                                         "sentiment_bilstm", "seq2seq_attention", "gpt2_mini", "bert_small",
                                         "transformer"));

}  // namespace
}  // namespace lockstep
