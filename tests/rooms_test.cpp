// Holds the one-way rules against the #include lines of every source file: the rooms kernels <- comm <- io <-
// src <- jobs, each including only itself and rooms to its left; the folders of comm, io and src likewise;
// and each foreign library only where it belongs (CUDA, MPI, HDF5, oneDNN, yaml-cpp). The second half builds
// a small tree that breaks every rule and expects each break to be found.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kRooms = {"kernels", "comm", "io", "src", "jobs"};  // left to right
const std::vector<std::string> kGuests = {"tests", "bench", "examples"};           // may include every room

/// The folders of a room, left to right; neighbours of one place do not know each other. "" are the room's
/// own files.
struct Row {
  const char* room;
  std::vector<std::vector<std::string>> folders;
  bool headers_only;  // sources may also include what stands to their right: the room's face uses its parts
};
const std::vector<Row> kRows = {
    {"comm", {{""}, {"reduction"}, {"watchdog", "nccl"}}, true},
    {"io",
     {{"files"}, {"hdf5", "tokenizer"}, {"dataset"}, {"formats", "loader", "checkpoint"}, {"convert"}},
     false},
    {"src",
     {{"config", "report"},
      {"losses"},
      {"metrics"},
      {"network"},
      {"data", "update"},
      {"plan"},
      {"step"},
      {"run"},
      {""}},  // the face
     false},
};

/// Headers whose name matches `header` may be included only by files whose path matches `allowed`.
struct Border {
  const char* library;
  std::regex header;
  std::regex allowed;
};
const std::vector<Border> kBorders = {
    {"NCCL", std::regex(R"(nccl\w*\.h)"), std::regex(R"(comm/nccl/.*)")},
    {"CUDA",
     std::regex(
         R"((cuda|cudnn|cublas|curand|cusparse|cutensor|nvml|nvtx|nvToolsExt|cooperative_groups|cub/|thrust/|mma\.h).*)"),
     std::regex(R"(kernels/cuda/.*|comm/nccl/.*)")},
    {"MPI", std::regex(R"(mpi\w*\.h)"), std::regex(R"((comm|io)/.*)")},
    {"HDF5", std::regex(R"(hdf5(_hl)?\.h|H5\w+\.h)"), std::regex(R"(io/.*)")},
    {"PCRE2", std::regex(R"(pcre2.*)"), std::regex(R"(io/tokenizer/.*\.cpp)")},
    {"oneDNN", std::regex(R"((oneapi/dnnl/)?dnnl.*)"), std::regex(R"(kernels/cpu/.*)")},
    {"yaml-cpp", std::regex(R"(yaml-cpp/.*)"),
     std::regex(R"(src/(config|report)/.*\.cpp|src/config/config_tree\.h)")},
};

struct Scan {
  int64_t n_files = 0, n_includes = 0;
  std::vector<std::string> breaks;  // "path:line: what"
};

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".h" || extension == ".cpp" || extension == ".cu" || extension == ".cuh";
}

int64_t index_of(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) - names.begin();
}

/// The folder of a file within its room, "" for the room's own files.
std::string folder_of(const std::string& path) {
  const size_t begin = path.find('/') + 1, end = path.find('/', begin);
  return end == std::string::npos ? "" : path.substr(begin, end - begin);
}

/// Why a file of a room may not include a header of the same room; empty if it may.
std::string break_of_row(const Row& row, const std::string& path, const std::string& header) {
  if (row.headers_only && !path.ends_with(".h")) return "";
  const std::string own = folder_of(path), other = folder_of(header);
  if (own == other) return "";
  int64_t own_place = -1, other_place = -1;
  for (int64_t place = 0; place < static_cast<int64_t>(row.folders.size()); ++place) {
    for (const std::string& folder : row.folders[static_cast<size_t>(place)]) {
      if (folder == own) own_place = place;
      if (folder == other) other_place = place;
    }
  }
  const std::string room = std::string(row.room) + "/";
  if (own_place < 0) return "the row of " + room + " has no folder " + own;
  if (other_place < 0) return "the row of " + room + " has no folder " + other;
  return other_place < own_place
             ? ""
             : room + own + " may not include " + room + other + ", which is not to its left";
}

