// .safetensors against literal bytes, against Python's package in both directions, and damaged in
// every way that the header can be.
#include "io/formats/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/error.h"
#include "tests/support/hdf5_files.h"
#include "tests/support/python.h"

namespace lockstep {
namespace {

std::string bytes_of_length(uint64_t n) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(n >> (8 * i) & 0xFF);
  return bytes;
}

class Safetensors : public testing::Test {
 protected:
  std::string write(const std::string& bytes) {
    const std::string path = folder.file("file.safetensors");
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::string write(const std::string& header, const std::string& data) {
    return write(bytes_of_length(header.size()) + header + data);
  }
  std::string read_bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  static std::vector<float> values(const SafetensorsFile& file, const std::string& name) {
    for (const SafetensorsEntry& entry : file.entries()) {
      if (entry.name != name) continue;
      std::vector<float> result(static_cast<size_t>(entry.shape.n_elements()), -77.0f);
      file.read(entry, result.data());
      return result;
    }
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  TemporaryFolder folder;
};

using Values = std::vector<float>;

TEST_F(Safetensors, LiteralFileOfEveryType) {
  const std::string header =
      R"({"__metadata__": {"format": "pt", "note": "\"data_offsets\": [0, 9]"},)"
      R"( "half": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},)"
      R"("brain":{"dtype":"BF16","shape":[3],"data_offsets":[12,18]},)"
      R"("float": {"shape": [1,2 ], "dtype": "F32", "data_offsets": [ 18, 26]},)"
      R"("double": {"data_offsets": [26, 34], "shape": [], "dtype": "F64"},)"
      R"("long": {"dtype": "I64", "shape": [2], "data_offsets": [34, 50]},)"
      R"("none": {"dtype": "F32", "shape": [0, 4], "data_offsets": [34, 34]},)"
      R"("flag \u00e9": {"dtype": "BOOL", "shape": [1], "data_offsets": [50, 51]}}   )";
  const std::string data(
      "\x00\x3C"
      "\x00\xC0"
      "\x01\x00"
      "\xFF\x7B"
      "\x00\x7C"
      "\x00\x80"  // 1, -2, 2^-24, 65504, inf, -0
      "\x80\x3F"
      "\x40\xC0"
      "\x01\x00"  // 1, -3, 2^-133
      "\x00\x00\x80\x3E"
      "\xFF\xFF\x7F\xFF"                  // 0.25, -max
      "\x00\x00\x00\x00\x00\x00\x04\x40"  // 2.5
      "\x07\x00\x00\x00\x00\x00\x00\x00"
      "\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF"  // 7, -2
      "\x01",
      51);
  const SafetensorsFile file(write(header, data));
  ASSERT_EQ(file.entries().size(), 7u);
  EXPECT_EQ(file.entries()[0].shape, (Shape{2, 3}));
  const Values half = values(file, "half");
  EXPECT_EQ(half, (Values{1, -2, 0x1p-24f, 65504, INFINITY, -0.0f}));
  EXPECT_TRUE(std::signbit(half[5]));
  EXPECT_EQ(values(file, "brain"), (Values{1, -3, 0x1p-133f}));
  EXPECT_EQ(values(file, "float"), (Values{0.25f, -std::numeric_limits<float>::max()}));
  EXPECT_EQ(values(file, "double"), (Values{2.5f}));
  EXPECT_EQ(values(file, "long"), (Values{7, -2}));
  EXPECT_TRUE(values(file, "none").empty());
  EXPECT_EQ(file.entries().back().name, "flag é");
  EXPECT_EQ(values(file, "flag é"), (Values{1}));
}

TEST_F(Safetensors, WritesTheseBytes) {
  const std::string path = folder.file("out.safetensors");
  const float weights[] = {1, -2, 0.5f};
  const int64_t step = 300;
  std::vector<size_t> filled;
  write_safetensors(path, {{"fc.weight", {1, 3}, DType::kFloat32}, {"bn.n", {}, DType::kInt64}, {"a", {0}}},
                    [&](size_t i, void* data) {
                      filled.push_back(i);
                      if (i == 0) std::memcpy(data, weights, sizeof weights);
                      if (i == 1) std::memcpy(data, &step, sizeof step);
                    });
  EXPECT_EQ(filled, (std::vector<size_t>{1, 2, 0}));
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"bn.n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("a":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},)"
      R"("fc.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]}}    )";
  ASSERT_EQ(header.size() % 8, 0u) << header.size();
  EXPECT_EQ(read_bytes(path), bytes_of_length(header.size()) + header +
                                  std::string("\x2C\x01\0\0\0\0\0\0\0\0\x80\x3F\0\0\0\xC0\0\0\0\x3F", 20));
  EXPECT_EQ(values(SafetensorsFile(path), "fc.weight"), (Values{1, -2, 0.5f}));
}

