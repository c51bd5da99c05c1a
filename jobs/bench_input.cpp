// lockstep bench input: what the loader delivers when its consumer does nothing, sequential and shuffled,
// from a dataset or from synthetic ones in each layout. input_speed.cpp measures.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <sstream>

#include "comm/agreement.h"
#include "io/dataset/synthetic.h"
#include "io/files/metrics.h"
#include "jobs/command.h"
#include "jobs/input_speed.h"
#include "kernels/error.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

const std::vector<std::pair<std::string, StoredLayout>> kLayouts = {{"contiguous", StoredLayout::kContiguous},
                                                                    {"chunked", StoredLayout::kChunked},
                                                                    {"gzip", StoredLayout::kGzip},
                                                                    {"sparse", StoredLayout::kSparse}};

StoredLayout layout_named(const std::string& name) {
  for (const auto& [known, layout] : kLayouts) {
    if (known == name) return layout;
  }
  throw UsageError("--layouts " + name + ": expected contiguous, chunked, gzip or sparse",
                   "write for instance --layouts contiguous,gzip");
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

Shape shape_named(const std::string& text) {
  std::vector<int64_t> extents;
  for (const std::string& part : split(text)) {
    extents.push_back(std::atoll(part.c_str()));
    if (extents.back() < 1)
      throw UsageError("--shape " + text + ": expected whole numbers of at least 1",
                       "write for instance --shape 3,32,32");
  }
  if (extents.empty() || extents.size() >= Shape::kMaxRank)
    throw UsageError(
        "--shape " + text + ": expected one to " + std::to_string(Shape::kMaxRank - 1) + " extents",
        "write for instance --shape 3,32,32");
  return Shape(std::span<const int64_t>(extents));
}

/// A folder that goes with all that is in it.
class WorkFolder {
 public:
  explicit WorkFolder(std::string path, bool owns) : path_(std::move(path)), owns_(owns) {
    if (owns_) std::filesystem::create_directories(path_);
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (owns_) std::filesystem::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool owns_;
};

}  // namespace

static int bench_input_command(const Words& words, Communicator& comm) {
  CommandLine line(
      "bench input [PATH | --synthetic] [--micro N] [--threads N] [--window N] [--json]",
      "Samples/s that the loader delivers in order and shuffled, from PATH or from random images in each\n"
      "layout, and the memory that it takes. Files that are in the page cache are measured from there.",
      {});
  line.add()("path", po::value<std::string>(), "a dataset: a folder of HDF5 files, or one file")(
      "synthetic", "random uint8 images and labels instead")(
      "shape", po::value<std::string>()->default_value("3,32,32"), "of a synthetic image")(
      "samples", po::value<int64_t>()->default_value(30000), "synthetic ones")(
      "layouts", po::value<std::string>()->default_value("contiguous,chunked,gzip"),
      "synthetic ones; also sparse: without content, any size")(
      "folder", po::value<std::string>(), "where synthetic files are made, for a while")(
      "micro", po::value<int64_t>()->default_value(64), "samples per micro-batch")(
      "threads", po::value<int>()->default_value(1), "readers of each rank")(
      "cache_mb", po::value<double>()->default_value(0), "keep datasets up to this size in memory")(
      "window", po::value<int64_t>()->default_value(0), "measure a windowed shuffle too")(
      "block", po::value<int64_t>(), "samples that stay together there (default: window / 64)")(
      "seconds", po::value<double>()->default_value(5), "per kind of order")("json", "print one JSON object");
  Words given = words;
  if (!given.empty() && given[0][0] != '-') given.insert(given.begin(), "--path");
  if (!line.parse(given, comm.is_root())) return 0;
  if (line.has("path") == line.has("synthetic"))
    throw UsageError(
        "PATH and --synthetic are both given, or neither",
        "give one of them: lockstep bench input data/train, or lockstep bench input --synthetic");
  InputWish wish;
  wish.micro = line.get<int64_t>("micro");
  wish.threads = line.get<int>("threads");
  wish.cache_bytes = static_cast<int64_t>(line.get<double>("cache_mb") * (1 << 20));
  wish.time_s = line.get<double>("seconds");
  wish.window.window = line.get<int64_t>("window");
  wish.window.block =
      line.has("block") ? line.get<int64_t>("block") : std::max<int64_t>(1, wish.window.window / 64);
  if (wish.micro < 1 || wish.threads < 1 || wish.time_s <= 0 || line.get<int64_t>("samples") < 1)
    throw UsageError("--micro, --threads, --samples and --seconds must be positive",
                     "leave out the one that is not, for its default");

  const bool is_synthetic = line.has("synthetic");
  const Shape shape = shape_named(line.text("shape"));
  std::vector<std::string> layouts{"as it is"};
  if (is_synthetic) {
    layouts = split(line.text("layouts"));
    for (const std::string& name : layouts) layout_named(name);
  }
  const std::string folder =
      line.has("folder") ? line.text("folder") : std::filesystem::temp_directory_path().string();
  const WorkFolder work(comm.broadcast_string(folder + "/lockstep-bench-input-" + std::to_string(getpid())),
                        is_synthetic && comm.is_root());
  const bool json = line.has("json");
  if (comm.is_root() && !json) {
    fmt::print(
        "{} rank{}, {} reader{} each, micro-batches of {}\n\n{:<14} {:<26} {:>12} {:>11} {:>13} {:>13}\n",
        comm.size(), comm.size() > 1 ? "s" : "", wish.threads, wish.threads > 1 ? "s" : "", wish.micro,
        "layout", "order", "samples/s", "stored MB/s", "of sequential", "of converting");
  }
  std::vector<std::string> rows;
  for (const std::string& name : layouts) {
    const std::string path = is_synthetic ? work.path() + "/" + name + ".h5" : line.text("path");
    std::unique_ptr<Dataset> data;
    check_on_root(comm, [&] {
      if (is_synthetic) write_synthetic_images(path, shape, line.get<int64_t>("samples"), layout_named(name));
    });
    all_or_none(comm, [&] { data = std::make_unique<Dataset>(Dataset::open(path)); });
    const InputSpeed result = measure_input(*data, name, wish, comm);
    if (comm.is_root()) {
      if (json) {
        rows.push_back(json_of_input(result));
      } else {
        print_input(result);
      }
    }
    comm.barrier();
    std::error_code ignored;
    if (is_synthetic && comm.is_root()) std::filesystem::remove(path, ignored);
  }
  if (comm.is_root() && json) {
    fmt::print("{}\n", JsonObject()
                           .set("ranks", comm.size())
                           .set("threads", wish.threads)
                           .set("micro_batch", wish.micro)
                           .set_raw("results", fmt::format("[{}]", fmt::join(rows, ", ")))
                           .str());
  }
  return 0;
}

namespace {
const bool bench_input_registered = commands().add(
    "bench input",
    {.summary = "time the loader on a dataset or on synthetic ones", .run = bench_input_command}, 11);
}

}  // namespace lockstep