/// Why a file at `path` (from the root) may not include `header`; empty if it may.
std::string break_of(const std::string& path, const std::string& header, bool quoted) {
  const std::string room = path.substr(0, path.find('/'));
  const int64_t n_rooms = static_cast<int64_t>(kRooms.size());
  const int64_t own = index_of(kRooms, room);
  const bool is_guest = own == n_rooms;
  if (!is_guest) {
    for (const Border& border : kBorders)
      if (std::regex_match(header, border.header) && !std::regex_match(path, border.allowed))
        return std::string(border.library) + " is not for this file";
  }
  if (!quoted) return "";
  const std::string other = header.substr(0, header.find('/'));
  const int64_t theirs = index_of(kRooms, other);
  if (theirs < n_rooms && theirs > own) return room + " may not include " + other + ", which is to its right";
  if (theirs < n_rooms) {
    if (other == "kernels" && !is_guest && own != theirs &&
        (folder_of(header) == "cpu" || folder_of(header) == "cuda"))
      return "the backends of kernels are its own: declare what others need in kernels/";
    for (const Row& row : kRows)
      if (row.room == room && theirs == own) return break_of_row(row, path, header);
    return "";
  }
  if (std::find(kGuests.begin(), kGuests.end(), other) != kGuests.end())
    return is_guest ? "" : room + " may not include " + other;
  for (const Border& border : kBorders)
    if (std::regex_match(header, border.header)) return "";
  return "no room is called " + other + ": write the path from the root";
}

Scan scan(const fs::path& root) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
  Scan result;
  std::vector<std::string> folders = kRooms;
  folders.insert(folders.end(), kGuests.begin(), kGuests.end());
  for (const std::string& folder : folders) {
    if (!fs::exists(root / folder)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      ++result.n_files;
      const std::string path = fs::relative(entry.path(), root).generic_string();
      std::ifstream file(entry.path());
      std::string line;
      for (int64_t number = 1; std::getline(file, line); ++number) {
        std::smatch match;
        if (!std::regex_match(line, match, kInclude)) continue;
        ++result.n_includes;
        const std::string why = break_of(path, match[2], match[1] == "\"");
        if (!why.empty())
          result.breaks.push_back(path + ":" + std::to_string(number) + ": includes " + match[2].str() +
                                  ": " + why);
      }
    }
  }
  return result;
}

TEST(Rooms, IncludeOnlyToTheLeft) {
  const Scan result = scan(LOCKSTEP_SOURCE_DIR);
  for (const std::string& line : result.breaks) ADD_FAILURE() << line;
  for (const std::string& room : kRooms)
    EXPECT_TRUE(fs::exists(fs::path(LOCKSTEP_SOURCE_DIR) / room)) << room;
  EXPECT_GT(result.n_files, 50);  // the scan has looked at the real tree
  EXPECT_GT(result.n_includes, 200);
}

class BrokenTree : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lockstep-rooms-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }

  /// The breaks found in a tree of one file with one include line.
  std::vector<std::string> breaks_of(const std::string& path, const std::string& include) {
    fs::remove_all(root_);
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << "// comment\n#include " << include << "\nint x;\n";
    const Scan result = scan(root_);
    EXPECT_EQ(result.n_files, 1);
    EXPECT_EQ(result.n_includes, 1);
    return result.breaks;
  }

  fs::path root_;
};

