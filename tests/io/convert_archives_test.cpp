// convert_npy, convert_npz, convert_cifar, convert_tar: files made byte by byte against stated rows, on any
// number of ranks; what real numpy writes, where it is at hand; damage.
#include <cmath>

#include "io/dataset/dataset.h"
#include "tests/io/archives.h"
#include "tests/io/convert_check.h"
#include "tests/io/image_files.h"
#include "tests/support/python.h"

namespace lockstep::testing {
namespace {

class ConvertArchives : public ::testing::Test {
 protected:
  Communicator comm = Communicator::world();
  SharedFolder folder{comm};

  ConvertOptions into_out(int64_t n_shards = 0) const {
    ConvertOptions options;
    options.out = folder.file("out");
    options.overwrite = true;
    options.n_shards = n_shards;
    return options;
  }
  void remove_out() {
    comm.barrier();
    if (comm.is_root()) std::filesystem::remove_all(folder.file("out"));
    comm.barrier();
  }
  template <typename Convert>
  void expect_error(const std::string& part, const Convert& convert) {
    const std::string message = error_of(convert);
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
    comm.barrier();
    EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
    comm.barrier();
  }
  void expect_rows(int64_t n, int64_t n_shards, const std::vector<ExpectedField>& fields,
                   const std::vector<std::string>& classes, const std::string& source) {
    expect_shards(comm, folder.file("out"), n, n_shards, fields, classes, source);
  }
};

TEST_F(ConvertArchives, NpyFilesOneBehindTheOther) {
  const std::string a = folder.write("a.npy", make_npy("<f4", "(2, 2)", elements_of<float>({1, 2, 3, 4})));
  const std::string b = folder.write("b.npy", make_npy("<f4", "(1, 2)", elements_of<float>({5, 6})));
  const std::string y = folder.write("y.npy", make_npy("<i8", "(3,)", elements_of<int64_t>({2, 0, 1})));
  convert_npy(comm, {{a, b}, {y}}, into_out(2));
  expect_rows(3, 2,
              {ExpectedField::of<float>("input", DType::kFloat32, {2}, {1, 2, 3, 4, 5, 6}),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {2, 0, 1})},
              numbered(3), "NumPy");
  const std::string wide = folder.write("w.npy", make_npy("<f8", "(1, 2)", elements_of<double>({5, 6})));
  remove_out();
  expect_error("holds rows of float64 (2)", [&] { convert_npy(comm, {{a, wide}, {}}, into_out()); });
  expect_error("has 3 labels for 2 samples", [&] { convert_npy(comm, {{a}, {y}}, into_out()); });
}

TEST_F(ConvertArchives, NpyTypesAndOrders) {
  const auto check = [&](const std::string& file, const ExpectedField& expected, NpyOptions npy = {}) {
    npy.files = {folder.write("x.npy", file)};
    convert_npy(comm, npy, into_out());
    expect_rows(2, 1, {expected}, {}, "NumPy");
  };
  // Columns first, big-endian, booleans, half precision.
  check(make_npy("<f4", "(2, 3)", elements_of<float>({1, 4, 2, 5, 3, 6}), true),
        ExpectedField::of<float>("input", DType::kFloat32, {3}, {1, 2, 3, 4, 5, 6}));
  check(make_npy(">i2", "(2, 1)", std::string("\xff\xfe\x01\x00", 4)),
        ExpectedField::of<int32_t>("input", DType::kInt32, {1}, {-2, 256}));
  check(make_npy("|b1", "(2, 2)", std::string("\1\0\0\1", 4)),
        ExpectedField::of<uint8_t>("input", DType::kUInt8, {2}, {1, 0, 0, 1}));
  check(make_npy("<f2", "(2, 1)", elements_of<uint16_t>({0x3e00, 0xc100})),
        ExpectedField::of<float>("input", DType::kFloat32, {1}, {1.5F, -2.5F}));
  // Whole numbers of 64 bits are numbers, not ids: the least type that holds all of them.
  check(make_npy("<i8", "(2, 1)", elements_of<int64_t>({0, 255})),
        ExpectedField::of<uint8_t>("input", DType::kUInt8, {1}, {0, 255}));
  check(make_npy("<i8", "(2, 1)", elements_of<int64_t>({-1, 70000})),
        ExpectedField::of<int32_t>("input", DType::kInt32, {1}, {-1, 70000}));
  check(make_npy("<i8", "(2, 1)", elements_of<int64_t>({1, int64_t{1} << 40})),
        ExpectedField::of<int64_t>("input", DType::kInt64, {1}, {1, int64_t{1} << 40}));
  // Grey images; a shape of one's own; channels last.
  std::vector<uint8_t> pixels(2 * 2 * 2);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i);
  check(make_npy("|u1", "(2, 2, 2)", elements_of(pixels)),
        ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 2, 2}, pixels));
  check(make_npy("|u1", "(2, 2, 2)", elements_of(pixels)),
        ExpectedField::of<uint8_t>("input", DType::kUInt8, {4}, pixels), {.shape = {4}});
  check(make_npy("|u1", "(2, 1, 2, 2)", elements_of(pixels)),
        ExpectedField::of<uint8_t>("image", DType::kUInt8, {2, 1, 2}, {0, 2, 1, 3, 4, 6, 5, 7}),
        {.layout = "NHWC"});
  check(make_npy("<i8", "(2, 1, 2, 2)", elements_of<int64_t>({0, 1, 2, 3, 4, 5, 6, 7})),
        ExpectedField::of<uint8_t>("image", DType::kUInt8, {2, 1, 2}, {0, 2, 1, 3, 4, 6, 5, 7}),
        {.layout = "NHWC"});
  remove_out();
  const std::string last = folder.write("last.npy", make_npy("|u1", "(1, 5, 5, 3)", std::string(75, '\1')));
  expect_error("images whose channels stand last?", [&] { convert_npy(comm, {{last}, {}}, into_out()); });
  const std::string nan = folder.write("nan.npy", make_npy("<f4", "(1, 1)", elements_of<float>({NAN})));
  expect_error("not finite", [&] { convert_npy(comm, {{nan}, {}}, into_out()); });
  const std::string hot = folder.write("hot.npy", make_npy("<i4", "(1, 3)", elements_of<int32_t>({0, 1, 0})));
  expect_error("argmax", [&] { convert_npy(comm, {{last}, {hot}, "NHWC"}, into_out()); });
}