TEST_F(Safetensors, LargeTensorsOfEveryWidthComeBackWhole) {
  const int64_t n = (int64_t{1} << 20) + 5;  // several pieces of reading, the last one short
  std::string halves, doubles;
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = static_cast<uint16_t>(i % 31744);  // finite and positive
    const double wide = static_cast<double>(i) / 8;
    halves.append(reinterpret_cast<const char*>(&half), 2);
    doubles.append(reinterpret_cast<const char*>(&wide), 8);
  }
  const auto range = [](int64_t a, int64_t b) {
    return "[" + std::to_string(a) + "," + std::to_string(b) + "]";
  };
  const std::string shape = R"(,"shape":[)" + std::to_string(n) + R"(],"data_offsets":)";
  const SafetensorsFile file(write(R"({"h":{"dtype":"F16")" + shape + range(0, 2 * n) +
                                       R"(},"d":{"dtype":"F64")" + shape + range(2 * n, 10 * n) + "}}",
                                   halves + doubles));
  const Values h = values(file, "h"), d = values(file, "d");
  int64_t n_wrong = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t bits = i % 31744, exponent = bits >> 10, fraction = bits & 1023;
    const double half =
        exponent ? std::ldexp(1024.0 + static_cast<double>(fraction), static_cast<int>(exponent) - 25)
                 : std::ldexp(static_cast<double>(fraction), -24);
    n_wrong += static_cast<double>(h[static_cast<size_t>(i)]) != half;
    n_wrong += d[static_cast<size_t>(i)] != static_cast<float>(i) / 8;
  }
  EXPECT_EQ(n_wrong, 0);
}

TEST_F(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const auto nothing = [](size_t, void*) {};
  const std::string path = folder.file("out.safetensors");
  EXPECT_THROW(write_safetensors(path, {{"a", {1}}, {"a", {2}}}, nothing), Error);
  EXPECT_THROW(write_safetensors(path, {{"__metadata__", {1}}}, nothing), Error);
  EXPECT_THROW(write_safetensors(path, {{"a", {1}, DType::kFloat16}}, nothing), Error);
  EXPECT_THROW(write_safetensors(path, {{"a", {1}}}, [](size_t, void*) { throw Error("", "no content"); }),
               Error);
  EXPECT_THROW(write_safetensors(folder.file("absent/out.safetensors"), {{"a", {1}}}, nothing), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST_F(Safetensors, DamagedFilesAreOneSentence) {
  struct Case {
    std::string bytes, part;
  };
  const auto file = [](const std::string& header, size_t n_data) {
    return bytes_of_length(header.size()) + header + std::string(n_data, 'x');
  };
  const auto one = [&](const std::string& description, size_t n_data = 8) {
    return file(R"({"w":)" + description + "}", n_data);
  };
  const std::string good = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string whole = one(good);
  EXPECT_NO_THROW(SafetensorsFile(write(whole)));
  const std::vector<Case> cases = {
      {"", "too short"},
      {whole.substr(0, 9), "too short"},
      {whole.substr(0, whole.size() - 9), "cut off"},
      {whole.substr(0, whole.size() - 1), "its tensors need 8 bytes of data; the file has 7"},
      {whole + "x", "the file has 9"},
      {bytes_of_length(uint64_t{1} << 63) + whole, "its header would have 9223372036854775808 bytes"},
      {bytes_of_length(~uint64_t{0}) + whole, "its header would have"},
      {std::string("PK\x03\x04\x14\0\0\0archive", 15), "is not a safetensors file"},
      {file("[1, 2]", 0), "broken JSON at column 1"},
      {file(R"({"w": {"dtype")", 0), "broken JSON"},
      {file("{} and more", 0), "more text after the object"},
      {file(R"({"w": 5})", 0), "w: is not described by a JSON object"},
      {file(R"({"w":)" + good + R"(,"w":)" + good + "}", 8), "w: stands twice"},
      {file(R"({"w":)" + good + R"(,"v":)" + good + "}", 8), "overlaps the tensor before it"},
      {file(R"({"w":)" + good + R"(,"v":{"dtype":"U8","shape":[1],"data_offsets":[7,8]}})", 8), "overlaps"},
      {file(R"({"w":)" + good + R"(,"v":{"dtype":"U8","shape":[1],"data_offsets":[9,10]}})", 10),
       "behind a gap"},
      {one(R"({"dtype":"F32","shape":[2],"data_offsets":[1,9]})", 9), "behind a gap"},
      {one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"),
       "F32 (3) does not fill its data_offsets [0,8]"},
      {one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "does not fill"},
      {one(R"({"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]})"), "does not fill"},
      {one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,9]})"), "dtype, shape and data_offsets"},
      {one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "dtype, shape and data_offsets"},
      {one(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), "dtype, shape and data_offsets"},
      {one(R"({"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]})"), "dtype, shape and"},
      {one(R"({"dtype":"F32","shape":[2]})"), "dtype, shape and data_offsets"},
      {one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1})"), "dtype, shape and data_offsets"},
      {one(R"({"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]})"),
       "dtype, shape and data_offsets"},
      {one(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})"), "dtype, shape and data_offsets"},
  };
  for (const Case& damaged : cases) {
    const std::string path = write(damaged.bytes);
    try {
      const SafetensorsFile read(path);
      ADD_FAILURE() << "accepted, though: " << damaged.part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(damaged.part), std::string::npos)
          << error.what() << "\nlacks: " << damaged.part;
      EXPECT_TRUE(error.where().starts_with(path)) << error.what();
    }
  }
  EXPECT_THROW(SafetensorsFile(folder.file("absent.safetensors")), Error);
  EXPECT_THROW(SafetensorsFile(folder.path()), Error);
}

