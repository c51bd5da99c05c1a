// `lockstep explain`: its numbers against the network's own, its pictures in the report, and its refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "io/files/base64.h"
#include "kernels/error.h"
#include "src/run/explain/excite.h"
#include "src/run/explain/explain.h"
#include "src/run/explain/scan.h"
#include "src/run/predict/predictor.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

TEST(Base64, IsThatOfTheStandardAndComesBack) {
  const std::vector<std::pair<std::string, std::string>> known = {
      // RFC 4648, 10
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : known) {
    EXPECT_EQ(to_base64(bytes), text);
    const std::vector<uint8_t> back = from_base64(text, "here");
    EXPECT_EQ(std::string(back.begin(), back.end()), bytes);
  }
  for (const char* broken : {"Zg=", "Z===", "Zm9v!mFy", "Zg==Zg==", "===="})
    EXPECT_THROW(from_base64(broken, "here"), Error) << broken;
}

TEST(Pictures, ShowWhatWasStored) {
  const Normalization normalization{{100, 50, 0}, {10, 20, 255}};
  const PixelScale scale({3, 1, 2}, normalization, 255);
  std::vector<float> image{0, 5, 1, -2, 0.5F, 1};
  const Picture picture = scale.picture(image.data(), "x");
  EXPECT_EQ(picture.pixels, (std::vector<uint8_t>{100, 70, 128, 150, 10, 255}));
  image = {100, -100, 1, -2, 0.5F, 1};
  scale.clamp(image.data());
  EXPECT_NEAR(image[0], 15.5, 1e-5);
  EXPECT_NEAR(image[1], -10, 1e-5);
  EXPECT_NEAR(image[2], 1, 1e-5);
  const PixelScale numbers({1, 1, 3}, {}, 0);  // without a range: from the smallest to the largest
  const std::vector<float> values{-3, 1, 5};
  EXPECT_EQ(numbers.picture(values.data(), "").pixels, (std::vector<uint8_t>{0, 128, 255}));
  const std::vector<float> large(300 * 200, 1.0F);
  const Picture small = grey_picture(large.data(), 300, 200, 0, 2, "");
  EXPECT_EQ(small.height, 100);
  EXPECT_EQ(small.width, 67);
  EXPECT_EQ(small.pixels, std::vector<uint8_t>(6700, 128));
}

class Explain : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    ASSERT_EQ(lockstep(place_->train("run") + "--set train.epochs=3").status, 0);
  }
  static void TearDownTestSuite() { delete place_; }
  static std::string best() { return place_->file("run/checkpoints/best.h5"); }
  static std::string data() { return place_->file("data/test"); }
  static ExplainOptions options() { return {.checkpoint = best(), .data = data()}; }
  static Ended run(const std::string& words) { return lockstep("explain " + words); }
  static inline Workplace* place_ = nullptr;
};

TEST_F(Explain, ScanJudgesAsTheNetworkDoes) {
  const ExplainedModel subject(options());
  const std::vector<Unit> units{{"", 3}, {"conv2", 1}};
  const ScannedData data = scan(subject, units, 12, 41);
  Predictor predictor(best());
  std::vector<double> losses;
  std::vector<std::pair<double, int64_t>> of_unit;
  int64_t n_wrong = 0;
  std::vector<int64_t> all(60);
  for (int64_t i = 0; i < 60; ++i) all[static_cast<size_t>(i)] = i;
  Dataset labels = Dataset::open(Explain::data());
  for (const auto& [sample, image] : subject.images(all)) {
    int64_t truth = 0;
    std::vector<std::byte> raw(8), pixels(64);
    labels.read("label", sample, 1, raw.data());
    labels.read("image", sample, 1, pixels.data());
    truth = labels.field("label").dtype == DType::kInt64 ? *reinterpret_cast<int64_t*>(raw.data())
                                                         : *reinterpret_cast<int32_t*>(raw.data());
    std::vector<float> stored;
    for (const std::byte b : pixels) stored.push_back(static_cast<float>(b));
    const std::vector<float> scores = predictor.predict(stored, 1);
    double sum = 0;
    for (const float s : scores) sum += std::exp(static_cast<double>(s));
    losses.push_back(std::log(sum) - scores[static_cast<size_t>(truth)]);
    of_unit.emplace_back(scores[3], sample);
    const auto predicted = std::max_element(scores.begin(), scores.end()) - scores.begin();
    n_wrong += predicted != truth;
    if (sample == 41) {
      EXPECT_EQ(data.asked.sample, 41);
      EXPECT_EQ(data.asked.truth, truth);
      EXPECT_EQ(data.asked.predicted, predicted);
      EXPECT_NEAR(data.asked.loss, losses.back(), 1e-4);
    }
  }
  ASSERT_EQ(losses.size(), 60U);
  std::sort(losses.rbegin(), losses.rend());
  ASSERT_EQ(data.worst.size(), 12U);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR(data.worst[i].loss, losses[i], 1e-4) << i;
  int64_t n_mistakes = 0;
  for (const auto& [cell, mistake] : data.mistakes) n_mistakes += mistake.count;
  EXPECT_EQ(n_mistakes, n_wrong);
  std::sort(of_unit.rbegin(), of_unit.rend());
  ASSERT_EQ(data.exciting[0].size(), 12U);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR(data.exciting[0][i].first, of_unit[i].first, 1e-4) << i;
}

