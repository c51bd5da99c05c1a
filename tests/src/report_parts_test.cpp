// The pieces of the report: escaping, numbers, ticks, thinning, PNG (judged by libpng),
// the confusion matrix, the choice of the first layer, and the words about the fit.
#include <gtest/gtest.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>

#include "kernels/error.h"
#include "src/report/chart/axis.h"
#include "src/report/chart/chart.h"
#include "src/report/chart/series.h"
#include "src/report/confusion.h"
#include "src/report/filters.h"
#include "src/report/html.h"
#include "src/report/png.h"
#include "src/report/scaling.h"
#include "src/report/verdict.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string labels_of(const Axis& axis) {
  std::string out;
  for (const AxisTick& tick : axis.ticks) out += (out.empty() ? "" : " ") + tick.label;
  return out;
}

TEST(ReportHtml, EscapesAllThatHtmlTreatsSpecially) {
  EXPECT_EQ(html_escape("a<b>&\"c'"), "a&lt;b&gt;&amp;&quot;c&#39;");
  EXPECT_EQ(html_escape("&amp;"), "&amp;amp;");
  EXPECT_EQ(html_escape(std::string_view("a\0b\x1b\n\t", 6)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\n\t");
  EXPECT_EQ(html_escape("größe 日本"), "größe 日本");
}

TEST(ReportHtml, NumbersAsAReaderWantsThem) {
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "−1,234,567");
  EXPECT_EQ(format_short(61706), "61.7 k");
  EXPECT_EQ(format_short(11173962), "11.2 M");
  EXPECT_EQ(format_short(999960), "1.0 M");
  EXPECT_EQ(format_percent(0.98432), "98.43 %");
  EXPECT_EQ(format_percent(kNaN), "–");
  EXPECT_EQ(format_value(0.0000123456), "1.235e-05");
  EXPECT_EQ(format_value(48193.2), "48,193");
  EXPECT_EQ(format_duration(0.0341), "34 ms");
  EXPECT_EQ(format_duration(59.96), "1 min 00 s");
  EXPECT_EQ(format_duration(7630), "2 h 07 min");
  EXPECT_EQ(format_duration(100000), "1 d 04 h");
  EXPECT_EQ(format_bytes(498000), "498 KB");
  EXPECT_EQ(format_bytes(1.34e9), "1.3 GB");
}

TEST(ReportAxis, TicksAreRoundNumbers) {
  EXPECT_EQ(labels_of(make_axis(0.03, 0.94, {})), "0 0.2 0.4 0.6 0.8 1.0");
  EXPECT_EQ(labels_of(make_axis(0, 4690, {.round_ends = false, .integers = true})),
            "0 1,000 2,000 3,000 4,000");
  EXPECT_EQ(labels_of(make_axis(1, 4, {.round_ends = false, .integers = true})), "1 2 3 4");
  EXPECT_EQ(labels_of(make_axis(0.962, 0.991, {.percent = true})), "96 97 98 99 100");
  EXPECT_EQ(labels_of(make_axis(0.5, 1.0, {.percent = true})), "50 60 70 80 90 100");
  EXPECT_EQ(labels_of(make_axis(1.2e6, 2.1e6, {.include_zero = true})), "0 0.5 M 1.0 M 1.5 M 2.0 M 2.5 M");
  EXPECT_EQ(labels_of(make_axis(-3, 7, {})), "−4 −2 0 2 4 6 8");
  EXPECT_EQ(labels_of(make_axis(1e-5, 1e-5, {.include_zero = true})), "0 2e-06 4e-06 6e-06 8e-06 1e-05");
}

TEST(ReportAxis, LogarithmicOverAHundredfoldOnly) {
  EXPECT_FALSE(make_axis(0.01, 1.0, {.allow_log = true}).log);
  const Axis axis = make_axis(0.0099, 1.0, {.allow_log = true});
  EXPECT_TRUE(axis.log);
  EXPECT_EQ(labels_of(axis), "0.005 0.01 0.02 0.05 0.1 0.2 0.5 1");
  EXPECT_FALSE(make_axis(0.0, 1.0, {.allow_log = true}).log);
  EXPECT_FALSE(make_axis(0.0099, 1.0, {}).log);
  EXPECT_EQ(labels_of(make_axis(1e-9, 1e6, {.allow_log = true})), "1e-09 1e-06 0.001 1 1,000 1e+06");
}

TEST(ReportAxis, EveryRangeHasTicksInsideIt) {
  int checked = 0;
  for (const double low : {-5e7, -1.0, 0.0, 1e-12, 0.3, 17.0, 1e9}) {
    for (const double width : {0.0, 1e-9, 0.1, 1.0, 123.0, 1e5, 1e12}) {
      for (const bool round_ends : {false, true}) {
        for (const bool allow_log : {false, true}) {
          const Axis axis = make_axis(low, low + width, {.round_ends = round_ends, .allow_log = allow_log});
          ASSERT_FALSE(axis.ticks.empty()) << low << " + " << width;
          ASSERT_LE(axis.ticks.size(), 12u) << low << " + " << width;
          // Up to rounding, of multiples of the step.
          EXPECT_LE(axis.low, low + 1e-6 * (axis.high - axis.low));
          EXPECT_GE(axis.high, low + width - 1e-6 * (axis.high - axis.low));
          for (size_t i = 0; i < axis.ticks.size(); ++i) {
            EXPECT_GE(axis.position(axis.ticks[i].value), -1e-9);
            EXPECT_LE(axis.position(axis.ticks[i].value), 1 + 1e-9);
            EXPECT_TRUE(i == 0 || axis.ticks[i - 1].value < axis.ticks[i].value);
            ++checked;
          }
        }
      }
    }
  }
  EXPECT_GT(checked, 500);
}

TEST(ReportSeries, ThinningKeepsExtremesEndsAndGaps) {
  Series series;
  for (int i = 0; i < 50000; ++i) {
    series.x.push_back(i);
    series.y.push_back(std::sin(i * 0.37) + (i == 12345 ? 1000 : 0) - (i == 40001 ? 1000 : 0));
  }
  for (int i = 20000; i < 22000; ++i) series.y[static_cast<size_t>(i)] = kNaN;
  const Series thin = thin_series(series, 2000);
  EXPECT_LE(thin.x.size(), 2002u);
  EXPECT_GT(thin.x.size(), 1500u);
  EXPECT_TRUE(std::is_sorted(thin.x.begin(), thin.x.end()));
  EXPECT_EQ(thin.x.front(), 0);
  EXPECT_EQ(thin.x.back(), 49999);
  EXPECT_EQ(extent_of(thin.y).high, series.y[12345]);
  EXPECT_EQ(extent_of(thin.y).low, series.y[40001]);
  int gaps = 0;
  for (size_t i = 0; i < thin.x.size(); ++i) {
    const double original = series.y[static_cast<size_t>(thin.x[i])];
    EXPECT_TRUE(std::isnan(original) ? std::isnan(thin.y[i]) : thin.y[i] == original);
    if (std::isnan(thin.y[i])) ++gaps;
    EXPECT_FALSE(std::isfinite(thin.y[i]) && thin.x[i] >= 20000 && thin.x[i] < 22000);
  }
  EXPECT_GT(gaps, 0);
  series.x.resize(2000);
  series.y.resize(2000);
  EXPECT_EQ(thin_series(series, 2000).y, series.y);
}

TEST(ReportSeries, MovingMeanOfALineIsTheLine) {
  Series series;
  for (int i = 0; i < 30; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 11 ? kNaN : 2.0 * i);
  }
  const Series mean = moving_mean(series, 5);
  EXPECT_TRUE(std::isnan(mean.y[11]));
  EXPECT_EQ(mean.y[0], 0);
  EXPECT_EQ(mean.y[1], 2);
  EXPECT_EQ(mean.y[5], 10);
  EXPECT_EQ(mean.y[12], (20.0 + 24 + 26 + 28) / 4);
  EXPECT_EQ(mean.y[29], (54.0 + 56 + 58) / 3);
  EXPECT_EQ(bin_means(series, 15).y[0], 1.0);
  EXPECT_EQ(bin_means(series, 15).y[5], 20.0);
  EXPECT_EQ(bin_means(series, 15).x[5], 10.5);
}