TEST_F(ConvertArchives, TargetsOfSeveralNumbers) {
  const std::string x = folder.write("x.npy", make_npy("<f4", "(2, 1)", elements_of<float>({7, 8})));
  const std::string y = folder.write("y.npy", make_npy("<f8", "(2, 2)", elements_of<double>({1, 2, 3, 4.5})));
  convert_npy(comm, {{x}, {y}}, into_out());
  expect_rows(2, 1,
              {ExpectedField::of<float>("input", DType::kFloat32, {1}, {7, 8}),
               ExpectedField::of<float>("target", DType::kFloat32, {2}, {1, 2, 3, 4.5F})},
              {}, "NumPy");
}

TEST_F(ConvertArchives, NpzByUsualNamesAndByGivenOnes) {
  const std::string x = make_npy("|u1", "(3, 2, 2)", "abcdefghijkl"), y = make_npy("|u1", "(3, 1)", "\2\1\2");
  const std::string other = make_npy("|u1", "(2, 2, 2)", "stuvwxyz"),
                    other_y = make_npy("|u1", "(2,)", "\1\1");
  const std::vector<std::pair<std::string, std::string>> files{
      {"x_test.npy", other}, {"y_test.npy", other_y}, {"x_train.npy", x}, {"y_train.npy", y}};
  const std::string text = "abcdefghijkl";
  const std::vector<ExpectedField> expected{
      ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 2, 2},
                                 std::vector<uint8_t>(text.begin(), text.end())),
      ExpectedField::of<int64_t>("label", DType::kInt64, {}, {2, 1, 2})};
  for (const bool deflated : {false, true})
    for (const bool zip64 : {false, true}) {
      const std::string path = folder.write("m.npz", make_zip(files, deflated, zip64));
      const ConvertResult result = convert_npz(comm, {path}, into_out(2));
      expect_rows(3, 2, expected, numbered(3), "NumPy");
      if (comm.is_root()) {
        EXPECT_NE(result.notes.at(0).find("(x_train and y_train)"), std::string::npos);
      }
    }
  const std::string path = folder.file("m.npz");
  convert_npz(comm, {path, "x_test", "y_test"}, into_out());
  const std::string rest = "stuvwxyz";
  expect_rows(2, 1,
              {ExpectedField::of<uint8_t>("image", DType::kUInt8, {1, 2, 2},
                                          std::vector<uint8_t>(rest.begin(), rest.end())),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {1, 1})},
              numbered(2), "NumPy");
  remove_out();
  expect_error("holds no array 'z'; it holds: x_test, y_test, x_train, y_train", [&] {
    convert_npz(comm, {path, "z", "none"}, into_out());
  });
  expect_error("m.npz: y_train: has 3 labels for 2 samples", [&] {
    convert_npz(comm, {path, "x_test", "y_train"}, into_out());
  });
  const std::string odd = folder.write("odd.npz", make_zip({{"a.npy", x}, {"b.npy", y}}, true));
  expect_error("none is known to be the input: a, b", [&] { convert_npz(comm, {odd}, into_out()); });
  expect_error("say --target NAME", [&] { convert_npz(comm, {odd, "a"}, into_out()); });
  const std::string empty = folder.write("no.npz", make_zip({{"readme", "x"}}, false));
  expect_error("without arrays", [&] { convert_npz(comm, {empty}, into_out()); });
  std::string bytes = make_zip(files, false);
  bytes[bytes.find("abcdef")] ^= 1;
  const std::string changed = folder.write("changed.npz", bytes);
  expect_error("its checksum does not fit", [&] { convert_npz(comm, {changed}, into_out()); });
  const std::string cut = folder.write("cut.npz", bytes.substr(0, bytes.size() / 2));
  expect_error("is cut short", [&] { convert_npz(comm, {cut}, into_out()); });
}

