// predict on what people have: the same samples as a dataset, a table, an array and pictures give the same
// bits; names and probabilities; nothing is written over. And convert as a user meets it: killed, twice at
// once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "io/dataset/dataset.h"
#include "tests/io/image_files.h"
#include "tests/jobs/program.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSamples = 20;

class Predict : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    place_ = new Workplace;
    const Ended ended =
        lockstep(place_->train("run") + " --set data.train.target=label --set train.epochs=2");
    ASSERT_EQ(ended.status, 0) << ended.output;
    std::string text;
    for (int64_t i = 0, at = 0; i < kSamples; ++i) {
      const std::string samples = read_file(place_->file("samples.csv"));
      const size_t end = samples.find('\n', static_cast<size_t>(at));
      lines_.push_back(samples.substr(static_cast<size_t>(at), end - static_cast<size_t>(at)));
      at = static_cast<int64_t>(end) + 1;
      text += lines_.back() + "\n";
    }
    write_file(place_->file("labelled.csv"), text);
    const Ended converted = lockstep("convert csv " + place_->file("labelled.csv") + " --shape 1,8,8 --out " +
                                     place_->file("labelled"));
    ASSERT_EQ(converted.status, 0) << converted.output;
    const Ended predicted = predict("labelled", "expected.h5");
    ASSERT_EQ(predicted.status, 0) << predicted.output;
    expected_ = outputs("expected.h5");
    ASSERT_EQ(expected_.size(), static_cast<size_t>(kSamples * 10));
  }
  static void TearDownTestSuite() {
    delete place_;
    place_ = nullptr;
  }

  static std::string words(const std::string& data, const std::string& out) {
    return "predict " + place_->file("run/checkpoints/last.h5") + " --data " + place_->file(data) +
           " --out " + place_->file(out);
  }
  static Ended predict(const std::string& data, const std::string& out, const std::string& more = "") {
    return lockstep(words(data, out) + " " + more);
  }
  static std::vector<float> outputs(const std::string& file, const std::string& field = "output") {
    const Dataset dataset = Dataset::open(place_->file(file));
    std::vector<float> values(
        static_cast<size_t>(dataset.n_samples() * dataset.field(field).shape.n_elements()));
    dataset.read(field, 0, dataset.n_samples(), values.data());
    return values;
  }
  /// Predicts and compares with the dataset's outputs, bit for bit.
  static void expect_equal(const std::string& data, const std::string& more = "") {
    const Ended ended = predict(data, "out.h5", "--overwrite " + more);
    ASSERT_EQ(ended.status, 0) << data << ": " << ended.output;
    EXPECT_TRUE(outputs("out.h5") == expected_) << data;
  }
  static std::vector<uint8_t> pixels(int64_t sample) {
    std::vector<uint8_t> values;
    for (size_t at = 0, i = 0; i < 64; ++i, at = lines_[sample].find(',', at) + 1)
      values.push_back(static_cast<uint8_t>(std::stoi(lines_[sample].substr(at))));
    return values;
  }
  static std::string npy(const std::string& type, const std::string& shape, const std::string& elements,
                         bool by_columns = false) {
    std::string header = "{'descr': '" + type + "', 'fortran_order': " + (by_columns ? "True" : "False") +
                         ", 'shape': " + shape + ", }";
    header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
    header += '\n';
    return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 255) +
           static_cast<char>(header.size() >> 8) + header + elements;
  }
  static void write_pictures(const std::string& folder) {
    fs::create_directories(place_->file(folder));
    for (int64_t i = 0; i < kSamples; ++i) {
      const std::string name = place_->file(folder) + "/picture-" + std::to_string(100 + i) + ".png";
      write_file(name, lockstep::testing::make_png(8, 8, pixels(i), {.color_type = 0}));
    }
  }

  static Workplace* place_;
  static std::vector<std::string> lines_;
  static std::vector<float> expected_;
};
Workplace* Predict::place_ = nullptr;
std::vector<std::string> Predict::lines_;
std::vector<float> Predict::expected_;

TEST_F(Predict, DataWithoutLabelsThoughTheJobNamesThem) {
  std::string text;
  for (const std::string& line : lines_) text += line.substr(0, line.rfind(',')) + "\n";
  write_file(place_->file("bare.csv"), text);
  ASSERT_EQ(lockstep("convert csv " + place_->file("bare.csv") + " --target -2 --shape 1,8,8 --out " +
                     place_->file("bare"))
                .status,
            0);
  expect_equal("bare");
}

