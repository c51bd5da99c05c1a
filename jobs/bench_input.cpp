// lockstep bench input: what the loader delivers when its consumer does nothing, sequential and shuffled,
// from a dataset or from synthetic ones in each layout. Kinds of order take turns, so that a machine's moods
// meet all of them; the figures are medians of the rounds.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <span>
#include <sstream>

#include "comm/agreement.h"
#include "io/loader.h"
#include "io/metrics.h"
#include "io/row_converter.h"
#include "io/synthetic.h"
#include "jobs/command.h"
#include "jobs/peak_memory.h"
#include "kernels/error.h"
#include "src/progress.h"

namespace lockstep {

namespace po = boost::program_options;

namespace {

constexpr int kRounds = 5;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// What is measured on one dataset.
struct Wish {
  int64_t micro = 64, cache_bytes = 0;
  int threads = 1;
  Shuffle window;  // window 0: none is measured
  double time_s = 5;
};

struct Order {
  std::string name;
  std::vector<double> rates;  // samples/s of all ranks, per round
};

struct Measured {
  std::string layout;
  std::vector<Order> orders;  // the first is sequential
  double sample_bytes = 0;    // stored
  double peak_mb = 0, conversion_rate = 0;
};

LoaderOptions options_of(const Dataset& data, const Wish& wish, Communicator& comm) {
  LoaderOptions options;
  for (const Field& field : data.fields()) {
    const bool is_label =
        field.shape.rank() == 0 && (field.dtype == DType::kInt32 || field.dtype == DType::kInt64);
    options.fields.push_back(
        {field.name, is_label ? DType::kInt64 : DType::kFloat32, field.shape, {}, {}, 0});
  }
  options.micro_batch = wish.micro;
  options.global_batch = wish.micro * comm.size();
  options.first_micro = comm.rank();
  options.threads = wish.threads;
  options.cache_limit_bytes = wish.cache_bytes;
  options.ranks = &comm;
  return options;
}

/// Samples/s that one thread converts to float32 where the micro-batch lies in its cache: the limit of a
/// loader that spends no time on reading.
double conversion_limit(const Dataset& data, const LoaderOptions& options) {
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) {
    double time_s = 0;
    for (const LoaderField& wanted : options.fields) {
      const RowConverter converter(data.field(wanted.name), wanted.dtype, {}, {}, 0, "bench input");
      std::vector<std::byte> src(static_cast<size_t>(converter.src_bytes())),
          dst(static_cast<size_t>(converter.dst_bytes()));
      const int64_t n = std::max<int64_t>(1, (int64_t{32} << 20) / converter.dst_bytes());
      const double start = seconds();
      for (int64_t i = 0; i < n; ++i) converter.convert(src.data(), dst.data(), i, "bench input");
      time_s += (seconds() - start) / static_cast<double>(n);
    }
    rates.push_back(1 / time_s);
  }
  return median(rates);
}

Measured measure(const Dataset& data, const std::string& layout, const Wish& wish, Communicator& comm) {
  Measured result;
  result.layout = layout;
  const PeakMemory memory;
  LoaderOptions options = options_of(data, wish, comm);
  std::vector<std::unique_ptr<DataLoader>> loaders;
  const auto add = [&](const std::string& name, const Shuffle& shuffle) {
    options.shuffle = shuffle;
    loaders.push_back(std::make_unique<DataLoader>(data, options, 0));
    result.orders.push_back({name, {}});
  };
  add("sequential", {false});
  add("shuffled", {true});
  if (wish.window.window > 0)
    add(fmt::format("window {}, block {}", wish.window.window, wish.window.block), wish.window);
  if (wish.cache_bytes > 0) {  // the first pass fills it
    for (auto& loader : loaders) {
      for (int64_t k = 0; k < loader->steps_per_epoch(); ++k) loader->next();
    }
  }
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < loaders.size(); ++i) {
      for (int64_t k = 0; k <= loaders[i]->prefetch(); ++k) loaders[i]->next();  // what it read beforehand
      comm.barrier();
      int64_t n_samples = 0;
      const double start = seconds();
      while (seconds() - start < wish.time_s / kRounds) n_samples += loaders[i]->next().n_valid;
      const double rate = static_cast<double>(n_samples) / (seconds() - start);
      result.orders[i].rates.push_back(static_cast<double>(comm.all_reduce_sum(static_cast<int64_t>(rate))));
    }
  }
  for (const Field& field : data.fields())
    result.sample_bytes += static_cast<double>(field.shape.n_elements() * size_of(field.dtype));
  result.peak_mb = memory.mb();
  result.conversion_rate = conversion_limit(data, options);
  return result;
}

