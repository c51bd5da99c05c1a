// The HDF5 handles: attributes and types against h5py in both directions, error texts,
// names in order, and many threads behind the lock.
#include "io/hdf5/hdf5.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include "io/files/files.h"
#include "io/hdf5/hdf5_remedy.h"
#include "kernels/error.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

template <typename Work>
std::string reason_of(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "(no error)";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

h5::Id write_dataset(hid_t file, const std::string& name, DType dtype, std::vector<hsize_t> extents,
                     const void* data) {
  const h5::Id space = h5::own(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                               "H5Screate_simple", name);
  h5::Id dataset = h5::own(H5Dcreate2(file, name.c_str(), h5::native_type(dtype), space.get(), H5P_DEFAULT,
                                      H5P_DEFAULT, H5P_DEFAULT),
                           "H5Dcreate2", name);
  if (data) {
    h5::check(H5Dwrite(dataset.get(), h5::native_type(dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, data),
              "H5Dwrite", name);
  }
  return dataset;
}

TEST(Hdf5, AttributesComeBack) {
  TemporaryFolder folder;
  const std::vector<double> doubles = {0.1, -0.0, 5e-324};
  const std::vector<std::string> strings = {"", "caf\xC3\xA9", std::string(100000, 'x')};
  {
    h5::Id file = h5::create_file(folder.file("a.h5"));
    h5::write_attribute(file.get(), "int", int64_t{-5});
    h5::write_attribute(file.get(), "uint", ~uint64_t{0});
    h5::write_attribute(file.get(), "double", 0.1);
    h5::write_attribute(file.get(), "string", std::string("first"));
    h5::write_attribute(file.get(), "string", std::string("second"));  // replaces
    h5::write_attribute(file.get(), "empty", std::string());
    h5::write_attribute(file.get(), "doubles", doubles);
    h5::write_attribute(file.get(), "strings", strings);
    h5::write_attribute(file.get(), "no strings", std::vector<std::string>());
    h5::write_attribute(file.get(), "no doubles", std::vector<double>());
    file.close();
  }
  const h5::Id file = h5::open_file(folder.file("a.h5"));
  const hid_t id = file.get();
  EXPECT_EQ(h5::read_int_attribute(id, "int", "f"), -5);
  EXPECT_EQ(h5::read_uint_attribute(id, "uint", "f"), ~uint64_t{0});
  EXPECT_EQ(h5::read_double_attribute(id, "double", "f"), 0.1);
  EXPECT_EQ(h5::read_double_attribute(id, "int", "f"), -5.0);
  EXPECT_EQ(h5::read_string_attribute(id, "string", "f"), "second");
  EXPECT_EQ(h5::read_string_attribute(id, "empty", "f"), "");
  EXPECT_EQ(h5::read_doubles_attribute(id, "doubles", "f"), doubles);
  EXPECT_EQ(h5::read_strings_attribute(id, "strings", "f"), strings);
  EXPECT_TRUE(h5::read_strings_attribute(id, "no strings", "f").empty());
  EXPECT_TRUE(h5::read_doubles_attribute(id, "no doubles", "f").empty());
  EXPECT_TRUE(h5::has_attribute(id, "int"));
  EXPECT_FALSE(h5::has_attribute(id, "absent"));
  EXPECT_EQ(h5::attribute_names(id).size(), 9u);
  EXPECT_EQ(h5::attribute_names(id).front(), "double");

  expect_contains(reason_of([&] { h5::read_int_attribute(id, "absent", "f.h5"); }),
                  "f.h5: attribute absent: is absent");
  expect_contains(reason_of([&] { h5::read_int_attribute(id, "string", "f.h5"); }), "is not a whole number");
  expect_contains(reason_of([&] { h5::read_int_attribute(id, "double", "f.h5"); }), "is not a whole number");
  expect_contains(reason_of([&] { h5::read_double_attribute(id, "string", "f.h5"); }), "is not a number");
  expect_contains(reason_of([&] { h5::read_string_attribute(id, "int", "f.h5"); }), "is not a string");
  expect_contains(reason_of([&] { h5::read_double_attribute(id, "doubles", "f.h5"); }), "holds 3 values");
}

TEST(Hdf5, ErrorsCarryHdf5sOwnTextAndNothingIsPrinted) {
  TemporaryFolder folder;
  testing::internal::CaptureStderr();
  expect_contains(reason_of([&] { h5::open_file(folder.file("absent.h5")); }), "does not exist");
  expect_contains(reason_of([&] { h5::open_file(folder.path()); }), "is a folder");
  std::ofstream(folder.file("text.h5")) << "not HDF5";
  const std::string text = reason_of([&] { h5::open_file(folder.file("text.h5")); });
  expect_contains(text, "text.h5: HDF5 cannot open it: H5Fopen failed: ");
  expect_contains(text, "file signature not found");
  expect_contains(reason_of([&] { h5::create_file(folder.file("no/such/folder.h5")); }),
                  "No such file or directory");
  h5::Id file = h5::create_file(folder.file("a.h5"));
  expect_contains(
      reason_of([&] { h5::own(H5Dopen2(file.get(), "/x", H5P_DEFAULT), "H5Dopen2", "a.h5: /x"); }),
      "a.h5: /x: HDF5 cannot open it: H5Dopen2 failed: ");
  expect_contains(reason_of([&] { h5::write_attribute(file.get(), "zero", std::string("a\0b", 3)); }),
                  "zero byte");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Hdf5, FailuresOfTheSystemHaveTheirRemedies) {
  using h5::CallKind;
  const auto remedy = [](const char* call, const char* texts) {
    return h5::remedy_of(h5::kind_of_call(call), texts, "FILTER");
  };
  expect_contains(
      remedy("H5Dwrite", "file write failed: errno = 28, error message = 'No space left on device'"),
      "free space");
  expect_contains(remedy("closing", "errno = 27, error message = 'File too large'"), "ulimit -f");
  expect_contains(remedy("H5Fopen", "errno = 24, error message = 'Too many open files'"), "ulimit -n");
  expect_contains(remedy("H5Fopen", "errno = 13, error message = 'Permission denied'"), "right to read");
  expect_contains(remedy("H5Fcreate", "errno = 13, error message = 'Permission denied'"), "may write to");
  EXPECT_EQ(remedy("H5Dread", "required filter 'blosc' is not registered"), "FILTER");
  for (const auto& [call, kind] :
       {std::pair{"H5Dread", CallKind::kRead}, std::pair{"H5Dopen2", CallKind::kOpen},
        std::pair{"H5Dget_space", CallKind::kRead}, std::pair{"H5Literate", CallKind::kRead},
        std::pair{"H5Acreate2", CallKind::kCreate}, std::pair{"H5Pcreate", CallKind::kOther},
        std::pair{"closing", CallKind::kWrite}, std::pair{"H5Tcopy", CallKind::kOther}}) {
    EXPECT_EQ(h5::kind_of_call(call), kind) << call;
    EXPECT_NE(remedy(call, "something else"), "") << call;
  }
}

TEST(Files, EveryErrorOfTheSystemHasARemedy) {
  for (int number = 1; number < 134; ++number) {
    try {
      throw_file_error("x", "reading", number);
    } catch (const Error& error) {
      EXPECT_NE(error.remedy(), "") << error.what();
    }
  }
}

TEST(Hdf5, NamesAreSortedAndLinksAreFound) {
  TemporaryFolder folder;
  h5::Id file = h5::create_file(folder.file("a.h5"));
  for (const char* group : {"/z", "/a", "/a/b"}) {
    h5::own(H5Gcreate2(file.get(), group, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), "H5Gcreate2", group);
  }
  for (const char* name : {"/image", "/label", "/Zebra", "/a/inner"})
    write_dataset(file.get(), name, DType::kUInt8, {2}, nullptr);
  H5Lcreate_soft("/nowhere", file.get(), "/dangling", H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_EQ(h5::dataset_names(file.get()), (std::vector<std::string>{"Zebra", "image", "label"}));
  EXPECT_EQ(h5::group_names(file.get()), (std::vector<std::string>{"a", "z"}));
  EXPECT_TRUE(h5::has_link(file.get(), "/a/inner"));
  EXPECT_TRUE(h5::has_link(file.get(), "image"));
  EXPECT_FALSE(h5::has_link(file.get(), "/a/absent"));
  EXPECT_FALSE(h5::has_link(file.get(), "/absent/inner"));
}

TEST(Hdf5, TypesAndShapes) {
  TemporaryFolder folder;
  h5::Id file = h5::create_file(folder.file("a.h5"));
  int64_t n_checked = 0;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kFloat64,
                            DType::kUInt8, DType::kInt32, DType::kInt64}) {
    const std::string name = "d" + std::to_string(n_checked++);
    const h5::Id dataset = write_dataset(file.get(), name, dtype, {3, 0, 5}, nullptr);
    const h5::Id type = h5::own(H5Dget_type(dataset.get()), "H5Dget_type", name);
    EXPECT_EQ(h5::dtype_of(type.get(), name), dtype);
    EXPECT_EQ(static_cast<int64_t>(H5Tget_size(type.get())), size_of(dtype));
    EXPECT_EQ(h5::shape_of(dataset.get()), (Shape{3, 0, 5}));
  }
  EXPECT_EQ(n_checked, 7);
  expect_contains(reason_of([] { h5::dtype_of(H5T_NATIVE_UINT16, "a.h5: x"); }),
                  "a.h5: x: has element type uint16");
  expect_contains(reason_of([] { h5::dtype_of(H5T_C_S1, "a.h5: x"); }), "not a dataset of numbers");
  const h5::Id deep = write_dataset(file.get(), "deep", DType::kUInt8, std::vector<hsize_t>(9, 1), nullptr);
  expect_contains(reason_of([&] { h5::shape_of(deep.get()); }), "9 dimensions");
}

TEST(Hdf5, SixteenBitFloatsHaveTheRightValues) {
  TemporaryFolder folder;
  h5::Id file = h5::create_file(folder.file("a.h5"));
  // 1, -2, 0.5, the largest, the smallest normal
  const uint16_t half[] = {0x3C00, 0xC000, 0x3800, 0x7BFF, 0x0400},
                 bfloat[] = {0x3F80, 0xC000, 0x3F00, 0x7F7F, 0x0080};
  const float half_values[] = {1, -2, 0.5, 65504, 0x1p-14f},
              bfloat_values[] = {1, -2, 0.5, 0x1.FEp127f, 0x1p-126f};
  const h5::Id a = write_dataset(file.get(), "half", DType::kFloat16, {5}, half);
  const h5::Id b = write_dataset(file.get(), "bfloat", DType::kBFloat16, {5}, bfloat);
  float read[5];
  ASSERT_GE(H5Dread(a.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, read), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(read[i], half_values[i]);
  ASSERT_GE(H5Dread(b.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, read), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(read[i], bfloat_values[i]);
}

TEST(Hdf5, ReadsAttributesOfH5py) {
  if (!has_h5py()) GTEST_SKIP() << "h5py is not installed for /usr/bin/python3";
  TemporaryFolder folder;
  ASSERT_EQ(run_h5py(folder.path(), R"(
with h5py.File(folder + "/p.h5", "w") as f:
    f.attrs["variable"] = "caf\u00e9"
    f.attrs["fixed"] = np.bytes_(b"fixed text")
    f.attrs["names"] = ["cat", "dog", "a longer name"]
    f.attrs["fixed_names"] = np.array([b"cat", b"do"], dtype="S5")
    f.attrs["mean"] = np.array([0.5, 0.25], dtype="float32")
    f.attrs["big"] = np.array(7, dtype=">i4")
    f.attrs["flag"] = 3
    f.attrs["ratio"] = 0.75
    f.create_dataset("half", data=np.array([1.5, -2], dtype="float16"))
)"),
            "");
  const h5::Id file = h5::open_file(folder.file("p.h5"));
  const hid_t id = file.get();
  EXPECT_EQ(h5::read_string_attribute(id, "variable", "p"), "caf\xC3\xA9");
  EXPECT_EQ(h5::read_string_attribute(id, "fixed", "p"), "fixed text");
  EXPECT_EQ(h5::read_strings_attribute(id, "names", "p"),
            (std::vector<std::string>{"cat", "dog", "a longer name"}));
  EXPECT_EQ(h5::read_strings_attribute(id, "fixed_names", "p"), (std::vector<std::string>{"cat", "do"}));
  EXPECT_EQ(h5::read_doubles_attribute(id, "mean", "p"), (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(h5::read_int_attribute(id, "big", "p"), 7);
  EXPECT_EQ(h5::read_int_attribute(id, "flag", "p"), 3);
  EXPECT_EQ(h5::read_double_attribute(id, "ratio", "p"), 0.75);
  const h5::Id half = h5::own(H5Dopen2(id, "half", H5P_DEFAULT), "H5Dopen2", "half");
  const h5::Id type = h5::own(H5Dget_type(half.get()), "H5Dget_type", "half");
  EXPECT_EQ(h5::dtype_of(type.get(), "half"), DType::kFloat16);
  EXPECT_GT(H5Tequal(type.get(), h5::native_type(DType::kFloat16)), 0);
}

TEST(Hdf5, H5pyReadsOurAttributes) {
  if (!has_h5py()) GTEST_SKIP() << "h5py is not installed for /usr/bin/python3";
  TemporaryFolder folder;
  {
    h5::Id file = h5::create_file(folder.file("c.h5"));
    h5::write_attribute(file.get(), "text", std::string("caf\xC3\xA9"));
    h5::write_attribute(file.get(), "names", std::vector<std::string>{"cat", "dog"});
    h5::write_attribute(file.get(), "mean", std::vector<double>{0.5, 0.25});
    h5::write_attribute(file.get(), "step", int64_t{1} << 40);
    const uint16_t half[] = {0x3E00, 0xC000};
    write_dataset(file.get(), "half", DType::kFloat16, {2}, half);
    file.close();
  }
  EXPECT_EQ(run_h5py(folder.path(), R"(
with h5py.File(folder + "/c.h5", "r") as f:
    assert f.attrs["text"] == "caf\u00e9" and isinstance(f.attrs["text"], str)
    assert list(f.attrs["names"]) == ["cat", "dog"]
    assert f.attrs["mean"].tolist() == [0.5, 0.25]
    assert f.attrs["step"] == 1 << 40
    assert f["half"].dtype == np.float16 and f["half"][:].tolist() == [1.5, -2]
)"),
            "");
}

TEST(Hdf5, ThreadsShareTheLibrary) {
  TemporaryFolder folder;
  std::vector<std::thread> threads;
  std::vector<int64_t> n_right(4, 0);
  for (size_t t = 0; t < n_right.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 50; ++i) {
        const std::string path = folder.file(std::to_string(t) + ".h5");
        h5::Id file = h5::create_file(path);
        h5::write_attribute(file.get(), "i", i);
        file.close();
        const h5::Id again = h5::open_file(path);
        n_right[t] += h5::read_int_attribute(again.get(), "i", path) == i;
        n_right[t] += reason_of([&] { h5::read_int_attribute(again.get(), "x", path); }) != "(no error)";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int64_t n : n_right) EXPECT_EQ(n, 100);
}

}  // namespace
}  // namespace lockstep