TEST_F(ConvertArchives, WhatNumpyWrites) {
  std::string python;
  if (comm.is_root()) python = python_with("numpy");
  python = comm.broadcast_string(python);
  if (python.empty()) GTEST_SKIP() << "no Python with numpy ($LOCKSTEP_PYTHON)";
  if (comm.is_root()) {
    EXPECT_EQ(run_python(python, folder.file(""), R"(
import numpy as np
x = np.asfortranarray(np.arange(24, dtype='>f8').reshape(4, 6) / 4)
np.savez(folder + '/plain.npz', x=x, y=np.array([1, 0, 3, 2]))
np.savez_compressed(folder + '/packed.npz', x=x, y=np.array([1, 0, 3, 2]))
)"),
              "");
  }
  comm.barrier();
  std::vector<double> values(24);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) / 4;
  for (const char* name : {"plain.npz", "packed.npz"}) {
    convert_npz(comm, {folder.file(name)}, into_out(3));
    expect_rows(4, 3,
                {ExpectedField::of<double>("input", DType::kFloat64, {6}, values),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {1, 0, 3, 2})},
                numbered(4), "NumPy");
  }
}

std::string cifar_record(std::initializer_list<int> labels, int seed, std::vector<uint8_t>& pixels) {
  std::string record;
  for (const int label : labels) record += static_cast<char>(label);
  for (int i = 0; i < 3072; ++i) {
    pixels.push_back(static_cast<uint8_t>(i * 7 + seed));
    record += static_cast<char>(pixels.back());
  }
  return record;
}

