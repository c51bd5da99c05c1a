// convert_csv: literal files against stated rows, byte for byte, on every rank count; every
// kind of malformed input is one sentence with file, line and column on all ranks.
#include <cmath>

#include "io/convert/convert_output.h"
#include "io/dataset/dataset.h"
#include "io/dataset/shard_paths.h"
#include "io/loader/sampler.h"
#include "tests/io/convert_check.h"

namespace lockstep::testing {
namespace {

class ConvertCsv : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};

  ConvertResult convert(const CsvOptions& csv, ConvertOptions options = {}) {
    if (options.out.empty()) options.out = folder.file("out");
    return convert_csv(comm, csv, options);
  }
  std::string error(const std::string& content, CsvOptions csv = {}) {
    csv.path = folder.write("bad.csv", content);
    const std::string message = error_of([&] { convert(csv); });
    comm.barrier();
    EXPECT_FALSE(std::filesystem::exists(folder.file("out"))) << "left behind after: " << message;
    comm.barrier();
    return message;
  }
};

TEST_F(ConvertCsv, WholeNumbersBecomeBytes) {
  CsvOptions csv;
  csv.path = folder.write("digits.csv", "0.0,5,255,1\n1,2.0, 3 ,0\r\n\n4,5,6,2");
  const ConvertResult result = convert(csv);
  EXPECT_EQ(result.n_samples, 3);
  EXPECT_EQ(result.n_shards, 1);
  expect_shards(comm, folder.file("out"), 3, 1,
                {ExpectedField::of<uint8_t>("input", DType::kUInt8, {3}, {0, 5, 255, 1, 2, 3, 4, 5, 6}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {1, 0, 2})},
                numbered(3), "CSV");
}

TEST_F(ConvertCsv, TextLabelsAreSortedClassNames) {
  CsvOptions csv;
  csv.path = folder.write("iris.csv",
                          "\xef\xbb\xbfkind,\"petal \"\"width\"\"\",length\n"
                          "\"see, green\",-1.5,2e-1\nblue , +7 ,.5\n\"blue\",\"1\",1e-60\n");
  csv.target_column = 0;
  ConvertOptions options;
  options.n_shards = 2;
  convert(csv, options);
  ASSERT_FALSE(HasFailure());
  options.out = folder.file("out");
  expect_shards(comm, folder.file("out"), 3, 2,
                {ExpectedField::of<float>("input", DType::kFloat32, {2}, {-1.5F, 0.2F, 7, 0.5F, 1, 0}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {1, 0, 0})},
                {"blue", "see, green"}, "CSV");
}

TEST_F(ConvertCsv, ShapeTargetAndSeparator) {
  CsvOptions csv;
  csv.path = folder.write("t.csv", "# comment\n# two\n1\t2\t0.25\t3\t4\n5\t6\t-1\t7\t8\n");
  csv.separator = '\t';
  csv.header_lines = 2;
  csv.target_column = 2;
  csv.target_is_class = false;
  csv.shape = {1, 2, 2};
  convert(csv);
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}),
                 ExpectedField::of<float>("target", DType::kFloat32, {}, {0.25F, -1})},
                {}, "CSV");
}

TEST_F(ConvertCsv, NoTarget) {
  CsvOptions csv;
  csv.path = folder.write("t.csv", "a;b\n1;2\n3;4\n");
  csv.separator = ';';
  csv.target_column = -2;
  convert(csv);
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<uint8_t>("input", DType::kUInt8, {2}, {1, 2, 3, 4})}, {}, "CSV");
}

