// The harness of op tests must fail where an op breaks a promise: each test runs an op with one
// fault and counts the failures that the harness reports.
#include "tests/support/op_test.h"

#include <gtest/gtest-spi.h>

#include <algorithm>
#include <string>
#include <vector>

namespace lockstep {
namespace {

enum class Fault {
  kNone,
  kWritesBeyondDst,
  kWritesBeforeDiffSrc,
  kWritesBeyondScratchpad,
  kWritesBeyondWorkspace,
  kChangesSrc,
  kChangesParams,
  kChangesDiffDst,
  kOtherBitsInForward,
  kOtherBitsInBackward,
  kWrongGradient,
  kHiddenSrc,
  kAddsToDiffSrc,
};

/// dst = weight * src of 5 elements, weight a parameter.
class Scale : public Op {
 public:
  explicit Scale(Fault fault) : fault_(fault) {
    info_.src = info_.dst = {{Shape{5}}};
    info_.workspace_bytes = info_.scratchpad_bytes = 8;
    info_.backward_needs_dst = false;
    info_.backward_needs_src = fault != Fault::kHiddenSrc;
  }
  void forward(Stream&, const OpArgs& args) override {
    const float weight = *args.params[0].as<float>();
    float *src = args.src[0].as<float>(), *dst = args.dst[0].as<float>();
    for (int i = 0; i < 5; ++i) dst[i] = weight * src[i];
    if (fault_ == Fault::kWritesBeyondDst) dst[5] = 0;
    if (fault_ == Fault::kWritesBeyondScratchpad) args.scratchpad[8] = std::byte{0};
    if (fault_ == Fault::kWritesBeyondWorkspace) args.workspace[8] = std::byte{0};
    if (fault_ == Fault::kChangesSrc) src[4] = 0;
    if (fault_ == Fault::kChangesParams) *args.params[0].as<float>() = 0;
    if (fault_ == Fault::kOtherBitsInForward) dst[2] += static_cast<float>(calls_++);
  }
  void backward(Stream&, const OpArgs& args) override {
    const float weight = *args.params[0].as<float>();
    const float* src = args.src[0].as<float>();
    float *diff_dst = args.diff_dst[0].as<float>(), *diff_src = args.diff_src[0].as<float>();
    float sum = 0;
    for (int i = 0; i < 5; ++i) {
      const float diff = weight * diff_dst[i];
      diff_src[i] = fault_ == Fault::kAddsToDiffSrc ? diff_src[i] + diff : diff;
      sum += src[i] * diff_dst[i];
    }
    *args.diff_params[0].as<float>() = fault_ == Fault::kWrongGradient ? 1.1f * sum : sum;
    if (fault_ == Fault::kWritesBeforeDiffSrc) diff_src[-1] = 0;
    if (fault_ == Fault::kChangesDiffDst) diff_dst[0] = 0;
    if (fault_ == Fault::kOtherBitsInBackward) diff_src[0] += static_cast<float>(calls_++);
  }

 private:
  Fault fault_;
  int calls_ = 0;
};

/// The failures that the harness reports for the op, one text each.
std::vector<std::string> failures(Fault fault) {
  testing::TestPartResultArray results;
  {
    const testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
    Scale op(fault);
    OpInputs in;
    in.src = {{Shape{5}, {1, 2, 3, 4, 5}}};
    in.params = {{Shape{1}, {0.5}}};
    in.diff_dst = {{1, -1, 2, -2, 0.5}};
    const OpOutputs out = run_op(op, in);
    expect_close(out.dst[0], {0.5, 1, 1.5, 2, 2.5}, 0, "dst");
    expect_close(out.diff_src[0], {0.5, -0.5, 1, -1, 0.25}, 0, "diff_src");
    expect_close(out.diff_params[0], {-0.5}, 1e-6, "diff_params");
    if (fault == Fault::kWrongGradient) check_gradients(op, in);
  }
  std::vector<std::string> texts;
  for (int i = 0; i < results.size(); ++i) texts.push_back(results.GetTestPartResult(i).message());
  return texts;
}

void expect_found(Fault fault, const std::string& text) {
  const std::vector<std::string> found = failures(fault);
  EXPECT_FALSE(found.empty()) << "the fault was not found: " << text;
  const bool named = std::any_of(found.begin(), found.end(),
                                 [&](const std::string& f) { return f.find(text) != std::string::npos; });
  EXPECT_TRUE(named) << "no failure says '" << text << "'; the first of " << found.size() << ": "
                     << (found.empty() ? "" : found[0]);
}

TEST(OpTestHarness, AcceptsAGoodOp) {
  const std::vector<std::string> found = failures(Fault::kNone);
  EXPECT_TRUE(found.empty()) << found[0];
}

TEST(OpTestHarness, FindsWritesOutside) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer ends the program at such a write";
#else
  expect_found(Fault::kWritesBeyondDst, "wrote outside of dst");
  expect_found(Fault::kWritesBeforeDiffSrc, "wrote outside of diff_src");
  expect_found(Fault::kWritesBeyondScratchpad, "wrote outside of the scratchpad");
  expect_found(Fault::kWritesBeyondWorkspace, "wrote outside of the workspace");
#endif
}

TEST(OpTestHarness, FindsChangedInputs) {
  expect_found(Fault::kChangesSrc, "forward changed src");
  expect_found(Fault::kChangesParams, "forward changed params");
  expect_found(Fault::kChangesDiffDst, "backward changed diff_dst");
}

TEST(OpTestHarness, FindsOtherBitsInARepeat) {
  expect_found(Fault::kOtherBitsInForward, "repeated forward gave other bits");
  expect_found(Fault::kOtherBitsInBackward, "repeated backward gave other bits");
}

TEST(OpTestHarness, FindsWrongNumbers) {
  expect_found(Fault::kWrongGradient, "diff_params[0]");
  expect_found(Fault::kWrongGradient, "diff_params 0 against central differences");
  expect_found(Fault::kAddsToDiffSrc, "nan, expected 0.5");
  expect_found(Fault::kHiddenSrc, "nan, expected -0.5");  // src was read although info() denies it
}

TEST(OpTestHarness, ComparisonFailsOnNanSizeAndNothing) {
  testing::TestPartResultArray results;
  {
    const testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results);
    expect_close({}, {}, 1, "nothing");
    expect_close({1, 2}, {1}, 1, "sizes");
  }
  EXPECT_EQ(results.size(), 2);
}

}  // namespace
}  // namespace lockstep
