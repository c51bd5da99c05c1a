// Speed of augmentation per image, drawing of the random numbers included: uint8 images of random numbers in,
// normalised float32 out. One round for each line on standard input, so that another program can take turns
// (bench/augment); without one, `yes | head -15 | lockstep_augment_bench`.
//
//   lockstep_augment_bench '[{random_crop: 4}, reflect]' 3,32,32 256 [cpu|cuda]
//
// The list as in data.augment, the stored sample, samples of a round. Prints microseconds per image.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>

#include "src/data/augment/augment.h"

using namespace lockstep;

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int run(const std::string& list, const std::string& shape_text, int64_t n, Device device) {
  std::vector<int64_t> extents;
  std::stringstream in(shape_text);
  for (std::string word; std::getline(in, word, ',');) extents.push_back(std::stoll(word));
  AugmentSpec spec = read_augment(Config::from_text("augment: " + list, "command line"));
  Augmentation::Source source;
  source.shape = Shape{std::span<const int64_t>(extents)};
  source.network = spec.output(source.shape);
  source.mean = {120};
  source.stddev = {60};
  const Augmentation augmentation(std::move(spec), source);

  OpConfig config;
  config.device = device;
  const AugmentDesc desc = augmentation.desc(n, DType::kFloat32);
  const std::unique_ptr<Op> op = make_augment(config, desc);
  const OpInfo& info = op->info();
  const std::unique_ptr<Stream> stream = make_stream(device);
  const Memory images(device, desc.src.n_bytes()), records(device, info.src[1].n_bytes()),
      dst(device, desc.dst.n_bytes()), scratchpad(device, info.scratchpad_bytes + 64);
  const Memory drawn = Memory::on_host(device, info.src[1].n_bytes());
  std::vector<uint8_t> bytes(static_cast<size_t>(desc.src.n_bytes()));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 2654435761u >> 16);
  copy(*stream, images.data(), bytes.data(), desc.src.n_bytes());
  const Tensor src_t[] = {{images.data(), info.src[0]}, {records.data(), info.src[1]}};
  const Tensor dst_t{dst.data(), info.dst[0]};
  OpArgs args;
  args.src = src_t;
  args.dst = {&dst_t, 1};
  args.scratchpad = scratchpad.data();
  std::vector<int64_t> ids(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = i;

  int64_t epoch = 0;
  const auto once = [&] {
    augmentation.draw(1, epoch++, ids, drawn.as<AugmentRecord>());
    copy(*stream, records.data(), drawn.data(), drawn.n_bytes());
    op->forward(*stream, args);
    stream->synchronize();
  };
  once();
  for (std::string line; std::getline(std::cin, line);) {
    const double start = seconds();
    int64_t n_rounds = 0;
    while (n_rounds == 0 || seconds() - start < 0.05) once(), ++n_rounds;
    fmt::print("{:.4f}\n", 1e6 * (seconds() - start) / static_cast<double>(n_rounds * n));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "lockstep_augment_bench LIST C,H,W SAMPLES [cpu|cuda]\n");
    return 2;
  }
  const bool on_gpu = argc > 4 && std::string(argv[4]) == "cuda";
  try {
    return run(argv[1], argv[2], std::stoll(argv[3]), on_gpu ? Device{Device::Kind::kCuda, 0} : Device{});
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