TEST_F(BrokenTree, EveryBreakIsFound) {
  const std::vector<std::pair<std::string, std::string>> kForbidden = {
      {"kernels/a.h", "\"comm/communicator.h\""},
      {"kernels/cpu/a.cpp", "\"src/network/graph.h\""},
      {"comm/a.cpp", "\"io/dataset/dataset.h\""},
      {"io/a.h", "\"src/network/graph.h\""},
      {"src/network/layers/a.cpp", "\"jobs/program.h\""},
      {"src/a.cpp", "\"tests/support/op_test.h\""},
      {"src/run/a.cpp", "\"graph.h\""},
      {"src/a.cpp", "\"../kernels/op.h\""},
      {"kernels/a.cpp", "<mpi.h>"},
      {"src/a.cpp", "<mpi.h>"},
      {"jobs/a.cpp", "\"mpi.h\""},
      {"comm/a.cpp", "<hdf5.h>"},
      {"src/a.cpp", "<H5Dpublic.h>"},
      {"kernels/a.cpp", "<dnnl.hpp>"},
      {"kernels/cuda/a.cu", "<oneapi/dnnl/dnnl.hpp>"},
      {"src/a.cpp", "<dnnl.h>"},
      {"kernels/cpu/a.cpp", "<cuda_runtime.h>"},
      {"src/a.cu", "<cudnn.h>"},
      {"comm/communicator.cpp", "<cuda_runtime_api.h>"},
      {"comm/communicator.cpp", "<nccl.h>"},
      {"kernels/cuda/a.cpp", "<nccl.h>"},
      {"kernels/a.h", "<cuda_bf16.h>"},
      {"io/a.cpp", "<yaml-cpp/yaml.h>"},
      {"io/convert/a.cpp", "<pcre2.h>"},
      {"io/tokenizer/a.cpp", "\"io/dataset/dataset.h\""},
      {"kernels/a.cpp", "  <yaml-cpp/node/node.h>  // why"},
      {"src/config/config.h", "<yaml-cpp/yaml.h>"},
      {"src/network/a.cpp", "<yaml-cpp/yaml.h>"},
      {"io/a.cpp", "\"kernels/cpu/onednn.h\""},
      {"comm/nccl/a.cpp", "\"kernels/cuda/runtime.h\""},
      {"comm/a.h", "\"comm/reduction/tree_sum.h\""},
      {"comm/reduction/a.h", "\"comm/nccl/nccl.h\""},
      {"comm/nccl/a.h", "\"comm/watchdog/heartbeat.h\""},
      {"io/files/a.cpp", "\"io/hdf5/hdf5.h\""},
      {"io/hdf5/a.cpp", "\"io/dataset/dataset.h\""},
      {"io/dataset/a.h", "\"io/loader/loader.h\""},
      {"io/loader/a.cpp", "\"io/checkpoint/checkpoint.h\""},
      {"io/formats/a.cpp", "\"io/convert/convert.h\""},
      {"io/new/a.cpp", "\"io/files/files.h\""},
      {"src/config/a.cpp", "\"src/losses/loss.h\""},
      {"src/losses/a.cpp", "\"src/metrics/metric.h\""},
      {"src/losses/a.cpp", "\"src/network/graph.h\""},
      {"src/network/layers/a.cpp", "\"src/plan/plan.h\""},
      {"src/data/augment/a.cpp", "\"src/update/schedule.h\""},
      {"src/update/a.cpp", "\"src/plan/plan.h\""},
      {"src/plan/a.cpp", "\"src/step/step_options.h\""},
      {"src/step/a.cpp", "\"src/run/train.h\""},
      {"src/step/a.h", "\"src/run/job.h\""},
      {"src/data/a.cpp", "\"src/update/optimizer.h\""},
      {"src/run/a.cpp", "\"src/lockstep.h\""},
      {"src/report/a.cpp", "\"src/config/config.h\""},
      {"src/plan/a.cpp", "\"src/a.h\""},
  };
  for (const auto& [path, include] : kForbidden)
    EXPECT_EQ(breaks_of(path, include).size(), 1u) << path << " " << include;
}

TEST_F(BrokenTree, WhatIsAllowedPasses) {
  const std::vector<std::pair<std::string, std::string>> kAllowed = {
      {"kernels/a.cpp", "\"kernels/op.h\""},
      {"comm/a.h", "\"kernels/tensor.h\""},
      {"io/a.cpp", "\"comm/agreement.h\""},
      {"src/a.cpp", "\"io/dataset/dataset.h\""},
      {"jobs/a.cpp", "\"src/trainer.h\""},
      {"tests/io/a.cpp", "\"jobs/program.h\""},
      {"tests/io/a.cpp", "<hdf5.h>"},
      {"bench/a.cpp", "\"tests/support/op_test.h\""},
      {"comm/a.cpp", "<mpi.h>"},
      {"io/a.cpp", "<mpi.h>"},
      {"io/hdf5/hdf5.cpp", "<hdf5.h>"},
      {"kernels/cpu/a.cpp", "<dnnl.hpp>"},
      {"kernels/cuda/a.cu", "<cuda_runtime.h>"},
      {"comm/nccl/nccl_communicator.cpp", "<nccl.h>"},
      {"comm/nccl/nccl_communicator.cpp", "<cuda_runtime.h>"},
      {"src/config/a.cpp", "<yaml-cpp/yaml.h>"},
      {"jobs/a.cpp", "<boost/program_options.hpp>"},
      {"comm/communicator.cpp", "\"comm/reduction/rank_reduction.h\""},
      {"comm/watchdog/a.h", "\"comm/communicator.h\""},
      {"io/convert/a.cpp", "\"io/loader/sampler.h\""},
      {"src/run/predict/a.cpp", "\"src/run/trained_model.h\""},
      {"src/run/a.cpp", "\"src/report/report.h\""},
      {"src/step/a.h", "\"src/update/optimizer.h\""},
      {"kernels/a.cpp", "<vector>"},
  };
  for (const auto& [path, include] : kAllowed) {
    const std::vector<std::string> breaks = breaks_of(path, include);
    EXPECT_TRUE(breaks.empty()) << (breaks.empty() ? "" : breaks.front());
  }
}

}  // namespace