TEST_F(Predict, TablesWithAndWithoutLabelHeaderAndIndex) {
  std::string bare, header, indexed = "", label_first = "label";
  for (int c = 0; c < 64; ++c) header += "," + std::to_string(c);
  indexed = header + ",kind\n";
  label_first += header + "\n";
  for (size_t i = 0; i < lines_.size(); ++i) {
    bare += lines_[i].substr(0, lines_[i].rfind(',')) + "\n";
    label_first += "7," + lines_[i].substr(0, lines_[i].rfind(',')) + "\n";
    indexed += std::to_string(i) + "," + lines_[i].substr(0, lines_[i].rfind(',')) +
               (i % 2 ? ",\n" : ",some word\n");
  }
  write_file(place_->file("plain.csv"), bare);
  write_file(place_->file("pandas.csv"), indexed);
  write_file(place_->file("first.csv"), label_first);  // as MNIST is passed on
  expect_equal("labelled.csv");
  expect_equal("first.csv");
  expect_equal("plain.csv");
  expect_equal("pandas.csv");
  EXPECT_EQ(run_shell("gzip -k " + place_->file("pandas.csv")).status, 0);
  expect_equal("pandas.csv.gz");
  for (const auto& entry : fs::directory_iterator(place_->path()))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path() << " was left behind";
  const std::string table = read_file(place_->file("out.csv"));  // beside out.h5
  EXPECT_TRUE(table.starts_with("row,class,class_name,p_0,p_1,p_2,")) << table.substr(0, 100);
  EXPECT_EQ(count(table, "\n"), kSamples + 1);
  write_file(place_->file("narrow.csv"), "1,2,3\n");
  const Ended narrow = predict("narrow.csv", "no.h5");
  EXPECT_EQ(narrow.status, 1);
  EXPECT_NE(narrow.output.find("has 3 columns of inputs, the network reads 64"), std::string::npos)
      << narrow.output;
}

TEST_F(Predict, Arrays) {
  std::string rows, columns(64 * kSamples, ' '), shorts, floats;
  for (int64_t i = 0; i < kSamples; ++i) {
    const std::vector<uint8_t> sample = pixels(i);
    rows.append(sample.begin(), sample.end());
    for (int64_t c = 0; c < 64; ++c) {
      columns[c * kSamples + i] = static_cast<char>(sample[c]);
      shorts += std::string(1, '\0') + static_cast<char>(sample[c]);  // big-endian
      const float value = sample[c];
      floats.append(reinterpret_cast<const char*>(&value), 4);
    }
  }
  const std::vector<std::pair<std::string, std::string>> files{
      {"image.npy", npy("|u1", "(20, 1, 8, 8)", rows)},
      {"grey.npy", npy("|u1", "(20, 8, 8)", rows)},
      {"flat.npy", npy("|u1", "(20, 64)", rows)},
      {"columns.npy", npy("|u1", "(20, 64)", columns, true)},
      {"shorts.npy", npy(">i2", "(20, 8, 8)", shorts)},
      {"floats.npy", npy("<f4", "(20, 64)", floats)}};
  for (const auto& [name, content] : files) {
    write_file(place_->file(name), content);
    expect_equal(name);
  }
  const std::vector<std::pair<std::string, std::string>> faults{
      {npy("|u1", "(20, 8, 8, 1)", rows), "put the channels first"},
      {npy("|u1", "(20, 32)", rows), "has samples of shape (32), the network reads (1, 8, 8)"},
      {npy("|u1", "(21, 64)", rows), "is cut short"},
      {npy("|O8", "(20, 64)", rows), "not numbers of 8 to 64 bits"},
      {npy("<c8", "(20, 64)", rows), "not numbers of 8 to 64 bits"},
      {npy("|u1", "(9999999999, 9999999999)", rows), "impossible shape"},
      {npy("|u1", "()", rows), "has 0 dimensions"},
      {npy("<f4", "(5, 64)", std::string(1280, '\xff')), "row 0 holds a value that is not finite"}};
  int n_refused = 0;
  for (const auto& [content, part] : faults) {
    write_file(place_->file("bad.npy"), content);
    const Ended ended = predict("bad.npy", "no.h5");
    EXPECT_EQ(ended.status, 1) << part;
    EXPECT_NE(ended.output.find(part), std::string::npos) << part << ": " << ended.output;
    EXPECT_FALSE(fs::exists(place_->file("no.h5")));
    ++n_refused;
  }
  EXPECT_EQ(n_refused, 8);
  write_file(place_->file("bad.npz"), "PK\x03\x04 and so on");
  EXPECT_NE(predict("bad.npz", "no.h5").output.find("numpy.load(\"x.npz\")[NAME]"), std::string::npos);
}