/// More class names than fit into an HDF5 object header of old (64 KiB).
TEST_F(ConvertCsv, ManyClasses) {
  std::string text;
  std::vector<std::string> names;
  std::vector<uint8_t> values;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 6000; ++i) {
    names.push_back("class-" + std::to_string(100000 + i));
    text += std::to_string(i % 256) + "," + names.back() + "\n";
    values.push_back(static_cast<uint8_t>(i));
    labels.push_back(i);
  }
  CsvOptions csv;
  csv.path = folder.write("many.csv", text);
  convert(csv);
  expect_shards(comm, folder.file("out"), 6000, 1,
                {ExpectedField::of<uint8_t>("input", DType::kUInt8, {1}, values),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, labels)},
                names, "CSV");
  if (!comm.is_root()) return;
  EXPECT_EQ(Dataset::open(folder.file("out")).class_names(), names);
  if (!has_h5py()) GTEST_SKIP() << "python3-h5py is not installed, so no second reader was asked";
  EXPECT_EQ(run_h5py(folder.file("out"), R"(
names = h5py.File(folder + '/shard-00000.h5', 'r').attrs['class_names']
assert len(names) == 6000
assert names[5999] in ('class-105999', b'class-105999')
)"),
            "");
}

TEST_F(ConvertCsv, GzipOfSeveralMembers) {
  CsvOptions csv;
  csv.path = folder.write("members.csv.gz", gzip("1,0\n2,") + gzip("1\n300,1\n"));
  convert(csv);
  expect_shards(comm, folder.file("out"), 3, 1,
                {ExpectedField::of<float>("input", DType::kFloat32, {1}, {1, 2, 300}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1, 1})},
                numbered(2), "CSV");
}

/// 3,000 rows of random numbers written with all their digits: more rows than ranks and blocks.
TEST_F(ConvertCsv, ManyRowsShuffledAndSplit) {
  constexpr int64_t kRows = 3000, kColumns = 5;
  std::mt19937 random(7);
  std::vector<float> values;
  std::string text;
  char number[32];
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t c = 0; c < kColumns; ++c) {
      values.push_back(static_cast<float>(static_cast<int32_t>(random())) * 1e-3F);
      std::snprintf(number, sizeof number, c % 2 ? "%.9g," : "%.12e,", values.back());
      text += number;
    }
    text += std::to_string(row % 10) + (row % 3 ? "\n" : "\r\n");
  }
  CsvOptions csv;
  csv.path = folder.write("many.csv", text);
  ConvertOptions options;
  options.shuffle = true;
  options.seed = 3;
  options.skip = 500;
  options.limit = 2001;
  options.n_shards = 7;
  const ConvertResult result = convert(csv, options);
  EXPECT_EQ(result.n_samples, 2001);
  EXPECT_EQ(result.n_shards, 7);

  const Sampler order(kRows, 3, {});
  std::vector<float> expected;
  std::vector<int64_t> labels;
  for (int64_t i = 500; i < 2501; ++i) {
    const int64_t row = order.sample_at(0, i);
    expected.insert(expected.end(), values.begin() + row * kColumns, values.begin() + (row + 1) * kColumns);
    labels.push_back(row % 10);
  }
  expect_shards(comm, folder.file("out"), 2001, 7,
                {ExpectedField::of<float>("input", DType::kFloat32, {kColumns}, expected),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, labels)},
                numbered(10), "CSV");
  if (comm.is_root()) {  // statistics against the textbook formula
    const Dataset dataset = Dataset::open(folder.file("out"));
    const Dataset::Statistics* found = dataset.statistics("input");
    ASSERT_NE(found, nullptr);
    ASSERT_EQ(found->mean.size(), static_cast<size_t>(kColumns));
    for (int64_t c = 0; c < kColumns; ++c) {
      double sum = 0, squares = 0;
      for (int64_t i = c; i < 2001 * kColumns; i += kColumns) sum += expected[i];
      const double mean = sum / 2001;
      for (int64_t i = c; i < 2001 * kColumns; i += kColumns)
        squares += (expected[i] - mean) * (expected[i] - mean);
      const double stddev = std::sqrt(squares / 2001);  // rounding of 2001 sums in another order
      EXPECT_NEAR(found->mean[c], mean, 1e-12 * stddev);
      EXPECT_NEAR(found->stddev[c], stddev, 1e-12 * stddev);
    }
    EXPECT_EQ(dataset.statistics("label"), nullptr);
    int64_t n_checked = 0, n_unchecked = 0;
    EXPECT_TRUE(dataset.verify(&n_checked, &n_unchecked).empty());
    EXPECT_EQ(n_checked, 14);
    EXPECT_EQ(n_unchecked, 0);
  }
}

