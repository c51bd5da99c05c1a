// How fast the input pipeline is: samples/s and MB/s (of stored bytes) that one rank's
// DataLoader delivers when its consumer does nothing, for shuffled and sequential order,
// from memory, by pread and through gzip; and the limits it stands against: memcpy and the
// bare conversion of cached rows. The page cache is warm, so file systems are not measured.
//
//   lockstep_input_bench [--folder DIR] [--seconds S] [--json]
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "io/loader.h"
#include "io/row_converter.h"
#include "kernels/error.h"

namespace lockstep {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// CPU time of all threads of this process: what the loader takes from a rank with one core,
/// and steady on a busy machine.
double cpu_s() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Speed {
  double calls_per_s, cpu_s_per_call;
};

/// The medians of five runs of `seconds` / 5.
Speed measure(double seconds, const std::function<void()>& work) {
  std::vector<double> rates, costs;
  work();
  for (int run = 0; run < 5; ++run) {
    const double start = now_s(), cpu_start = cpu_s();
    int64_t n = 0;
    double elapsed = 0;
    for (; elapsed < seconds / 5; elapsed = now_s() - start, ++n) work();
    rates.push_back(static_cast<double>(n) / elapsed);
    costs.push_back((cpu_s() - cpu_start) / static_cast<double>(n));
  }
  std::sort(rates.begin(), rates.end());
  std::sort(costs.begin(), costs.end());
  return {rates[2], costs[2]};
}

struct Case {
  const char* name;
  Shape shape;
  int64_t n_samples, micro;
};
// The shapes of the examples: digits 8x8, MNIST, CIFAR, ImageNet crops, and a float32 table.
const std::vector<Case> kCases = {
    {"digits 1x8x8 uint8", {1, 8, 8}, 200000, 64},
    {"mnist 1x28x28 uint8", {1, 28, 28}, 60000, 64},
    {"cifar 3x32x32 uint8", {3, 32, 32}, 30000, 64},
    {"imagenet 3x224x224 uint8", {3, 224, 224}, 1000, 32},
};

void write_case(const Case& c, const std::string& path, bool gzip) {
  const auto guard = h5::lock();
  h5::Id file = h5::create_file(path);
  const auto write = [&](const char* name, const Shape& extents, hid_t type, const void* data) {
    const std::vector<hsize_t> n(extents.begin(), extents.end());
    const h5::Id space =
        h5::own(H5Screate_simple(extents.rank(), n.data(), nullptr), "H5Screate_simple", path);
    const h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
    if (gzip) {
      std::vector<hsize_t> chunk = n;
      const int64_t row_bytes = std::max<int64_t>(1, extents.without_front().n_elements());
      chunk[0] = std::clamp<hsize_t>(static_cast<hsize_t>((64 << 10) / row_bytes), 1, n[0]);
      h5::check(H5Pset_chunk(plist.get(), extents.rank(), chunk.data()), "H5Pset_chunk", path);
      h5::check(H5Pset_deflate(plist.get(), 1), "H5Pset_deflate", path);
    }
    const h5::Id dataset =
        h5::own(H5Dcreate2(file.get(), name, type, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
                "H5Dcreate2", path);
    h5::check(H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "H5Dwrite", path);
  };
  std::vector<uint8_t> pixels(static_cast<size_t>(c.n_samples * c.shape.n_elements()));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>((i * 2654435761u >> 16) & 63);
  std::vector<int64_t> labels(static_cast<size_t>(c.n_samples));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 10);
  write("image", c.shape.with_front(c.n_samples), H5T_NATIVE_UINT8, pixels.data());
  write("label", Shape{c.n_samples}, H5T_NATIVE_INT64, labels.data());
  file.close();
}

LoaderOptions options_of(const Case& c, bool shuffle, bool cached) {
  LoaderOptions options;
  const auto n_channels = static_cast<size_t>(c.shape[0]);
  options.fields = {{"image", DType::kFloat32, c.shape, std::vector<float>(n_channels, 33.0f),
                     std::vector<float>(n_channels, 78.0f), 0},
                    {"label", DType::kInt64, {}, {}, {}, 10}};
  options.global_batch = options.micro_batch = c.micro;
  options.shuffle.is_on = shuffle;
  options.cache_limit_bytes = cached ? int64_t{4} << 30 : 0;
  return options;
}

bool json = false;

void report(const Case& c, const std::string& what, const Speed& speed) {
  const auto micro = static_cast<double>(c.micro);
  const double samples_per_s = speed.calls_per_s * micro;
  const double mb_per_s = samples_per_s * static_cast<double>(c.shape.n_elements()) / 1e6;
  const double cpu_us = 1e6 * speed.cpu_s_per_call / micro;
  if (json) {
    std::printf(
        "{\"case\": \"%s\", \"what\": \"%s\", \"samples_per_s\": %.0f, \"mb_per_s\": %.1f, "
        "\"cpu_us_per_sample\": %.4f}\n",
        c.name, what.c_str(), samples_per_s, mb_per_s, cpu_us);
  } else {
    std::printf("  %-20s %11.0f samples/s %8.1f MB/s stored %8.1f MB/s delivered %9.3f us CPU/sample\n",
                what.c_str(), samples_per_s, mb_per_s, 4 * mb_per_s, cpu_us);
  }
  std::fflush(stdout);
}

void run(const Case& c, const std::string& folder, double seconds) {
  if (!json)
    std::printf("%s, %lld samples, micro-batch %lld\n", c.name, static_cast<long long>(c.n_samples),
                static_cast<long long>(c.micro));
  const int64_t n = c.shape.n_elements();

  // Limits: copying the delivered bytes, and converting one micro-batch that lies in cache.
  std::vector<float> from(static_cast<size_t>(c.micro * n)), to(static_cast<size_t>(c.micro * n));
  report(c, "limit: memcpy", measure(seconds, [&] { std::memcpy(to.data(), from.data(), to.size() * 4); }));
  const LoaderOptions wanted = options_of(c, true, true);
  const RowConverter converter({"image", DType::kUInt8, c.shape}, DType::kFloat32, wanted.fields[0].mean,
                               wanted.fields[0].stddev, 0, "bench");
  std::vector<std::byte> raw(static_cast<size_t>(c.micro * n));
  const auto convert = [&] {
    for (int64_t i = 0; i < c.micro; ++i)
      converter.convert(raw.data() + i * n, reinterpret_cast<std::byte*>(to.data() + i * n), i, "bench");
  };
  report(c, "limit: conversion", measure(seconds, convert));

  for (const bool gzip : {false, true}) {
    const std::string path = folder + (gzip ? "/gzip.h5" : "/plain.h5");
    write_case(c, path, gzip);
    const Dataset data = Dataset::open(path);
    for (const bool cached : {true, false}) {
      if (gzip && cached) continue;  // once in memory there is no difference
      for (const bool shuffle : {false, true}) {
        DataLoader loader(data, options_of(c, shuffle, cached), 0);
        // The first epoch fills the cache.
        for (int64_t k = 0; cached && k < loader.steps_per_epoch(); ++k) loader.next();
        report(c,
               std::string(cached ? "memory"
                           : gzip ? "gzip"
                                  : "pread") +
                   (shuffle ? ", shuffled" : ", sequential"),
               measure(seconds, [&] { loader.next(); }));
      }
    }
  }
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  std::string folder = (std::filesystem::temp_directory_path() / "lockstep-input-bench").string();
  double seconds = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string key = argv[i];
    if (key == "--json") {
      lockstep::json = true;
    } else if (key == "--folder" && i + 1 < argc) {
      folder = argv[++i];
    } else if (key == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else {
      std::fprintf(stderr, "usage: %s [--folder DIR] [--seconds S] [--json]\n", argv[0]);
      return 2;
    }
  }
  try {
    std::filesystem::create_directories(folder);
    for (const lockstep::Case& c : lockstep::kCases) lockstep::run(c, folder, seconds);
    for (const char* name : {"/plain.h5", "/gzip.h5"}) std::filesystem::remove(folder + name);
    std::filesystem::remove(folder);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
