// The whole page: written from run folders with all, some and no parts; well-formed, escaped,
// equal for equal input, and loading nothing.
#include "src/report/report.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "io/checkpoint/checkpoint.h"
#include "io/files/metrics.h"
#include "kernels/error.h"
#include "src/report/run_data.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

/// Whether every start tag has its end tag in order, attributes are quoted, and no bare "<" or
/// "&" stands in text. Returns what is wrong, or an empty text; counts the elements.
std::string structure_problem(const std::string& html, size_t& n_elements) {
  static const std::set<std::string> kVoid = {"meta", "img", "br", "link", "input", "hr"};
  std::vector<std::string> open;
  n_elements = 0;
  size_t at = 0;
  while (at < html.size()) {
    if (html[at] == '&') {
      const size_t end = html.find(';', at);
      if (end == std::string::npos || end - at > 7) return "bare & in: " + html.substr(at, 40);
    }
    if (html[at] != '<') {
      ++at;
      continue;
    }
    size_t end = at + 1;
    for (char quote = 0; end < html.size() && (quote != 0 || html[end] != '>'); ++end) {
      if (html[end] == '<') return "< inside a tag: " + html.substr(at, 60);
      if (html[end] == '"') quote = quote != 0 ? 0 : '"';
    }
    if (end == html.size()) return "tag without an end: " + html.substr(at, 60);
    const std::string tag = html.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.rfind("!DOCTYPE", 0) == 0) continue;
    const std::string name = tag.substr(0, tag.find_first_of(" /\n", 1));
    if (tag[0] == '/') {
      if (open.empty() || "/" + open.back() != name) return "unexpected <" + tag + ">";
      open.pop_back();
      continue;
    }
    ++n_elements;
    if (tag.back() == '/' || kVoid.contains(name)) continue;
    open.push_back(name);
    if (name == "script" || name == "style") at = html.find("</" + name, at);
  }
  return open.empty() ? "" : "unclosed <" + open.back() + ">";
}

TEST(StructureProblem, SeesBrokenMarkup) {
  size_t n = 0;
  EXPECT_EQ(
      structure_problem("<!DOCTYPE html>\n<p class=\"a>b\">x &lt; y<br>z</p><svg><path d=\"M0\"/></svg>", n),
      "");
  EXPECT_EQ(n, 4u);
  for (const char* broken :
       {"<p>", "</p>", "<b><i></b></i>", "<p>a & b</p>", "<p>1 < 2</p>", "<p class=\"x>y</p>"}) {
    EXPECT_NE(structure_problem(broken, n), "") << broken;
  }
}

class ReportTest : public testing::Test {
 private:
  TemporaryFolder folder_;

 protected:
  std::string run = folder_.file("run");
  void SetUp() override { fs::create_directories(run); }