double share_of_sequential(const Measured& result, size_t order) {
  std::vector<double> shares;
  for (int round = 0; round < kRounds; ++round) {
    const auto r = static_cast<size_t>(round);
    shares.push_back(result.orders[order].rates[r] / std::max(result.orders[0].rates[r], 1.0));
  }
  return median(shares);
}

void print_row(const Measured& result) {
  for (size_t i = 0; i < result.orders.size(); ++i) {
    const double rate = median(result.orders[i].rates);
    fmt::print("{:<14} {:<26} {:>12} {:>11.1f} {:>11.1f} % {:>11.1f} %\n", i == 0 ? result.layout : "",
               result.orders[i].name, grouped(rate), rate * result.sample_bytes / 1e6,
               100 * share_of_sequential(result, i), 100 * rate / result.conversion_rate);
  }
  fmt::print("{:<14} {:<26} {:>12.1f} MB\n", "", "memory of the loaders", result.peak_mb);
  std::fflush(stdout);
}

std::string json_row(const Measured& result) {
  std::vector<std::string> orders;
  for (size_t i = 0; i < result.orders.size(); ++i) {
    const double rate = median(result.orders[i].rates);
    orders.push_back(JsonObject()
                         .set("order", result.orders[i].name)
                         .set("samples_per_s", rate)
                         .set("stored_mb_per_s", rate * result.sample_bytes / 1e6)
                         .set("share_of_sequential", share_of_sequential(result, i))
                         .str());
  }
  return JsonObject()
      .set("layout", result.layout)
      .set("conversion_samples_per_s", result.conversion_rate)
      .set("memory_mb", result.peak_mb)
      .set_raw("orders", fmt::format("[{}]", fmt::join(orders, ", ")))
      .str();
}

const std::vector<std::pair<std::string, StoredLayout>> kLayouts = {{"contiguous", StoredLayout::kContiguous},
                                                                    {"chunked", StoredLayout::kChunked},
                                                                    {"gzip", StoredLayout::kGzip},
                                                                    {"sparse", StoredLayout::kSparse}};

StoredLayout layout_named(const std::string& name) {
  for (const auto& [known, layout] : kLayouts) {
    if (known == name) return layout;
  }
  throw UsageError("--layouts " + name + ": expected contiguous, chunked, gzip or sparse");
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
    if (extents.back() < 1) throw UsageError("--shape " + text + ": expected whole numbers such as 3,32,32");
  }
  if (extents.empty() || extents.size() >= Shape::kMaxRank)
    throw UsageError("--shape " + text + ": expected one to " + std::to_string(Shape::kMaxRank - 1) +
                     " extents");
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

int bench_input_command(const Words& words, Communicator& comm) {
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
  if (line.has("path") == line.has("synthetic")) throw UsageError("give either PATH or --synthetic");
  Wish wish;
  wish.micro = line.get<int64_t>("micro");
  wish.threads = line.get<int>("threads");
  wish.cache_bytes = static_cast<int64_t>(line.get<double>("cache_mb") * (1 << 20));
  wish.time_s = line.get<double>("seconds");
  wish.window.window = line.get<int64_t>("window");
  wish.window.block =
      line.has("block") ? line.get<int64_t>("block") : std::max<int64_t>(1, wish.window.window / 64);
  if (wish.micro < 1 || wish.threads < 1 || wish.time_s <= 0 || line.get<int64_t>("samples") < 1)
    throw UsageError("--micro, --threads, --samples and --seconds must be positive");

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
    const Measured result = measure(*data, name, wish, comm);
    if (comm.is_root()) {
      if (json) {
        rows.push_back(json_row(result));
      } else {
        print_row(result);
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

}  // namespace lockstep