TEST_F(Explain, GradientsOfUnitsAreThoseOfTheirValues) {
  const ExplainedModel subject(options());
  for (const std::string layer : {"", "conv2"}) {
    UnitGradient unit(subject.model, layer);
    std::vector<float> image = subject.images({7}).at(7), gradient, ignored;
    unit.at(image, 1, gradient);
    double norm = 0, difference = 0;
    for (size_t i = 0; i < image.size(); ++i) {
      const float x = image[i], h = 1e-2F;
      image[i] = x + h;
      const double above = unit.at(image, 1, ignored);
      image[i] = x - h;
      const double below = unit.at(image, 1, ignored);
      image[i] = x;
      const double expected = (above - below) / 0.02;
      norm += expected * expected;
      difference += (gradient[i] - expected) * (gradient[i] - expected);
    }
    EXPECT_GT(norm, 1e-6) << layer;
    EXPECT_LT(difference, 1e-4 * norm) << layer;
  }
  UnitGradient outputs(subject.model, "");
  const Excitement made = excite(outputs, 2, subject.image(), subject.pixels);
  EXPECT_GT(made.after, made.before + 1);
  EXPECT_EQ(excite(outputs, 2, subject.image(), subject.pixels).input, made.input);
  std::vector<float> clamped = made.input;
  subject.pixels.clamp(clamped.data());
  for (size_t i = 0; i < clamped.size(); ++i)
    EXPECT_NEAR(clamped[i], made.input[i], 1e-5) << "what can be stored";
}

TEST_F(Explain, PicturesBecomeAPartOfTheReport) {
  const Ended ended =
      run(best() + " --data " + data() + " --sample 5 --layer conv1 --unit conv2:0 --unit conv2:3");
  ASSERT_EQ(ended.status, 0) << ended.output;
  const std::string page = read_file(place_->file("run/report.html"));
  for (const char* part :
       {"Largest losses", "What the decision depends on", "Feature maps of conv1", "for sample 5,",
        "What units of conv2 answer to", "<h3>conv2:3</h3>", "href=\"#explained-losses\"", ">Loss<"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find("Feature maps of conv2"), std::string::npos);
  ASSERT_EQ(lockstep("report " + place_->file("run")).status, 0);
  EXPECT_EQ(read_file(place_->file("run/report.html")), page) << "the pictures stay";
  write_file(place_->file("run/explanation.json"),
             "{\"step\": 1, \"data\": \"x\", \"groups\": [{\"id\": \"a\", \"title\": \"t\", \"note\": "
             "\"n\", \"pictures\": [{\"caption\": \"c\", \"width\": 3, \"height\": 1, \"channels\": 1, "
             "\"pixels\": \"AAA=\"}]}]}");
  ASSERT_EQ(lockstep("report " + place_->file("run")).status, 0);
  EXPECT_NE(read_file(place_->file("run/report.html")).find("Not shown: a picture has not as many pixels"),
            std::string::npos);

  std::filesystem::copy_file(best(), place_->file("alone.h5"));
  const Ended alone = run(place_->file("alone.h5") + " --data " + data() + " --samples 20 --out " +
                          place_->file("alone.html"));
  ASSERT_EQ(alone.status, 0) << alone.output;
  EXPECT_NE(read_file(place_->file("alone.html")).find("Of 20 samples"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(place_->file("alone.html.json")));
}

TEST_F(Explain, RefusesWhatIsNotThere) {
  const std::string words = best() + " --data " + data() + " ";
  const auto refused = [&](const std::string& all, int status, const std::string& part) {
    const Ended ended = run(all);
    EXPECT_EQ(ended.status, status) << ended.output;
    EXPECT_NE(ended.output.find(part), std::string::npos) << ended.output;
    EXPECT_EQ(count(ended.output, "remedy:"), 1) << ended.output;
  };
  refused(words + "--layer conv3", 1, "did you mean 'conv");
  refused(words + "--layer fc1", 1, "which are no maps");
  refused(words + "--unit conv1:60", 1, "channel 60 is not there");
  refused(words + "--unit conv1", 1, "LAYER:CHANNEL");
  refused(words + "--sample 60", 1, "is not among 60 samples");
  refused(words + "--samples 0", 2, "at least 1");
  refused(best(), 2, "--data PATH is missing");
  std::filesystem::copy_file(best(), place_->file("other.h5"));
  refused(place_->file("other.h5") + " --data " + data(), 2, "--out FILE.html is missing");
  write_file(place_->file("flat.yaml"),
             "name: flat\nmodel: {layers: [flatten, {affine: 10}]}\ndata: {train: {path: " +
                 place_->file("data/train") +
                 "}}\nbatch: {global: 20, micro: 20}\noptimizer: {sgd: "
                 "{lr: 0.1}}\ntrain: {steps: 2}\n");
  ASSERT_EQ(lockstep("train " + place_->file("flat.yaml") + " --out " + place_->file("flat")).status, 0);
  const Ended flat = run(place_->file("flat/checkpoints/step-000000002.h5") + " --data " + data());
  EXPECT_EQ(flat.status, 0) << "a network without convolutions has losses and saliency: " << flat.output;
}

}  // namespace
}  // namespace lockstep