  void full_run(const std::string& path, size_t n_classes) {
    MetricsWriter metrics(path + "/metrics.jsonl", -1);
    metrics.write(JsonObject()
                      .set("kind", "start")
                      .set("name", "a <b>&\"bold\"</b> 'run'")
                      .set("parameters", 61706)
                      .set("ranks", 4)
                      .set("threads", 1)
                      .set("device", "cpu")
                      .set("device_name", "<script>alert(1)</script>")
                      .set("global_batch", 128)
                      .set("micro_batch", 32)
                      .set("version", "0.1.0"));
    for (int step = 1; step <= 3000; ++step) {
      const double loss = step == 700 ? std::nan("") : 3.0 / step + 0.001;
      metrics.write(JsonObject()
                        .set("kind", "train")
                        .set("step", step)
                        .set("epoch", step / 100.0)
                        .set("loss", loss)
                        .set("accuracy", 1 - loss / 4)
                        .set("lr", 0.1)
                        .set("samples_per_s", 1000.0 + step % 7)
                        .set("grad_norm", 1.0 / step)
                        .set("time_s", step * 0.1)
                        .set("data_wait_s", 0.01)
                        .set("communication_s", 0.02)
                        .set("perplexity", std::exp(loss)));
      if (step % 500 == 0) {
        metrics.write(JsonObject()
                          .set("kind", "validation")
                          .set("step", step)
                          .set("epoch", step / 100.0)
                          .set("loss", 0.2)
                          .set("accuracy", 0.9 + step * 1e-5));
        metrics.write(JsonObject()
                          .set("kind", "checkpoint")
                          .set("step", step)
                          .set("file", checkpoint_file_name(step))
                          .set("time_s", 0.5)
                          .set("bytes", 498000));
      }
    }
    metrics.write(JsonObject()
                      .set("kind", "warning")
                      .set("step", 1200)
                      .set("text", "slow disk: read < 10 MB/s & falling"));
    metrics.write(JsonObject().set("kind", "resume").set("step", 1500).set("file", "x.h5").set("ranks", 2));
    metrics.write(JsonObject()
                      .set("kind", "end")
                      .set("step", 3000)
                      .set("status", "finished")
                      .set("time_s", 301.0)
                      .set("best_accuracy", 0.93)
                      .set("best_step", 3000));
    write_text(path + "/job.yaml",
               "name: \"a <b>\"\nmodel: {zoo: lenet5, input: [1, 28, 28]} # <!-- & -->\n");
    std::string classes, rows;
    for (size_t i = 0; i < n_classes; ++i) {
      if (i > 0) classes += ',';
      classes += json_quote("<class> " + std::to_string(i));
      rows += i > 0 ? ",[" : "[";
      for (size_t j = 0; j < n_classes; ++j) {
        if (j > 0) rows += ',';
        rows += std::to_string(i == j ? 90 : (i * 7 + j) % 13 == 0 ? 3 : 0);
      }
      rows += "]";
    }
    write_text(path + "/confusion.json", "{\"kind\":\"confusion\",\"step\":3000,\"classes\":[" + classes +
                                             "],\"matrix\":[" + rows + "]}\n");
    std::vector<float> weights(6 * 25);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 11) - 5.0f;
    CheckpointInfo info;
    info.step = 3000;
    Communicator comm = Communicator::world();
    save_checkpoint(comm, path + "/checkpoints", info,
                    {{"/parameters/conv1.weight", {6, 1, 5, 5}, DType::kFloat32, weights.data()}});
  }

  std::string page() {
    write_report(run);
    return read_text(run + "/report.html");
  }

  std::string failure() {
    try {
      write_report(run);
    } catch (const Error& error) {
      return error.what();
    }
    return "(no error)";
  }
};