TEST(ReportChart, AGapSplitsThePath) {
  Chart chart{.title = "Loss",
              .lines = {{.name = "training", .series = {{1, 2, 3, 4, 5}, {4, 3, kNaN, 2, 1}}}}};
  const std::string html = chart_html(chart);
  const size_t begin = html.find("<path class=\"line s1\" d=\"") + 25;
  const std::string d = html.substr(begin, html.find('"', begin) - begin);
  EXPECT_EQ(std::count(d.begin(), d.end(), 'M'), 2) << d;
  EXPECT_EQ(std::count(d.begin(), d.end(), 'L'), 2) << d;
  EXPECT_NE(html.find("[4,3,null,2,1]"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
  chart.lines[0].series.y.assign(5, kNaN);
  EXPECT_EQ(chart_html(chart), "");
}

TEST(ReportChart, TheMeanOnALogarithmicAxisIsThatOfTheLogarithm) {
  Chart chart{.title = "Loss", .allow_log = true, .lines = {{.name = "training", .smooth_from = 50}}};
  for (int i = 0; i < 400; ++i) {
    chart.lines[0].series.x.push_back(i);
    chart.lines[0].series.y.push_back(i % 2 == 0 ? 1e-4 : 1.0);
  }
  const std::string html = chart_html(chart);
  EXPECT_NE(html.find("<path class=\"line faint s1\""), std::string::npos);
  // Inside the run every mean over 21 points lies near 1e-2, the middle of the axis (y = 500).
  const size_t begin = html.find("<path class=\"line s1\" d=\"") + 25;
  int checked = 0;
  for (size_t at = html.find('L', begin); at < html.find('"', begin); at = html.find('L', at + 1)) {
    double x = 0, y = 0;
    ASSERT_EQ(std::sscanf(html.c_str() + at, "L%lf %lf", &x, &y), 2);
    if (x < 100) continue;
    EXPECT_NEAR(y, 500, 50);
    ++checked;
  }
  EXPECT_GT(checked, 300);
}

TEST(ReportPng, LibpngReadsThePixelsBack) {
  int checked = 0;
  for (const int channels : {1, 3, 4}) {
    PngImage image{7, 5, channels, {}};
    for (int i = 0; i < 7 * 5 * channels; ++i) image.pixels.push_back(static_cast<uint8_t>(i * 37));
    const std::string bytes = png_bytes(image);
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    ASSERT_TRUE(png_image_begin_read_from_memory(&png, bytes.data(), bytes.size())) << png.message;
    EXPECT_EQ(png.width, 7u);
    EXPECT_EQ(png.height, 5u);
    png.format = channels == 1 ? PNG_FORMAT_GRAY : channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_RGBA;
    std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(png));
    ASSERT_TRUE(png_image_finish_read(&png, nullptr, pixels.data(), 0, nullptr)) << png.message;
    EXPECT_EQ(pixels, image.pixels);
    ++checked;
  }
  EXPECT_EQ(checked, 3);
  EXPECT_EQ(png_data_uri({1, 1, 1, {0}}).rfind("data:image/png;base64,iVBORw0KGgo", 0), 0u);
}

TEST(ReportConfusion, RatesAndPairs) {
  TemporaryFolder folder;
  const std::string path = folder.file("confusion.json");
  EXPECT_FALSE(read_confusion(path));
  const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
  write(
      "{\"kind\":\"confusion\",\"step\":7,\"classes\":[\"a\",\"b \\\"q\\\" "
      "é\",\"c\"],\"matrix\":[[8,2,0],\n[1,9,0],\n[0,0,0]]}\n");
  const auto m = read_confusion(path);
  ASSERT_TRUE(m);
  EXPECT_EQ(m->step, 7);
  EXPECT_EQ(m->classes[1], "b \"q\" é");
  EXPECT_DOUBLE_EQ(m->recall(0), 0.8);
  EXPECT_DOUBLE_EQ(m->precision(1), 9.0 / 11);
  EXPECT_TRUE(std::isnan(m->recall(2)));
  EXPECT_TRUE(std::isnan(m->precision(2)));
  const auto pairs = m->most_confused(10);
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[0].truth, 0u);
  EXPECT_EQ(pairs[0].predicted, 1u);
  EXPECT_EQ(pairs[0].count, 2);
  for (const char* bad : {"", "[]", "{\"step\":7}", "{\"matrix\":[[1,2],[3]]}", "{\"matrix\":[1,2]}",
                          "{\"matrix\":[[1,-2],[3,4]]}", "{\"classes\":[\"a\"],\"matrix\":[[1,2],[3,4]]}"}) {
    write(bad);
    EXPECT_THROW(read_confusion(path), Error) << bad;
  }
}