/// Columns of whole numbers have scales of their own, though they are stored as bytes.
TEST_F(ConvertCsv, EachColumnHasItsOwnStatistics) {
  CsvOptions csv;
  csv.path = folder.write("table.csv", "1,200,7,0\n3,100,7,1\n2,0,7,1\n2,100,7,0\n");
  for (const bool as_bytes : {true, false}) {
    if (!as_bytes) csv.path = folder.write("table.csv", "1,200,7.5,0\n3,100,7.5,1\n2,0,7.5,1\n2,100,7.5,0\n");
    ConvertOptions options;
    options.overwrite = true;
    options.n_shards = 2;
    convert(csv, options);
    const Dataset dataset = Dataset::open(folder.file("out"));
    EXPECT_EQ(dataset.field("input").dtype, as_bytes ? DType::kUInt8 : DType::kFloat32);
    const Dataset::Statistics* found = dataset.statistics("input");
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->mean, (std::vector<double>{2, 100, as_bytes ? 7 : 7.5}));
    ASSERT_EQ(found->stddev.size(), 3U);
    EXPECT_DOUBLE_EQ(found->stddev[0], std::sqrt(0.5));
    EXPECT_DOUBLE_EQ(found->stddev[1], std::sqrt(5000));
    EXPECT_EQ(found->stddev[2], 0);
    comm.barrier();
  }
}

/// Rows, columns and class names that a file leaves, whatever its first line looks like.
struct TableCase {
  std::string text;
  int64_t n_rows, n_inputs;
  std::vector<std::string> classes;
  std::string note;  // one of those that are printed holds it
};

TEST_F(ConvertCsv, HeadersAndIndicesAreNoData) {
  const std::string index = "the index that pandas and R write";
  const std::vector<TableCase> cases{
      {",a,b,label\n0,1,2,0\n1,3,4,1\n", 2, 2, numbered(2), index},    // DataFrame.to_csv
      {",0,1,label\n0,1,2,0\n1,3,4,1\n", 2, 2, numbered(2), index},    // of an array
      {",0,1,2\n0,1,2,0\n1,3,4,1\n", 2, 2, numbered(2), index},        // without any name
      {",a,b,kind\nx1,1,2,k\nx2,3,4,l\n", 2, 2, {"k", "l"}, index},    // an index of words
      {"Unnamed: 0,a,kind\n0,1,k\n1,3,l\n", 2, 1, {"k", "l"}, index},  // read and written again
      {"Unnamed: 0.1,Unnamed: 0,a,b\n5,0,1,0\n6,1,3,1\n", 2, 1, numbered(2), "the first 2 columns"},
      {"\"\",\"a\",\"b\"\n\"1\",1,\"k\"\n\"2\",2,\"l\"\n", 2, 1, {"k", "l"}, index},  // R's write.csv
      {"a,b,kind\nr1,1,2,k\nr2,3,4,l\n", 2, 2, {"k", "l"}, index},                    // R's write.table
      {"0,1,2,3,label\n9,8,7,6,0\n1,1,1,1,1\n", 2, 4, numbered(2), "line 1 names"},
      {"0,1,2,3,species\n9,8,7,6,k\n1,1,1,1,l\n", 2, 4, {"k", "l"}, "line 1 names"},
      {"0,1,2,3,4\n9,8,7,6,0\n1,1,1,1,1\n", 2, 4, numbered(2), "line 1 names"},
      {"1990,2000,label\n9,8,0\n1,1,1\n", 2, 2, numbered(2), "line 1 names"},
      {"0,1,1\n0,0,0\n", 2, 2, numbered(2), "no line names"},
      {"0,k\n1,l\n", 2, 1, {"k", "l"}, "no line names"},
      {"1,2,10\n1,2,9\n1,2,2\n1,2,x\n", 4, 2, {"2", "9", "10", "x"}, "numbers and words, such as 'x'"},
      {"1,\"nan\"\n1,k\n1,nano\n", 3, 1, {"k", "nan", "nano"}, "'nan' (1)"},
      {"1,2,0\n1,2,3\n", 2, 2, numbered(4), "2 of which have no row"},
      {"Id,a,y\n1,1,0\n2,1,1\n3,1,0\n4,1,1\n5,1,0\n6,1,0\n7,1,0\n8,1,0\n9,1,0\n10,1,0\n", 10, 2, numbered(2),
       "column 0 'Id' counts the rows"},
  };
  for (const TableCase& c : cases) {
    CsvOptions csv;
    csv.path = folder.write("table.csv", c.text);
    ConvertOptions options;
    options.overwrite = true;
    const ConvertResult result = convert(csv, options);
    const Dataset dataset = Dataset::open(folder.file("out"));
    EXPECT_EQ(dataset.n_samples(), c.n_rows) << c.text;
    EXPECT_EQ(dataset.field("input").shape, Shape{c.n_inputs}) << c.text;
    EXPECT_EQ(dataset.class_names(), c.classes) << c.text;
    if (comm.is_root()) {
      std::string notes;
      for (const std::string& note : result.notes) notes += note + "\n";
      EXPECT_NE(notes.find(c.note), std::string::npos) << c.text << notes;
    }
    comm.barrier();
  }
}