TEST_F(Safetensors, WholeNumbersOfEveryWidthAreWeights) {
  const std::string header =
      R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I16","shape":[2],"data_offsets":[2,6]},)"
      R"("c":{"dtype":"U16","shape":[1],"data_offsets":[6,8]},"d":{"dtype":"U32","shape":[1],"data_offsets":[8,12]},)"
      R"("e":{"dtype":"I32","shape":[1],"data_offsets":[12,16]},"f":{"dtype":"U64","shape":[1],"data_offsets":[16,24]}})";
  const std::string data(
      "\xFF\x7F"
      "\xFE\xFF\x00\x80"
      "\xFF\xFF"
      "\xFF\xFF\xFF\xFF"
      "\x00\x00\x00\x80"
      "\x00\x00\x00\x00\x00\x00\x00\x80",
      24);
  const SafetensorsFile file(write(header, data));
  EXPECT_EQ(values(file, "a"), (Values{-1, 127}));
  EXPECT_EQ(values(file, "b"), (Values{-2, -32768}));
  EXPECT_EQ(values(file, "c"), (Values{65535}));
  EXPECT_EQ(values(file, "d"), (Values{4294967296.0f}));
  EXPECT_EQ(values(file, "e"), (Values{-2147483648.0f}));
  EXPECT_EQ(values(file, "f"), (Values{9223372036854775808.0f}));
}

TEST_F(Safetensors, ATensorOfAnUnknownKindRefusesOnlyItself) {
  const SafetensorsFile file(write(
      R"({"new":{"dtype":"F23","shape":[2],"data_offsets":[0,3]},"deep":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[3,7]},)"
      R"("w":{"dtype":"F32","shape":[1],"data_offsets":[7,11]}})",
      std::string(7, '\1') + std::string("\0\0\x80\x3F", 4)));
  EXPECT_EQ(values(file, "w"), (Values{1}));
  for (const SafetensorsEntry& entry : file.entries()) {
    if (entry.name == "w") continue;
    float value[2] = {};
    try {
      file.read(entry, value);
      ADD_FAILURE() << entry.name;
    } catch (const Error& error) {
      EXPECT_NE(error.reason().find(entry.name == "new" ? "type F23" : "has 9 dimensions"), std::string::npos)
          << error.what();
    }
  }
}

TEST_F(Safetensors, AnIndexBringsItsFilesTogether) {
  const auto file = [&](const std::string& name, const std::string& tensor, float value) {
    const std::string header = R"({")" + tensor + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    std::string data(4, '\0');
    std::memcpy(data.data(), &value, 4);
    std::ofstream(folder.file(name), std::ios::binary) << bytes_of_length(header.size()) << header << data;
  };
  file("model-1.safetensors", "a", 1);
  file("model-2.safetensors", "b", 2);
  const std::string index = folder.file("model.safetensors.index.json");
  const auto write_index = [&](const std::string& map) {
    std::ofstream(index) << R"({"metadata": {"total_size": 8}, "weight_map": )" << map << "}";
  };
  const auto message = [&] {
    try {
      SafetensorsFile{index};
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  write_index(R"({"a": "model-1.safetensors", "b": "model-2.safetensors"})");
  for (const std::string& path : {index, folder.path()}) {
    const SafetensorsFile both(path);
    EXPECT_EQ(values(both, "a"), (Values{1}));
    EXPECT_EQ(values(both, "b"), (Values{2}));
  }
  write_index(R"({"a": "model-2.safetensors", "b": "model-2.safetensors"})");
  EXPECT_NE(message().find("does not hold tensor a"), std::string::npos) << message();
  write_index(R"({"a": "model-1.safetensors", "b": "model-3.safetensors"})");
  EXPECT_NE(message().find("model-3.safetensors: is missing"), std::string::npos) << message();
  write_index(R"({"a": "../model-1.safetensors"})");
  EXPECT_NE(message().find("names no file beside it"), std::string::npos) << message();
}

TEST_F(Safetensors, EveryCutAndEveryChangedByteOfTheHeaderIsSafe) {
  const std::string header =
      R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"I64","shape":)"
      R"([1],"data_offsets":[8,16]}})";
  const std::string whole = bytes_of_length(header.size()) + header + std::string(16, '\0');
  int64_t n_refused = 0, n_read = 0;
  const auto read = [&](const std::string& bytes) {
    try {
      const SafetensorsFile file(write(bytes));
      for (const SafetensorsEntry& entry : file.entries()) {
        if (entry.dtype) values(file, entry.name);
      }
      ++n_read;
    } catch (const Error&) {
      ++n_refused;
    }
  };
  for (size_t n = 0; n < whole.size(); ++n) read(whole.substr(0, n));
  EXPECT_EQ(n_read, 0);
  for (size_t i = 0; i < 8 + header.size(); ++i) {
    for (const char c : {'\0', '9', '"', '{', '}', ',', '\xFF'}) {
      std::string changed = whole;
      changed[i] = c;
      read(changed);
    }
  }
  EXPECT_GT(n_refused, static_cast<int64_t>(4 * header.size()));
  EXPECT_GT(n_read, 0);  // such as a changed name
}