TEST_F(Predict, PicturesGiveNamesClassesAndProbabilities) {
  write_pictures("pictures");
  write_file(place_->file("pictures/notes.txt"), "no picture");
  expect_equal("pictures");
  const Ended three = lockstep_on(3, words("pictures", "three.h5"));
  ASSERT_EQ(three.status, 0) << three.output;
  EXPECT_TRUE(read_file(place_->file("three.h5")) == read_file(place_->file("out.h5")));
  EXPECT_NE(three.output.find("taken: 20 images"), std::string::npos) << three.output;
  EXPECT_NE(three.output.find("left out: other files: 1 .txt"), std::string::npos) << three.output;

  const std::vector<float> p = outputs("out.h5", "probability");
  const std::string table = read_file(place_->file("three.csv"));
  size_t at = table.find('\n') + 1;
  for (int64_t i = 0; i < kSamples; ++i) {
    const float* score = &expected_[i * 10];
    const auto best = std::max_element(score, score + 10) - score;
    double sum = 0;
    for (int c = 0; c < 10; ++c) sum += std::exp(static_cast<double>(score[c]) - score[best]);
    for (int c = 0; c < 10; ++c)
      EXPECT_NEAR(p[i * 10 + c], std::exp(static_cast<double>(score[c]) - score[best]) / sum, 1e-7);
    const std::string begin = "picture-" + std::to_string(100 + i) + ".png," + std::to_string(best) + "," +
                              std::to_string(best) + ",";
    EXPECT_EQ(table.substr(at, begin.size()), begin);
    at = table.find('\n', at) + 1;
  }
  EXPECT_EQ(at, table.size());
  ASSERT_EQ(predict("pictures", "only.csv").status, 0);
  EXPECT_TRUE(read_file(place_->file("only.csv")) == table);
  EXPECT_FALSE(fs::exists(place_->file("only.h5")));
  ASSERT_EQ(predict("pictures/picture-103.png", "one.csv").status, 0);
  EXPECT_EQ(count(read_file(place_->file("one.csv")), "\npicture-103.png,"), 1);
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed";
  EXPECT_EQ(
      run_h5py(place_->path(),
               "p = h5py.File(folder + '/out.h5')\n"
               "names = [n.decode() for n in p['file'][:]]\n"
               "assert names == ['picture-%d.png' % (100 + i) for i in range(20)], names\n"
               "assert [str(n) if isinstance(n, str) else n.decode() for n in p.attrs['class_names']] == "
               "[str(i) for i in range(10)]\n"
               "assert p['probability'].shape == (20, 10) and p['class'].shape == (20,)\n"),
      "");
}

TEST_F(Predict, PicturesAreTurnedResizedAndRead) {
  fs::create_directories(place_->file("odd"));
  std::vector<uint8_t> turned(64), large;
  const std::vector<uint8_t> image = pixels(0);
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 8; ++x)
      turned[(7 - x) * 8 + y] = image[y * 8 + x];  // stored a quarter counter-clockwise
  write_file(place_->file("odd/a.png"),
             lockstep::testing::make_png(8, 8, turned, {.color_type = 0, .orientation = 6}));
  std::vector<uint8_t> deep;
  for (const uint8_t value : image) deep.insert(deep.end(), {value, value});
  write_file(place_->file("odd/b.png"),
             lockstep::testing::make_png(8, 8, deep, {.color_type = 0, .bit_depth = 16}));
  std::vector<uint8_t> rgb;
  for (const uint8_t value : image) rgb.insert(rgb.end(), {value, value, value});
  write_file(place_->file("odd/c.png"), lockstep::testing::make_png(8, 8, rgb));
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 16; ++x) large.push_back(image[y / 2 * 8 + x / 2]);
  write_file(place_->file("odd/d.png"), lockstep::testing::make_png(16, 16, large, {.color_type = 0}));
  const Ended ended = predict("odd", "odd.h5");
  ASSERT_EQ(ended.status, 0) << ended.output;
  const std::vector<float> found = outputs("odd.h5");
  for (int i = 0; i < 3; ++i)
    for (int c = 0; c < 10; ++c) EXPECT_EQ(found[i * 10 + c], expected_[c]) << i;
}

TEST_F(Predict, DamagedPicturesAreNamedTogetherOrSkipped) {
  write_pictures("damaged");
  for (const char* name : {"picture-104.png", "picture-111.png"})
    write_file(place_->file("damaged/") + name, "no picture");
  const Ended stop = lockstep_on(2, words("damaged", "damaged.h5"));
  EXPECT_NE(stop.status, 0);
  EXPECT_EQ(count(stop.output, "is no JPEG, PNG, BMP, WebP, TIFF or HEIC file"), 2) << stop.output;
  EXPECT_FALSE(fs::exists(place_->file("damaged.h5")));
  EXPECT_FALSE(fs::exists(place_->file("damaged.csv")));
  const Ended skip = predict("damaged", "damaged.h5", "--on-error skip");
  EXPECT_EQ(skip.status, 0) << skip.output;
  EXPECT_NE(skip.output.find("left out: 2 damaged files:"), std::string::npos) << skip.output;
  EXPECT_EQ(outputs("damaged.h5").size(), static_cast<size_t>((kSamples - 2) * 10));
  EXPECT_EQ(count(read_file(place_->file("damaged.csv")), "picture-104"), 0);
}