TEST_F(ConvertCsv, ColumnsAreLeftOutAsAsked) {
  CsvOptions csv;
  csv.path = folder.write("t.csv", "Id,a,name,y\n7,1,\"Smith, J\",1\n8,2,,0\n");
  csv.dropped = {0, 2};
  convert(csv);
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<uint8_t>("input", DType::kUInt8, {1}, {1, 2}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {1, 0})},
                numbered(2), "CSV");
}

TEST_F(ConvertCsv, SeparatorLinesOfExcelAreNoHeader) {
  CsvOptions csv;
  csv.separator = ';';
  csv.path = folder.write("t.csv", "sep=;\r\na;b;y\r\n1;2;0\r\n3;4;1\r\n");
  convert(csv);
  expect_shards(comm, folder.file("out"), 2, 1,
                {ExpectedField::of<uint8_t>("input", DType::kUInt8, {2}, {1, 2, 3, 4}),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1})},
                numbered(2), "CSV");
}

TEST_F(ConvertCsv, MalformedInputsNameThePlace) {
  const auto expect = [&](const std::string& part, const std::string& content, const CsvOptions& csv = {}) {
    const std::string message = error(content, csv);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
  };
  expect("bad.csv:2:3: the row has 2 columns, the rows before have 3", "1,2,3\n4,5\n");
  expect("bad.csv:4:5: the row has 4 columns", "1,2,0\n\n4,5,1\n1,2,3,4\n");
  expect("bad.csv:3:3: column 1 (counted from 0) is not a finite number: 'x'", "1,2,0\n1,2,0\n1,x,0\n");
  expect("bad.csv:2:1: column 0 (counted from 0) is not a finite number: 'nan'", "1,2,0\nnan,2,0\n");
  expect("bad.csv:2:1: column 0 (counted from 0) is not a finite number: '-inf'", "1,2,0\n-inf,2,0\n");
  expect("bad.csv:2:1: column 0 (counted from 0) is not a finite number: '1e99'", "1,2,0\n1e99,2,0\n");
  expect("bad.csv:2:1: column 0 (counted from 0) is not a finite number: '--1'", "1,2,0\n--1,2,0\n");
  expect("bad.csv:2:3: column 1 (counted from 0) is empty", "1,2,0\n1,,0\n");
  expect("bad.csv:2:5: column 2 (counted from 0) is empty", "1,2,0\n1,2,\n");
  expect("bad.csv:2:3: a quoted field does not end", "1,2,0\n1,\"2,0\n");
  expect("bad.csv:2:6: text follows a closing quote", "1,2,0\n1,\"2\"x,0\n");
  expect("bad.csv:2:1: the class label is not a whole number", "1,2,0\n1,2,-1\n1,2,0.5");
  expect("bad.csv:1:1: the class label is not a whole number", "1,2,16777217\n");
  for (const std::string word : {"nan", "NaN", "NA", "N/A", "null", "?", "inf", "-Infinity"}) {
    expect("bad.csv:2:5: the class label is missing: '" + word + "'", "1,2,0\n1,2," + word + "\n");
    expect("bad.csv:3:3: the class label is missing: '" + word + "'", "x,kind\n2,k\n2," + word + "\n");
    expect("bad.csv:1:1: column 0 (counted from 0) is not a finite number: '" + word + "'",
           word + ",2,0\n1,2,0\n");
  }
  expect("bad.csv:1:1: column 0 (counted from 0) is empty", ",2,0\n1,2,0\n");
  expect("bad.csv:1:1: the first line, 0,1,2, may be a row or the names", "0,1,2\n1,2,0\n");
  expect("bad.csv:1:1: the header names 4 columns, but the rows have 2", "a,b,c,d\n1,2\n");
  expect("column 0 is called 'label', but the last column, 'pixel1', would be the target",
         "label,pixel0,pixel1\n1,2,3\n");
  expect("is UTF-16 text",
         "\xff\xfe"
         "1");
  expect("is a ZIP archive", "PK\3\4 and so on");
  expect("is an old Excel file", "\xd0\xcf\x11\xe0\n1,2\n");
  expect("a carriage return alone", "a,b,label\r1,2,0\r3,4,1\r");
  expect("says in its first line that ';' separates the columns", "sep=;\na;b;label\n1;2;0\n");
  expect("--separator ';'", "a;b;label\n1,5;2,5;0\n");
  expect("the class label 'caf\\xE9', which is not UTF-8 text", "1,2,caf\xe9\n3,4,x\n");
  expect("holds no rows", "");
  expect("holds no rows", "\n\r\n  \n");
  expect("holds no rows", "only,a,header\n");
  expect("has one column", "1\n2\n");
  CsvOptions csv;
  csv.target_column = 3;
  expect("has 3 columns, but the target is column 3", "1,2,0\n", csv);
  csv.target_column = -3;
  expect("target column -3", "1,2,0\n", csv);
  csv = {};
  csv.dropped = {2};
  expect("column 2 is the target and cannot be left out", "1,2,0\n", csv);
  csv.dropped = {3};
  expect("has no column 3 to leave out", "1,2,0\n", csv);
  csv.dropped = {0, 1};
  expect("leaves no column for the inputs", "1,2,0\n", csv);
  csv = {};
  csv.shape = {1, 2, 2};
  expect("has 2 input columns, which shape (1, 2, 2) does not hold", "1,2,0\n", csv);
  csv.shape = {0, 2};
  expect("the extents of a shape", "1,2,0\n", csv);
  csv.shape = {int64_t{1} << 40, int64_t{1} << 40};
  expect("the extents of a shape", "1,2,0\n", csv);
  csv = {};
  csv.class_names = {"a", "b"};
  expect("has class 2, but 2 class names", "1,2,0\n1,2,2\n", csv);
  expect("class label 'c'", "1,2,a\n1,2,c\n", csv);
  csv.class_names = {"a", "a"};
  expect("two class names are equal", "1,2,0\n", csv);
  csv = {};
  csv.target_is_class = false;
  expect("the target is not a finite number: 'a'", "1,2,0\n1,2,a\n", csv);
  csv = {};
  csv.separator = '1';
  expect("cannot separate columns", "1,2,0\n", csv);
  csv = {};
  csv.path = folder.file("absent.csv");
  EXPECT_NE(error_of([&] { convert(csv); }).find("absent.csv"), std::string::npos);
}

