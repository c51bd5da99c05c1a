#include "jobs/input_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "io/dataset/row_converter.h"
#include "io/files/metrics.h"
#include "io/loader/loader.h"
#include "jobs/peak_memory.h"
#include "jobs/timing.h"
#include "src/run/progress.h"

namespace lockstep {

namespace {

constexpr int kRounds = 5;

LoaderOptions options_of(const Dataset& data, const InputWish& wish, Communicator& comm) {
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

double share_of_sequential(const InputSpeed& result, size_t order) {
  std::vector<double> shares;
  for (int round = 0; round < kRounds; ++round) {
    const auto r = static_cast<size_t>(round);
    shares.push_back(result.orders[order].rates[r] / std::max(result.orders[0].rates[r], 1.0));
  }
  return median(shares);
}

}  // namespace

InputSpeed measure_input(const Dataset& data, const std::string& layout, const InputWish& wish,
                         Communicator& comm) {
  InputSpeed result;
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

void print_input(const InputSpeed& result) {
  for (size_t i = 0; i < result.orders.size(); ++i) {
    const double rate = median(result.orders[i].rates);
    fmt::print("{:<14} {:<26} {:>12} {:>11.1f} {:>11.1f} % {:>11.1f} %\n", i == 0 ? result.layout : "",
               result.orders[i].name, grouped(rate), rate * result.sample_bytes / 1e6,
               100 * share_of_sequential(result, i), 100 * rate / result.conversion_rate);
  }
  fmt::print("{:<14} {:<26} {:>12.1f} MB\n", "", "memory of the loaders", result.peak_mb);
  std::fflush(stdout);
}

std::string json_of_input(const InputSpeed& result) {
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

}  // namespace lockstep