TEST_F(Predict, NothingIsWrittenOver) {
  const std::string checkpoint = place_->file("run/checkpoints/last.h5");
  const std::string before = read_file(checkpoint),
                    shard = read_file(place_->file("labelled/shard-00000.h5"));
  const auto refuse = [&](const std::string& out, const std::string& part) {
    const Ended ended = predict("labelled", out);
    EXPECT_EQ(ended.status, 1) << out;
    EXPECT_NE(ended.output.find(part), std::string::npos) << ended.output;
    EXPECT_EQ(predict("labelled", out, "--overwrite").status, part == "exists" ? 0 : 1) << out;
  };
  write_file(place_->file("mine.h5"), "mine");
  write_file(place_->file("mine.csv"), "mine");
  refuse("labelled/shard-00000.h5", "would become a part of the data");
  refuse("labelled/new.h5", "would become a part of the data");
  refuse("run/checkpoints/last.h5", "is an input of this command");
  refuse("run/checkpoints/other.h5", "lies among the checkpoints of a run");
  refuse("run", "is a folder");
  EXPECT_EQ(predict("labelled", "mine.h5", "--csv").status, 1);
  EXPECT_EQ(read_file(place_->file("mine.csv")), "mine");
  refuse("mine.h5", "exists");
  refuse("mine.csv", "exists");
  EXPECT_TRUE(read_file(checkpoint) == before);
  EXPECT_TRUE(read_file(place_->file("labelled/shard-00000.h5")) == shard);
  fs::create_directory(place_->file("next.h5.tmp"));  // another's, under the name of a temporary file
  EXPECT_EQ(predict("labelled", "next.h5").status, 0);
  EXPECT_TRUE(fs::is_directory(place_->file("next.h5.tmp")));
}

/// Killed while the shards of before make way for the new ones.
TEST_F(Predict, ConvertKilledWhileReplacingLeavesNoDataset) {
  const std::string convert =
      "convert csv " + place_->file("samples.csv") + " --overwrite --out " + place_->file("replaced");
  ASSERT_EQ(lockstep(convert + " --shards 360").status, 0);
  int n_incomplete = 0;
  for (int attempt = 0; attempt < 20 && n_incomplete == 0; ++attempt) {
    const std::string marker = place_->file("replaced/.lockstep-incomplete"), ended = place_->file("ended");
    run_shell(std::string(LOCKSTEP_PROGRAM) + " " + convert + " --shards 300 & pid=$!; (until [ -e " + ended +
              " ]; do if [ -e " + marker +
              " ]; then kill -9 $pid; break; fi; done) & watch=$!; wait $pid; touch " + ended +
              "; wait $watch; rm " + ended);
    const bool marked = fs::exists(place_->file("replaced/.lockstep-incomplete"));
    const Ended inspect = lockstep("inspect " + place_->file("replaced"));
    EXPECT_EQ(inspect.status == 0, !marked) << inspect.output;
    if (marked) {
      EXPECT_NE(inspect.output.find("holds only a part of a dataset"), std::string::npos) << inspect.output;
    }
    n_incomplete += marked;
  }
  EXPECT_GT(n_incomplete, 0);
  const Ended again = lockstep(convert + " --shards 2");
  EXPECT_EQ(again.status, 0) << again.output;
  EXPECT_EQ(Dataset::open(place_->file("replaced")).n_samples(), 360);
  EXPECT_EQ(std::distance(fs::directory_iterator(place_->file("replaced")), fs::directory_iterator()), 2);
}

TEST_F(Predict, OfTwoConvertersOneIsRefused) {
  const std::string convert = std::string(LOCKSTEP_PROGRAM) + " convert csv " + place_->file("samples.csv") +
                              " --overwrite --shards 360 --out " + place_->file("both");
  const Ended both =
      run_shell(convert + " & first=$!; " + convert + "; second=$?; wait $first; echo $? $second");
  const bool one_refused =
      both.output.find("is being written by another conversion (process") != std::string::npos;
  EXPECT_TRUE(one_refused || both.output.ends_with("0 0\n")) << both.output;  // or one after the other
  EXPECT_EQ(Dataset::open(place_->file("both")).n_samples(), 360);
  EXPECT_EQ(std::distance(fs::directory_iterator(place_->file("both")), fs::directory_iterator()), 360);
}

}  // namespace
}  // namespace lockstep