TEST_F(ConvertCsv, RowSelectionIsChecked) {
  CsvOptions csv;
  csv.path = folder.write("three.csv", "1,0\n2,1\n3,0\n");
  const auto expect = [&](const std::string& part, const ConvertOptions& options) {
    const std::string message = error_of([&] { convert(csv, options); });
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
  };
  ConvertOptions options;
  options.n_shards = 4;
  expect("4 shards for 3 rows", options);
  options = {};
  options.skip = 3;
  expect("cannot skip 3 of 3 rows", options);
  options.skip = -1;
  expect("cannot skip -1", options);
  options.skip = 2;
  options.limit = 2;
  expect("2 rows are asked for after skipping 2, but the input has 3", options);
  options.limit = 0;
  expect("a limit of 0", options);
  EXPECT_NE(error_of([&] { convert_csv(comm, csv, {}); }).find("no output folder"), std::string::npos);
}

TEST_F(ConvertCsv, NonEmptyOutputIsRefusedUnlessOverwritten) {
  CsvOptions csv;
  csv.path = folder.write("two.csv", "1,0\n2,1\n");
  ConvertOptions options;
  options.n_shards = 2;
  convert(csv, options);
  EXPECT_NE(error_of([&] { convert(csv, options); }).find("is not empty"), std::string::npos);
  options.overwrite = true;
  options.n_shards = 1;
  convert(csv, options);
  const std::vector<ExpectedField> expected{ExpectedField::of<uint8_t>("input", DType::kUInt8, {1}, {1, 2}),
                                            ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0, 1})};
  expect_shards(comm, folder.file("out"), 2, 1, expected, numbered(2), "CSV");
  // A failure leaves the earlier shards alone.
  csv.path = folder.write("bad.csv", "1,0\n,1\n");
  error_of([&] { convert(csv, options); });
  expect_shards(comm, folder.file("out"), 2, 1, expected, numbered(2), "CSV");
  folder.write("out/mine.h5", "x");
  EXPECT_NE(error_of([&] { convert(csv, options); }).find("would be taken for a part"), std::string::npos);
}