// What is written of more classes than fit a matrix.
TEST(ReportConfusion, CellsStandForAMatrix) {
  TemporaryFolder folder;
  const std::string path = folder.file("confusion.json");
  const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
  write("{\"step\":7,\"classes\":[\"a\",\"b\",\"c\"],\"cells\":[[1,1,9],\n[0,0,8],[0,1,2],[1,0,1]]}\n");
  const auto m = read_confusion(path);
  ASSERT_TRUE(m);
  EXPECT_EQ(m->at(0, 0), 8);
  EXPECT_EQ(m->at(1, 0), 1);
  EXPECT_EQ(m->at(2, 2), 0);
  EXPECT_DOUBLE_EQ(m->recall(0), 0.8);
  EXPECT_DOUBLE_EQ(m->precision(1), 9.0 / 11);
  EXPECT_TRUE(std::isnan(m->recall(2)));
  for (const char* bad :
       {"{\"cells\":[[0,0,1]]}", "{\"classes\":[\"a\"],\"cells\":[[0,1,1]]}",
        "{\"classes\":[\"a\"],\"cells\":[[0,0]]}", "{\"classes\":[\"a\"],\"cells\":[0,0,1]}"}) {
    write(bad);
    EXPECT_THROW(read_confusion(path), Error) << bad;
  }
}