TEST_F(ConvertArchives, Cifar10And100) {
  if (comm.is_root())
    for (const char* name : {"ten", "hundred"}) std::filesystem::create_directory(folder.file(name));
  comm.barrier();
  std::vector<uint8_t> train, test, hundred;
  std::string batch = cifar_record({3}, 1, train);
  batch += cifar_record({9}, 2, train);
  folder.write("ten/data_batch_1.bin", batch);
  folder.write("ten/data_batch_2.bin", cifar_record({0}, 3, train));
  folder.write("ten/test_batch.bin", cifar_record({5}, 4, test));
  std::vector<std::string> names;
  std::string text;
  for (int i = 0; i < 10; ++i) text += (names.emplace_back("kind" + std::to_string(i))) + "\r\n";
  folder.write("ten/batches.meta.txt", text + "\n");
  convert_cifar(comm, {{folder.file("ten")}}, into_out(2));
  expect_rows(3, 2,
              {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 32, 32}, train),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {3, 9, 0})},
              names, "CIFAR");
  convert_cifar(comm, {{folder.file("ten")}, true}, into_out());
  expect_rows(1, 1,
              {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 32, 32}, test),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {5})},
              names, "CIFAR");
  const std::string path = folder.write("hundred/train.bin", cifar_record({19, 99}, 5, hundred));
  for (const bool coarse : {false, true}) {
    const ConvertResult result = convert_cifar(comm, {{path}, false, coarse}, into_out());
    expect_rows(1, 1,
                {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 32, 32}, hundred),
                 ExpectedField::of<int64_t>("label", DType::kInt64, {}, {coarse ? 19 : 99})},
                numbered(coarse ? 20 : 100), "CIFAR");
    EXPECT_NE(result.notes.at(0).find("classes are numbers"), std::string::npos);
  }
  remove_out();
  expect_error("which has no coarse labels", [&] {
    convert_cifar(comm, {{folder.file("ten")}, false, true}, into_out());
  });
  expect_error("holds no test_batch.bin", [&] {
    convert_cifar(comm, {{folder.file("hundred")}, true}, into_out());
  });
  std::vector<uint8_t> ignored;
  const std::string bad = folder.write("bad.bin", cifar_record({10}, 0, ignored));
  expect_error("row 0 has the label 10 of 10 classes", [&] { convert_cifar(comm, {{bad}}, into_out()); });
  const std::string cut = folder.write("cut.bin", std::string(3072, 'x'));
  expect_error("which are no records of 3,073", [&] { convert_cifar(comm, {{cut}}, into_out()); });
  expect_error("is of another CIFAR", [&] { convert_cifar(comm, {{path, bad}}, into_out()); });
}

TEST_F(ConvertArchives, TarOfImagesAndLabels) {
  const std::string dark = make_png(1, 2, {1, 2, 3, 4, 5, 6}), light = make_png(1, 2, {9, 8, 7, 6, 5, 4});
  const std::string long_folder = std::string(120, 'f') + "/";
  const std::string pax_name = long_folder + "000003.png";
  const std::string record = " path=" + pax_name + "\n";
  const std::string pax = std::to_string(record.size() + 3) + record;
  const std::string first = folder.write(
      "a.tar", tar_entry("data/", "", '5') + tar_entry("data/000001.png", dark) +
                   tar_entry("data/000001.cls", "2\n") + tar_entry("data/._000001.png", "no image") +
                   tar_entry("data/000002.cls", "0") + tar_entry("data/000002.png", light) +
                   tar_entry("data/000002.txt", "a light one") + tar_end());
  const std::string second = folder.write(
      "b.tar", tar_entry("x", pax, 'x') + tar_entry("cut short", dark) +
                   tar_entry("././@LongLink", long_folder + "000003.cls" + std::string(1, '\0'), 'L') +
                   tar_entry("cut", "1") + tar_end());
  const std::vector<ExpectedField> expected{
      ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 1, 2},
                                 {1, 4, 2, 5, 3, 6, 9, 6, 8, 5, 7, 4, 1, 4, 2, 5, 3, 6}),
      ExpectedField::of<int64_t>("label", DType::kInt64, {}, {2, 0, 1})};
  TarOptions tar;
  tar.files = {first, second};
  const ConvertResult result = convert_tar(comm, tar, into_out(2));
  expect_rows(3, 2, expected, numbered(3), "tar");
  if (comm.is_root()) {
    std::string notes;
    for (const std::string& note : result.notes) notes += note + "\n";
    EXPECT_NE(notes.find("taken: 3 images of 3 classes"), std::string::npos) << notes;
    EXPECT_NE(notes.find("other files: 1 .txt"), std::string::npos) << notes;
  }
  tar.files[0] =
      folder.write("a.tar.gz", gzip(comm.is_root() ? read_bytes(first) : std::string("not written here")));
  convert_tar(comm, tar, into_out(2));
  expect_rows(3, 2, expected, numbered(3), "tar");
}

