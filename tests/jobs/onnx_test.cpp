// ONNX files: those of every network of the zoo have the structure that onnxruntime was seen to agree with
// (scripts/check-onnx, whose --update writes the list), and `export` writes them.
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "src/network/model.h"
#include "tests/jobs/program.h"
#include "tests/jobs/small_runs.h"

namespace lockstep {
namespace {

std::vector<std::string> structures_in(std::istream& text) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);)
    if (line.find(" structure ") != std::string::npos) lines.push_back(line);
  return lines;
}

TEST(Onnx, StructuresAreThoseThatAgreedWithOnnxruntime) {
  const TemporaryFolder folder;
  const Ended ended = run_shell(std::string(LOCKSTEP_ZOO_PROGRAM) + " " + folder.path() + " onnx", 300);
  ASSERT_EQ(ended.status, 0) << ended.output;
  std::stringstream output(ended.output);
  std::ifstream file(std::string(LOCKSTEP_SOURCE_DIR) + "/tests/jobs/onnx_structures.txt");
  const std::vector<std::string> actual = structures_in(output), expected = structures_in(file);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(actual[i], expected[i]) << "run scripts/check-onnx --update";
  for (const std::string& name : zoo_names()) {
    int n_found = 0;
    for (const std::string& line : expected) n_found += line.starts_with("zoo: " + name + ",");
    EXPECT_GE(n_found, 1) << name;
  }
}

class OnnxExport : public SmallRuns {};

TEST_F(OnnxExport, WritesANetworkThatTakesWhatTheDataHold) {
  ASSERT_EQ(lockstep(train("onnx") + "--set data.train.path=" + file("named.h5") +
                     " --set data.validation.path=" + file("named.h5"))
                .status,
            0);
  const std::string best = file("onnx/checkpoints/best.h5"), out = file("network.onnx");
  const Ended ended = lockstep("export " + best + " --out " + out);
  ASSERT_EQ(ended.status, 0) << ended.output;
  EXPECT_NE(ended.output.find("operators (ONNX opset 17)"), std::string::npos) << ended.output;
  std::ifstream file_in(out, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file_in)), {});
  EXPECT_NE(bytes.find("[\"ant\",\"bee\",\"cat\",\"dog\"]"), std::string::npos);
  const Ended again = lockstep("export " + best + " --out " + out);
  EXPECT_NE(again.status, 0);
  EXPECT_NE(again.output.find("--overwrite"), std::string::npos) << again.output;
  EXPECT_EQ(lockstep("export " + best + " --out " + file("x.bin") + " --to tflite").status, 2);
}

TEST_F(OnnxExport, NamesTheLayerThatHasNoForm) {
  write_file(file("even.yaml"),
             "name: even\nmodel: {layers: [{reshape: [4, 1, 1]}, {local_response_norm: {size: 4, name: "
             "lrn}}, flatten, "
             "{affine: 4}]}\ndata: {train: {path: " +
                 file("train.h5") +
                 "}}\nbatch: {global: 8, micro: 4}\noptimizer: {sgd: {lr: 0.1}}\ntrain: {steps: 2}\n");
  ASSERT_EQ(lockstep("train " + file("even.yaml") + " --out " + file("even")).status, 0);
  const Ended ended =
      lockstep("export " + file("even/checkpoints/step-000000002.h5") + " --out " + file("even.onnx"));
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.output.find("layer 'lrn' (local_response_norm)"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("use an odd size"), std::string::npos) << ended.output;
}

}  // namespace
}  // namespace lockstep