TEST(ReportFilters, FirstLayerIsFoundByShapeAndName) {
  EXPECT_TRUE(natural_less("features.2.weight", "features.10.weight"));
  EXPECT_FALSE(natural_less("features.10.weight", "features.2.weight"));
  EXPECT_TRUE(natural_less("conv", "conv1"));
  const auto name = [](const std::vector<CheckpointEntry>& entries, const ImageInput& input = {}) {
    const auto entry = choose_first_layer(entries, input);
    return entry ? entry->name : std::string("none");
  };
  // LeNet; MobileNet's depthwise layers; an autoencoder on grey images.
  EXPECT_EQ(name({{"/optimizer/velocity/conv1.weight", {6, 1, 5, 5}},
                  {"/parameters/conv1.weight", {6, 1, 5, 5}},
                  {"/parameters/conv2.weight", {16, 6, 5, 5}},
                  {"/parameters/fc1.weight", {120, 256}}}),
            "/parameters/conv1.weight");
  EXPECT_EQ(name({{"/parameters/features.1.weight", {32, 1, 3, 3}},
                  {"/parameters/features.10.weight", {32, 3, 3, 3}}}),
            "/parameters/features.10.weight");
  EXPECT_EQ(
      name({{"/parameters/decoder.0.weight", {8, 1, 2, 2}}, {"/parameters/encoder.0.weight", {8, 1, 3, 3}}}),
      "/parameters/encoder.0.weight");
  EXPECT_EQ(name({{"/parameters/a.weight", {8, 1, 3, 3}}, {"/parameters/b.weight", {8, 3, 3, 3}}},
                 {true, 1, 28, 28}),
            "/parameters/a.weight");
  EXPECT_EQ(name({{"/parameters/conv.weight", {8, 16, 3, 3}}, {"/parameters/fc.weight", {10, 784}}},
                 {true, 0, 0, 0}),
            "none");
  // Dense layers only for images.
  const std::vector<CheckpointEntry> dense = {{"/parameters/fc1.weight", {128, 784}},
                                              {"/parameters/fc2.weight", {10, 128}}};
  EXPECT_EQ(name(dense), "none");
  EXPECT_EQ(name(dense, {true, 0, 0, 0}), "/parameters/fc1.weight");
  EXPECT_EQ(name(dense, {true, 1, 28, 28}), "/parameters/fc1.weight");
  EXPECT_EQ(name(dense, {true, 3, 32, 32}), "none");

  CheckpointInfo info;
  EXPECT_FALSE(image_input_of(info, "").is_image);
  EXPECT_FALSE(image_input_of(info, "{broken").is_image);
  EXPECT_TRUE(image_input_of(info, "data: {train: {input: image}}").is_image);
  EXPECT_EQ(image_input_of(info, "model: {zoo: mlp, input: [3, 8, 9]}").width, 9);
  info.texts["input_shape"] = "28,28,1";
  EXPECT_EQ(image_input_of(info, "").channels, 1);
  info.texts["input_shape"] = "64";
  EXPECT_FALSE(image_input_of(info, "").is_image);
}