TEST_F(ConvertArchives, TarOfJsonAndNames) {
  const std::string dark = make_png(1, 1, {1, 2, 3}), light = make_png(1, 1, {9, 8, 7});
  TarOptions tar;
  tar.files = {folder.write("a.tar", tar_entry("1.png", dark) +
                                         tar_entry("1.json", R"({"label": "owl", "id": 7})") +
                                         tar_entry("2.png", light) +
                                         tar_entry("2.json", R"({"label": "ant", "id": 4})") + tar_end())};
  const std::vector<uint8_t> pixels{1, 2, 3, 9, 8, 7};
  convert_tar(comm, tar, into_out());
  expect_rows(2, 1,
              {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 1, 1}, pixels),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {1, 0})},
              {"ant", "owl"}, "tar");
  tar.label = "json:id";
  convert_tar(comm, tar, into_out());
  expect_rows(2, 1,
              {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 1, 1}, pixels),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {7, 4})},
              numbered(8), "tar");
  tar.label = "none";
  convert_tar(comm, tar, into_out());
  expect_rows(2, 1, {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 1, 1}, pixels)}, {}, "tar");
  remove_out();
  tar.label = "json:kind";
  expect_error("1.json: has no member 'kind'", [&] { convert_tar(comm, tar, into_out()); });
  tar.label = "cls";
  expect_error("holds no labels", [&] { convert_tar(comm, tar, into_out()); });
}

TEST_F(ConvertArchives, TarWithFaults) {
  const std::string good = make_png(1, 2, {1, 2, 3, 4, 5, 6}),
                    other = make_png(2, 2, std::vector<uint8_t>(12, 7));
  const auto packed = [&](const std::string& middle, const std::string& label = "1") {
    return tar_entry("1.png", good) + tar_entry("1.cls", "0") + tar_entry("2.png", middle) +
           tar_entry("2.cls", label) + tar_end();
  };
  TarOptions tar;
  const auto run = [&] { convert_tar(comm, tar, into_out()); };
  tar.files = {folder.write("a.tar", packed(good.substr(0, good.size() - 20)))};
  expect_error("a.tar: 2.png", run);
  tar.files = {folder.write("a.tar", packed(other))};
  expect_error("give --size HEIGHT,WIDTH", run);
  tar.files = {folder.write("a.tar", packed(good).substr(0, 2000))};
  expect_error("is cut short", run);
  tar.files = {folder.write("a.tar", packed(good).substr(0, 4 * 1024))};
  expect_error("has no end after 4 files", run);
  std::string damaged = packed(good);
  damaged[1024 + 3] ^= 1;  // in the name of the second file
  tar.files = {folder.write("a.tar", damaged)};
  expect_error("is damaged at byte 1024, after 1 files", run);
  tar.files = {folder.write("a.tar", std::string(600, 'x'))};
  expect_error("is not a tar archive", run);
  tar.files = {folder.write(
      "a.tar", tar_entry("1.png", good) + tar_entry("1.cls", "0") + tar_entry("2.png", good) + tar_end())};
  expect_error("2.png: has no label beside it", run);
  tar.files = {folder.write(
      "a.tar", tar_entry("1.png", good) + tar_entry("2.png", good) + tar_entry("1.cls", "0") + tar_end())};
  expect_error("stands earlier, apart from it", run);
  // What cannot be read is left out where that is asked for; a class number that nobody has is no fault.
  tar.files = {folder.write("a.tar", packed("no image", "5"))};
  tar.images.on_error = OnError::kSkip;
  expect_error("holds no image that can be read", run);
  tar.files = {folder.write("a.tar", packed("no image", "0"))};
  run();
  expect_rows(1, 1,
              {ExpectedField::of<uint8_t>("image", DType::kUInt8, {3, 1, 2}, {1, 4, 2, 5, 3, 6}),
               ExpectedField::of<int64_t>("label", DType::kInt64, {}, {0})},
              numbered(1), "tar");
}

TEST_F(ConvertArchives, DamagedFilesNeverCrash) {
  const std::string zip = make_zip(
      {{"x.npy", make_npy("|u1", "(3, 2)", "abcdef")}, {"y.npy", make_npy("|u1", "(3,)", "012")}}, true);
  damage_at_random(zip, 60, [&](const std::string& content) {
    convert_npz(comm, {folder.write("d.npz", content)}, into_out());
  });
  TarOptions tar;
  const std::string archive =
      tar_entry("1.png", make_png(1, 1, {1, 2, 3})) + tar_entry("1.cls", "0") + tar_end();
  damage_at_random(archive, 60, [&](const std::string& content) {
    tar.files = {folder.write("d.tar", content)};
    convert_tar(comm, tar, into_out());
  });
}

}  // namespace
}  // namespace lockstep::testing