TEST_F(ReportTest, AFullRunShowsEveryPartWellFormed) {
  for (const size_t n_classes : {3, 40, 41, 200}) {
    full_run(run, n_classes);
    const std::string html = page();
    size_t n_elements = 0;
    EXPECT_EQ(structure_problem(html, n_elements), "");
    EXPECT_GT(n_elements, 200u);
    for (const char* part :
         {"93.00 %", "Overfitting", "61.7 k", ">Loss<", ">Accuracy<", ">Learning rate<", ">Throughput<",
          ">Gradient norm<", ">perplexity<", "Where the time went", "waiting for data: 10.0 %",
          "Confusion matrix", "First-layer filters", "conv1.weight (6, 1, 5, 5) of step-000003000.h5",
          "slow disk: read &lt; 10 MB/s &amp; falling", "from x.h5 on 2 ranks", "finished at step 3,000",
          "job.yaml", "not a finite number in 1 of the logged steps, first at step 700"}) {
      EXPECT_NE(html.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(count(html, "<img alt=\"filter"), 6u);
    EXPECT_EQ(count(html, "<table class=\"confusion"), n_classes <= 40 ? 1u : 0u);
    EXPECT_EQ(count(html, "<img alt=\"Confusion matrix"), n_classes <= 40 ? 0u : 1u);
    EXPECT_EQ(count(html, "<td class=\"right"), n_classes <= 40 ? n_classes : 0u);
    // Nothing of the run's own text has become markup.
    for (const char* markup : {"<b>&", "<script>alert", "<class>", "<!--"})
      EXPECT_EQ(count(html, markup), 0u) << markup;
    // Nothing is loaded: no address, and images only as data.
    EXPECT_EQ(count(html, "http:") + count(html, "https:") + count(html, "url(") + count(html, "@import"),
              0u);
    EXPECT_EQ(count(html, "src=\""), count(html, "src=\"data:image/png;base64,"));
    EXPECT_EQ(count(html, "<script"), 1u);
  }
}

/// Contrast (WCAG 2.2) of black or white digits on an opaque blend.
double contrast(std::array<double, 3> over, std::array<double, 3> under, double alpha, bool white) {
  const double weights[] = {0.2126, 0.7152, 0.0722};
  double luminance = 0;
  for (size_t c = 0; c < 3; ++c) {
    const double v = (alpha * over[c] + (1 - alpha) * under[c]) / 255;
    luminance += weights[c] * (v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4));
  }
  return white ? 1.05 / (luminance + 0.05) : (luminance + 0.05) / 0.05;
}

TEST_F(ReportTest, DigitsOfCellsCanBeRead) {
  full_run(run, 3);
  std::string rows;
  for (int i = 0; i < 3; ++i) {
    const int wrong = i == 0 ? 1 : i == 1 ? 40 : 97;
    rows += std::string(i ? "," : "") + "[" +
            std::to_string(i == 0   ? 100 - wrong
                           : i == 1 ? wrong
                                    : 2) +
            "," + std::to_string(i == 1 ? 100 - wrong : wrong) + "," + std::to_string(i == 2 ? 1 : 7) + "]";
  }
  write_text(
      run + "/confusion.json",
      "{\"kind\":\"confusion\",\"step\":1,\"classes\":[\"a\",\"b\",\"c\"],\"matrix\":[" + rows + "]}\n");
  const std::string html = page();
  const std::regex cell("<td class=\"(right|wrong)((?: lw)?)((?: dw)?)\" style=\"--a:([0-9.]+)\">");
  int n_cells = 0;
  for (std::sregex_iterator at(html.begin(), html.end(), cell), end; at != end; ++at, ++n_cells) {
    const bool right = (*at)[1] == "right";
    const double alpha = std::stod((*at)[4]);
    using Rgb = std::array<double, 3>;
    EXPECT_GE(
        contrast(right ? Rgb{0, 114, 178} : Rgb{213, 94, 0}, {255, 255, 255}, alpha, (*at)[2].length() > 0),
        4.5);
    EXPECT_GE(
        contrast(right ? Rgb{60, 150, 215} : Rgb{235, 130, 50}, {26, 30, 36}, alpha, (*at)[3].length() > 0),
        4.5);
  }
  EXPECT_EQ(n_cells, 9);
  EXPECT_NE(html.find("--right: 0 114 178; --wrong: 213 94 0;"), std::string::npos);
  EXPECT_NE(html.find("--right: 60 150 215; --wrong: 235 130 50;"), std::string::npos);
  EXPECT_NE(html.find("--card: #1a1e24;"), std::string::npos);
}

TEST_F(ReportTest, OneClassForAllIsNoGoodFit) {
  full_run(run, 3);
  write_text(run + "/confusion.json",
             "{\"kind\":\"confusion\",\"step\":1,\"classes\":[\"ant\",\"bee\",\"cat\"],"
             "\"matrix\":[[0,50,0],[0,49,1],[0,50,0]]}\n");
  const std::string html = page();
  EXPECT_NE(html.find("Predicts one class."), std::string::npos);
  EXPECT_NE(html.find("149 of 150 validation samples are taken for"), std::string::npos);
  EXPECT_EQ(html.find("No overfitting"), std::string::npos);
}

TEST_F(ReportTest, AOnePointSeriesIsADotAndEpochsHaveARow) {
  MetricsWriter writer(run + "/metrics.jsonl", -1);
  writer.write(JsonObject().set("kind", "start").set("name", "one").set("steps", 20));
  writer.write(JsonObject().set("kind", "train").set("step", 20).set("epoch", 2.0).set("loss", 0.5));
  std::filesystem::create_directories(run + "/checkpoints");
  for (int step : {10, 20})
    writer.write(JsonObject()
                     .set("kind", "checkpoint")
                     .set("step", step)
                     .set("file", "step-0000000" + std::to_string(step) + ".h5"));
  write_text(run + "/checkpoints/step-000000020.h5", "");
  write_text(run + "/job.yaml", "name: one\nseed: 77\ndata: {train: {path: data/a}, validation: data/b}\n");
  const std::string html = page();
  EXPECT_NE(html.find("<path class=\"dots s1\" d=\"M"), std::string::npos) << html;
  EXPECT_NE(html.find("<span class=\"te\""), std::string::npos);
  EXPECT_NE(html.find("step, and epoch below it"), std::string::npos);
  EXPECT_EQ(html.find("step-000000010.h5"), std::string::npos);
  EXPECT_NE(html.find("1 written up to here is no longer there"), std::string::npos);
  EXPECT_NE(html.find("step-000000020.h5"), std::string::npos);
  for (const char* part : {">Seed<", ">77<", ">Training data<", ">data/a<", ">Validation data<", ">data/b<"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
}

TEST_F(ReportTest, LinksLeadToWhatIsThere) {
  full_run(run, 3);
  const std::string html = page();
  const std::regex link("<a href=\"#([a-z]+)\">");
  int n_links = 0;
  for (std::sregex_iterator at(html.begin(), html.end(), link), end; at != end; ++at, ++n_links)
    EXPECT_EQ(count(html, "id=\"" + (*at)[1].str() + "\""), 1u) << (*at)[1];
  EXPECT_EQ(n_links, 5);  // no attention here
}

TEST_F(ReportTest, TheGapIsOfTheTrainingSinceTheValidationBefore) {
  MetricsWriter writer(run + "/metrics.jsonl", -1);
  const auto train = [&](int step, double loss, double time_s, double wait_s) {
    JsonObject line;
    line.set("kind", "train")
        .set("step", step)
        .set("loss", loss)
        .set("time_s", time_s)
        .set("data_wait_s", wait_s);
    writer.write(line);
  };
  const auto validate = [&](int step, double loss) {
    writer.write(JsonObject().set("kind", "validation").set("step", step).set("loss", loss));
  };
  train(1, 4, 1, 0.5);
  train(2, 2, 3, 0.5);
  validate(2, 3.5);
  train(3, 1, 4, 0.75);
  validate(3, 3);
  validate(4, 3);  // nothing was trained since
  const RunData data = read_run(run);
  const Series gap = data.gap("loss"), waiting = data.share_of_time("data_wait_s");
  EXPECT_EQ(gap.x, (std::vector<double>{2, 3, 4}));
  EXPECT_EQ(gap.y[0], 0.5);
  EXPECT_EQ(gap.y[1], 2.0);
  EXPECT_TRUE(std::isnan(gap.y[2]));
  EXPECT_TRUE(std::isnan(waiting.y[0]));
  EXPECT_EQ(waiting.y[1], 0.25);
  EXPECT_EQ(waiting.y[2], 0.75);
  const std::string html = page();
  EXPECT_NE(html.find(">Gap: validation loss less training loss<"), std::string::npos);
  EXPECT_NE(html.find(">Waiting<"), std::string::npos);
}

class ComparisonTest : public ReportTest {
 protected:
  std::string page_of(const std::vector<std::string>& runs) {
    write_comparison(runs, run + "/comparison.html");
    return read_text(run + "/comparison.html");
  }
  std::string failure_of(const std::vector<std::string>& runs) {
    try {
      write_comparison(runs, run + "/comparison.html");
    } catch (const Error& error) {
      return error.what();
    }
    return "(no error)";
  }
  std::string made(const std::string& name, double loss, const std::string& optimizer) {
    const std::string folder = run + "/lr sweep/" + name;
    fs::create_directories(folder);
    MetricsWriter writer(folder + "/metrics.jsonl", -1);
    writer.write(JsonObject().set("kind", "start").set("name", "<same>"));
    for (int step : {10, 20}) {
      writer.write(JsonObject().set("kind", "train").set("step", step).set("loss", loss + 1.0 / step));
      writer.write(JsonObject().set("kind", "validation").set("step", step).set("loss", loss));
    }
    write_text(folder + "/job.yaml",
               "name: n\nseed: 7\noptimizer: " + optimizer + "\nmodel: {layers: [{affine: {out: 3}}]}\n");
    return folder;
  }
};

TEST_F(ComparisonTest, RunsStandBesideEachOther) {
  const std::string a = made("a", 0.5, "{sgd: {lr: 0.1}}"), b = made("b<i>", 0.25, "{sgd: {lr: 0.2}}");
  write_report(b);
  const std::string html = page_of({a, b});
  size_t n_elements = 0;
  EXPECT_EQ(structure_problem(html, n_elements), "");
  for (const char* part : {"<td>optimizer.sgd.lr</td><td class=\"text\">0.1</td><td class=\"text\">0.2</td>",
                           "<b>0.25</b>", "<a href=\"lr sweep/b&lt;i&gt;/report.html\">b&lt;i&gt;</a>",
                           ">Validation: loss<", ">Training: loss<"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  EXPECT_EQ(html.find("seed"), std::string::npos) << "what is equal is left out";
  EXPECT_EQ(count(html, "report.html\">"), 1u) << "a run without a page has no link";
  EXPECT_EQ(count(html, "http:") + count(html, "https:") + count(html, "url("), 0u);
  EXPECT_EQ(page_of({a, b}), html);
}

TEST_F(ComparisonTest, SayWhatCannotBeCompared) {
  const std::string a = made("a", 0.5, "{sgd: {lr: 0.1}}");
  EXPECT_NE(failure_of({a, a + "/"}).find("named twice"), std::string::npos);
  EXPECT_NE(failure_of({a, run + "/nothing"}).find("there is no such file"), std::string::npos);
  EXPECT_NE(failure_of(std::vector<std::string>(17, a)).find("name up to 16"), std::string::npos);
  std::vector<std::string> many;
  for (int i = 0; i < 16; ++i) many.push_back(made("run" + std::to_string(i), 0.1 * i, "adam"));
  EXPECT_EQ(count(page_of(many), "class=\"line dashed s8\""),
            4u);  // two charts and their legends
}

TEST_F(ReportTest, EqualFilesGiveEqualBytesAnywhere) {
  full_run(run, 10);
  const std::string first = page();
  EXPECT_EQ(page(), first);
  TemporaryFolder other;
  fs::copy(run, other.file("elsewhere"), fs::copy_options::recursive);
  fs::remove(other.file("elsewhere") + "/report.html");
  write_report(other.file("elsewhere"));
  EXPECT_EQ(read_text(other.file("elsewhere") + "/report.html"), first);
  EXPECT_EQ(first.find(other.path()), std::string::npos);
}

TEST_F(ReportTest, PartsMayBeMissing) {
  const std::vector<std::string> runs = {
      "{\"kind\":\"start\",\"name\":\"just started\"}\n",
      "{\"kind\":\"train\",\"step\":1,\"loss\":0.5}\n",
      "{\"kind\":\"train\",\"step\":1,\"loss\":null}\n",
      "{\"kind\":\"validation\",\"step\":1,\"loss\":0.5}\n",
      "{\"kind\":\"train\",\"step\":0,\"loss\":0,\"lr\":0,\"time_s\":0,\"data_wait_s\":0}\n",
      "{\"kind\":\"warning\",\"text\":\"no step\"}\n",
      "{\"kind\":\"end\",\"status\":\"failed\",\"step\":3}\n",
      "{\"kind\":\"train\",\"step\":1,\"loss\":0.5}\n{\"kind\":\"train\",\"step\":2,\"lo",  // killed while
                                                                                            // writing
      "{\"kind\":\"train\",\"step\":5,\"loss\":-7.5,\"lr\":1e-300,\"grad_norm\":1e300}\n{\"kind\":"
      "\"unknown\"}\n",
  };
  for (const std::string& metrics : runs) {
    write_text(run + "/metrics.jsonl", metrics);
    const std::string html = page();
    size_t n_elements = 0;
    EXPECT_EQ(structure_problem(html, n_elements), "") << metrics;
    EXPECT_GT(n_elements, 10u);
    EXPECT_EQ(html.find("Confusion matrix"), std::string::npos);
    EXPECT_EQ(html.find("First-layer"), std::string::npos);
    const std::string body = html.substr(html.find("<body>"), html.find("<script>") - html.find("<body>"));
    EXPECT_EQ(body.find("nan"), std::string::npos) << metrics;
    EXPECT_EQ(body.find("inf"), std::string::npos) << metrics;
  }
}

TEST_F(ReportTest, BrokenOptionalPartsAreNamedOnThePage) {
  full_run(run, 3);
  write_text(run + "/confusion.json", "{\"matrix\":[[1,2],[3]]}");
  write_text(run + "/checkpoints/step-000003000.h5", "not HDF5");
  const std::string html = page();
  EXPECT_NE(html.find("Not shown: &quot;matrix&quot; is not square"), std::string::npos);
  EXPECT_EQ(count(html, "Not shown: "), 2u);
  EXPECT_EQ(html.find("<img"), std::string::npos);
}

TEST_F(ReportTest, LaterLinesReplaceEarlierOnesOfTheSameSteps) {
  write_text(run + "/metrics.jsonl",
             "{\"kind\":\"validation\",\"step\":10,\"loss\":1.5}\n{\"kind\":\"validation\",\"step\":20,"
             "\"loss\":0.001234}\n"
             "{\"kind\":\"validation\",\"step\":10,\"loss\":1.75}\n");
  const std::string html = page();
  EXPECT_NE(html.find("<dd>1.75<"), std::string::npos);
  EXPECT_EQ(html.find("0.001234"), std::string::npos);
}

TEST_F(ReportTest, WithoutMetricsTheErrorNamesTheRemedy) {
  EXPECT_NE(failure().find("name the folder of a run"), std::string::npos) << failure();
  write_text(run + "/metrics.jsonl", "\n");
  EXPECT_NE(failure().find("wait until the run"), std::string::npos) << failure();
  write_text(run + "/metrics.jsonl", "{\"kind\":\n{\"kind\":\"start\"}\n");
  EXPECT_NE(failure().find("metrics.jsonl:1"), std::string::npos) << failure();
  EXPECT_FALSE(fs::exists(run + "/report.html"));
}

}  // namespace
}  // namespace lockstep