TEST(ReportFilters, EachIsNormalisedByItself) {
  std::vector<float> weights = {0, 1, 2, 4, -3, -3, -3, -3};  // two filters of (1, 2, 2)
  const auto grey = filter_images(weights, {2, 1, 2, 2}, 10);
  ASSERT_EQ(grey.size(), 2u);
  EXPECT_EQ(grey[0].image.pixels, (std::vector<uint8_t>{0, 64, 128, 255}));
  EXPECT_EQ(grey[1].image.pixels, (std::vector<uint8_t>{128, 128, 128, 128}));
  EXPECT_EQ(grey[0].high, 4);
  weights = {0, 2, 4, 6, 8, 10};  // (3, 1, 2): the channels become RGB pixels
  EXPECT_EQ(filter_images(weights, {1, 3, 1, 2}, 10)[0].image.pixels,
            (std::vector<uint8_t>{0, 102, 204, 51, 153, 255}));
  weights[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(filter_images(weights, {1, 3, 1, 2}, 10)[0].image.pixels[2 * 1 + 2], 0);
  EXPECT_EQ(filter_images(weights, {6, 1, 1, 1}, 4).size(), 4u);
}

/// A run of `n` training lines over n / 10 epochs with a validation at the end of each.
RunData run_of(double train_accuracy, double validation_accuracy, double fall) {
  RunData run;
  for (int i = 1; i <= 100; ++i) {
    run.train.step.push_back(i);
    run.train.columns["epoch"].push_back(i / 10.0);
    run.train.columns["loss"].push_back(std::exp(-fall * i));
    run.train.columns["accuracy"].push_back(train_accuracy);
    if (i % 10 != 0) continue;
    run.validation.step.push_back(i);
    run.validation.columns["loss"].push_back(std::exp(-fall * i) * 1.01);
    run.validation.columns["accuracy"].push_back(validation_accuracy);
  }
  return run;
}

TEST(ReportVerdict, NamesTheFitInWords) {
  const auto judged = [](const RunData& run) { return judge(run, summarize(run)); };
  EXPECT_EQ(judged(run_of(0.99, 0.90, 0)).headline, "Overfitting");
  EXPECT_TRUE(judged(run_of(0.99, 0.90, 0)).warns);
  EXPECT_EQ(judged(run_of(0.99, 0.96, 0)).headline, "Slight overfitting");
  EXPECT_EQ(judged(run_of(0.99, 0.985, 0)).headline, "No overfitting");
  EXPECT_EQ(judged(run_of(0.90, 0.95, 0)).headline, "No overfitting");
  EXPECT_EQ(judged(run_of(0.55, 0.55, 0)).headline, "Possibly underfitting");
  const Verdict falling = judged(run_of(0.55, 0.55, 0.05));
  EXPECT_EQ(falling.headline, "No overfitting");
  EXPECT_NE(falling.sentences.back().find("more steps"), std::string::npos);

  RunData rising = run_of(0.99, 0.98, 0);
  rising.validation.columns["loss"] = {1, .8, .5, .4, .5, .6, .6, .7, .7, .8};
  EXPECT_NE(judged(rising).sentences.back().find("risen 100 %"), std::string::npos);
  EXPECT_EQ(summarize(rising).best_loss_step, 40);

  RunData regression = run_of(0, 0, 0);
  regression.train.columns.erase("accuracy");
  regression.validation.columns.erase("accuracy");
  EXPECT_EQ(judged(regression).headline, "No overfitting");
  regression.validation.columns["loss"].assign(10, 2.0);
  EXPECT_EQ(judged(regression).headline, "Overfitting");
  regression.validation = {};
  EXPECT_EQ(judged(regression).headline, "No validation yet");
  regression.train.columns["loss"][50] = kNaN;
  EXPECT_NE(judged(regression).sentences.back().find("first at step 51"), std::string::npos);
}

// scipy.stats: t.ppf(0.975, 2) = 4.302653; t.interval of {1, 2, 4} is 2.333333 +- 3.794.
TEST(ReportScaling, AMeanHasItsConfidence) {
  EXPECT_EQ(estimate({}).value, 0);
  EXPECT_EQ(estimate({3}).value, 3);
  EXPECT_EQ(estimate({3}).half_width, 0);
  const Estimate three = estimate({1, 2, 4});
  EXPECT_NEAR(three.value, 7.0 / 3, 1e-12);
  EXPECT_NEAR(three.half_width, 4.303 * std::sqrt(7.0 / 3 / 3), 1e-3);
}

TEST(ReportScaling, RoundsAreComparedWithTheirOwnFirstRow) {
  // The machine is twice as slow in the second round: no matter.
  ScalingStudy study{"job.yaml", "mine", "weak", {}};
  study.rows.push_back({1, 64, 64, {{10, 6400, 0, 1}, {20, 3200, 0, 2}}});
  study.rows.push_back({4, 256, 64, {{12.5, 20480, 2.5, 0}, {25, 10240, 5, 0}}});
  const ScalingResult result = study.result(1);
  EXPECT_DOUBLE_EQ(result.speed_up.value, 3.2);
  EXPECT_DOUBLE_EQ(result.efficiency.value, 0.8);
  EXPECT_DOUBLE_EQ(result.efficiency.half_width, 0);
  EXPECT_DOUBLE_EQ(result.exposed_communication, 0.2);
  EXPECT_DOUBLE_EQ(study.result(0).input_stall, 0.1);
  EXPECT_NE(scaling_csv(study).find("\n4,256,64,2,18.75,15360,3.2,0.8,0,0.2,0,\n"), std::string::npos)
      << scaling_csv(study);
  const std::string page = scaling_page(study);
  for (const char* text : {"weak scaling", "80.0 %", "Efficiency", "15,360"})
    EXPECT_NE(page.find(text), std::string::npos) << text;
  EXPECT_EQ(page.find("joules"), std::string::npos);
  study.rows[1].samples[0].joules = study.rows[1].samples[1].joules = 512;
  EXPECT_NE(scaling_page(study).find("joules a sample"), std::string::npos);
}

}  // namespace
}  // namespace lockstep