/// Two converters in one folder would mix their shards.
TEST_F(ConvertCsv, TheOutputFolderIsHeldByOne) {
  CsvOptions csv;
  csv.path = folder.write("two.csv", "1,0\n2,1\n");
  ConvertOptions options;
  options.out = folder.file("out");
  {
    std::unique_ptr<ConvertOutput> other;
    if (comm.is_root()) other = std::make_unique<ConvertOutput>(options);
    comm.barrier();
    const std::string message = error_of([&] { convert(csv, options); });
    EXPECT_NE(message.find("out: is being written by another conversion (process "), std::string::npos)
        << message;
    comm.barrier();
  }
  comm.barrier();
  EXPECT_FALSE(std::filesystem::exists(folder.file("out")));  // nothing came of it
  comm.barrier();
  EXPECT_EQ(convert(csv, options).n_samples, 2);
  if (comm.is_root()) {
    EXPECT_EQ(names_in(folder.file("out")), (std::set<std::string>{"shard-00000.h5"}));
  }
}

TEST_F(ConvertCsv, WhatAKillLeavesIsNoDataset) {
  CsvOptions csv;
  csv.path = folder.write("two.csv", "1,0\n2,1\n");
  convert(csv);
  folder.write("out/" + std::string(kIncompleteMarker), "");
  folder.write("out/.lockstep-convert.lock", "elsewhere 1\n");  // its lock ended with its process
  EXPECT_THROW(Dataset::open(folder.file("out")), Error);
  comm.barrier();
  EXPECT_NE(error_of([&] { convert(csv); }).find("a conversion that was stopped"), std::string::npos);
  ConvertOptions options;
  options.overwrite = true;
  convert(csv, options);
  if (!comm.is_root()) return;
  EXPECT_EQ(names_in(folder.file("out")), (std::set<std::string>{"shard-00000.h5"}));
  EXPECT_EQ(Dataset::open(folder.file("out")).n_samples(), 2);
}

TEST_F(ConvertCsv, DamagedFilesNeverCrash) {
  const std::string file =
      "a,b,\"c \"\"d\"\"\"\r\n1,2.5e3,x\n-3,4,\"y, z\"\n\n0.125,6,x\n1234567890123,1e-45,y\n";
  for (const bool is_class : {true, false})
    damage_at_random(file, 80, [&](const std::string& content) {
      CsvOptions csv;
      csv.path = folder.write("damaged.csv", content);
      csv.target_is_class = is_class;
      ConvertOptions options;
      options.overwrite = true;
      convert(csv, options);
    });
}

}  // namespace
}  // namespace lockstep::testing