TEST_F(Safetensors, PythonReadsOursAndWritesTheSameBytes) {
  const std::string python = python_with("torch, safetensors.torch");
  if (python.empty()) GTEST_SKIP() << "no Python with torch and safetensors; name one in LOCKSTEP_PYTHON";
  write_safetensors(folder.file("ours.safetensors"),
                    {{"conv1.weight", {2, 1, 3, 3}}, {"conv1.bias", {2}}, {"b \"é\".n", {}, DType::kInt64}},
                    [](size_t i, void* data) {
                      if (i == 2) *static_cast<int64_t*>(data) = -5;
                      for (size_t j = 0; i < 2 && j < (i ? 2 : 18); ++j)
                        static_cast<float*>(data)[j] = 0.1f * static_cast<float>(j) - static_cast<float>(i);
                    });
  EXPECT_EQ(run_python(python, folder.path(),
                       "import torch\n"
                       "from safetensors.torch import load_file, save_file\n"
                       "from safetensors import safe_open\n"
                       "t = load_file(folder + '/ours.safetensors')\n"
                       "assert sorted(t) == ['b \"é\".n', 'conv1.bias', 'conv1.weight'], sorted(t)\n"
                       "w = torch.tensor([0.1], dtype=torch.float32) * torch.arange(18.)\n"
                       "assert torch.equal(t['conv1.weight'], w.reshape(2, 1, 3, 3))\n"
                       "assert torch.equal(t['conv1.bias'], w[:2] - 1)\n"
                       "n = t['b \"é\".n']\n"
                       "assert n.dtype == torch.int64 and n.shape == () and n.item() == -5\n"
                       "assert safe_open(folder + '/ours.safetensors', 'pt').metadata() == {'format': 'pt'}\n"
                       "save_file(t, folder + '/theirs.safetensors', {'format': 'pt'})\n"),
            "");
  EXPECT_EQ(read_bytes(folder.file("ours.safetensors")), read_bytes(folder.file("theirs.safetensors")));
}

TEST_F(Safetensors, ReadsWhatPythonWrites) {
  const std::string python = python_with("torch, safetensors.torch");
  if (python.empty()) GTEST_SKIP() << "no Python with torch and safetensors; name one in LOCKSTEP_PYTHON";
  ASSERT_EQ(run_python(
                python, folder.path(),
                "import torch\n"
                "from safetensors.torch import save_file\n"
                "x = torch.arange(12.).reshape(3, 4) / 3 - 1\n"
                "types = dict(f32=torch.float32, f16=torch.float16, bf16=torch.bfloat16, f64=torch.float64)\n"
                "out = {name: x.to(dtype) for name, dtype in types.items()}\n"
                "out |= {name + '_as_f32': t.to(torch.float32, copy=True) for name, t in out.items()}\n"
                "out['i64'] = torch.tensor(12345678901)\n"
                "out['flag'] = torch.tensor([True])\n"
                "save_file(out, folder + '/theirs.safetensors')\n"),
            "");
  const SafetensorsFile file(folder.file("theirs.safetensors"));
  EXPECT_EQ(file.entries().size(), 10u);
  for (const std::string name : {"f32", "f16", "bf16", "f64"}) {
    const Values read = values(file, name);
    EXPECT_EQ(read.size(), 12u);
    EXPECT_EQ(read, values(file, name + "_as_f32")) << name;
  }
  EXPECT_EQ(values(file, "i64"), (Values{12345678901.0f}));
}

}  // namespace
}  // namespace lockstep
