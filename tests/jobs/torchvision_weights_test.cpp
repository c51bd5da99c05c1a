// Weights by torchvision's names: random networks of torchvision come in through a safetensors file of
// Python's package, predict what torchvision predicts, and go back with the same bits. Python's side is
// torchvision_weights.py.
#include <gtest/gtest.h>

#include "tests/jobs/program.h"
#include "tests/support/python.h"

namespace lockstep {
namespace {

class TorchvisionWeights : public testing::TestWithParam<std::string> {};

TEST_P(TorchvisionWeights, PredictTheSameAndComeBack) {
  const std::string python = python_with("torch, torchvision, h5py, safetensors.torch");
  if (python.empty())
    GTEST_SKIP() << "no Python with torch, torchvision, h5py and safetensors; name one in LOCKSTEP_PYTHON";
  const TemporaryFolder folder;
  const auto run_script = [&](const std::string& verb) {
    return run_shell("OMP_NUM_THREADS=1 " + python +
                     " " LOCKSTEP_SOURCE_DIR "/tests/jobs/torchvision_weights.py " + verb + " " +
                     folder.path() + " " + GetParam());
  };
  const Ended written = run_script("write");
  ASSERT_EQ(written.status, 0) << written.output;
  const Ended import = lockstep("import " + folder.file("theirs.safetensors") + " --job " +
                                folder.file("job.yaml") + " --out " + folder.file("start.h5"));
  ASSERT_EQ(import.status, 0) << import.output;
  const Ended predict = lockstep_on(2, "predict " + folder.file("start.h5") + " --data " +
                                           folder.file("data") + " --out " + folder.file("logits.h5"));
  ASSERT_EQ(predict.status, 0) << predict.output;
  const Ended exported =
      lockstep("export " + folder.file("start.h5") + " --out " + folder.file("ours.safetensors"));
  ASSERT_EQ(exported.status, 0) << exported.output;
  const Ended compared = run_script("compare");
  EXPECT_EQ(compared.status, 0) << compared.output;
  EXPECT_NE(compared.output.find("with the same bits"), std::string::npos) << compared.output;
  std::cout << compared.output;
}

INSTANTIATE_TEST_SUITE_P(Zoo, TorchvisionWeights,
                         testing::Values("resnet18", "mobilenet_v2", "googlenet", "vgg11_bn"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace lockstep
