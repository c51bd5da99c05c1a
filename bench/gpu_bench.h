// What a benchmark of single GPU kernels needs: sets of buffers that calls take in turn, more than any
// cache holds, and the time of one call. One pass over the sets is recorded (a CUDA graph) where that
// works, and repeated many times between two looks at the host's clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/op.h"

namespace lockstep::bench {

constexpr int64_t kRotatedBytes = int64_t{512} << 20;  // of all sets together, several times a GPU's L2
constexpr int kRounds = 7;                             // their median counts

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Options {
  Device device{Device::Kind::kCuda, 0};
  int64_t divide = 1;
  double round_s = 0.03;
  std::string filter;
};

/// n random numbers in [0, 1) as `dtype`; class ids below 10 for int64.
inline std::vector<std::byte> random_tile(DType dtype, int64_t n) {
  std::vector<std::byte> tile(n * size_of(dtype));
  uint32_t state = 1;
  for (int64_t i = 0; i < n; ++i) {
    state = state * 1664525 + 1013904223;
    const float value = static_cast<float>(state >> 8) * 0x1p-24f;
    const int64_t label = state >> 16 & 7;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const auto high = static_cast<uint16_t>(bits >> 16);  // a bfloat16
    const void* from = dtype == DType::kInt64 ? static_cast<const void*>(&label) : &bits;
    if (dtype == DType::kBFloat16) from = &high;
    std::memcpy(tile.data() + i * size_of(dtype), from, size_of(dtype));
  }
  return tile;
}

/// Memory of one set of buffers.
class Buffers {
 public:
  Buffers(Stream& stream, Device device) : stream_(stream), device_(device) {}

  std::byte* bytes(int64_t n_bytes) {
    n_bytes_ += n_bytes;
    return memory_.emplace_back(device_, std::max<int64_t>(n_bytes, 64)).data();
  }
  /// Random values all over: copying or adding zeros can be faster.
  std::byte* random(DType dtype, int64_t n_bytes) {
    std::byte* data = bytes(n_bytes);
    const int64_t n = std::min<int64_t>(n_bytes / size_of(dtype), 1 << 20);
    const std::vector<std::byte> tile = random_tile(dtype, n);
    copy(stream_, data, tile.data(), static_cast<int64_t>(tile.size()));
    stream_.synchronize();
    for (auto done = static_cast<int64_t>(tile.size()); done > 0 && done < n_bytes; done *= 2)
      copy(stream_, data + done, data, std::min(done, n_bytes - done));
    return data;
  }
  float* floats(int64_t n) { return reinterpret_cast<float*>(random(DType::kFloat32, n * 4)); }
  int64_t n_bytes() const { return n_bytes_; }

 private:
  Stream& stream_;
  Device device_;
  std::vector<Memory> memory_;
  int64_t n_bytes_ = 0;
};

/// One op with tensors of its own, its micro-batch where the kernels read it.
struct BoundOp : Buffers {
  BoundOp(Stream& stream, Device device, Op& op, const std::vector<Shape>& param_shapes)
      : Buffers(stream, device) {
    const OpInfo& info = op.info();
    for (const TensorDesc& desc : info.src) {
      src.push_back({random(desc.dtype, desc.n_bytes()), desc});
      diff_src.push_back({desc.dtype == DType::kInt64 ? nullptr : bytes(desc.n_bytes()), desc});
    }
    for (const TensorDesc& desc : info.dst) {
      dst.push_back({bytes(desc.n_bytes()), desc});
      diff_dst.push_back(
          {desc.dtype == DType::kFloat64 ? bytes(desc.n_bytes()) : random(desc.dtype, desc.n_bytes()), desc});
    }
    for (const Shape& shape : param_shapes) {
      params.push_back({floats(shape.n_elements()), {shape}});
      diff_params.push_back({floats(shape.n_elements()), {shape}});
    }
    args = {src, dst, params, diff_src, diff_dst, diff_params};
    args.workspace = bytes(info.workspace_bytes);
    args.scratchpad = bytes(info.scratchpad_bytes);
    const int64_t n = info.src[0].shape[0];
    std::vector<int64_t> ids(n);
    for (int64_t i = 0; i < n; ++i) ids[i] = i;
    BatchContext batch{.seed = 1, .step = 1, .n_valid = n};
    batch.sample_ids = reinterpret_cast<int64_t*>(bytes(n * 8));
    args.batch = reinterpret_cast<BatchContext*>(bytes(sizeof batch));
    copy(stream, const_cast<int64_t*>(batch.sample_ids), ids.data(), n * 8);
    copy(stream, const_cast<BatchContext*>(args.batch), &batch, sizeof batch);
    op.prepare(stream, params);
    op.forward(stream, args);
    stream.synchronize();  // also for ids and batch, which end here
  }
  std::vector<Tensor> src, dst, params, diff_src, diff_dst, diff_params;
  OpArgs args;
};

struct Row {
  std::string name, error;
  double n_bytes = 0, time_s = 0;
  bool recorded = false;
  double bandwidth() const { return n_bytes / time_s; }
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), stream_(make_stream(options.device)) {}

  Stream& stream() { return *stream_; }
  const std::vector<Row>& rows() const { return rows_; }

  /// `make_set` binds a call to buffers of its own; a call must move n_bytes.
  void add(const std::string& name, double n_bytes,
           const std::function<std::function<void()>(Buffers&)>& make_set) {
    measure(name, [&] {
      std::vector<std::unique_ptr<Buffers>> sets;
      std::vector<std::function<void()>> calls;
      int64_t n_sets = 2;
      for (int64_t i = 0; i < n_sets; ++i) {
        sets.push_back(std::make_unique<Buffers>(*stream_, options_.device));
        calls.push_back(make_set(*sets.back()));
        n_sets = sets_of(sets.back()->n_bytes());
      }
      return timed(name, n_bytes, calls);
    });
  }

  /// forward and backward. `reads`: how often the inputs must be read, because a sum over all of them comes
  /// before the first result.
  void add_op(const std::string& name, const std::function<std::unique_ptr<Op>(const OpConfig&)>& make,
              DType compute, const std::vector<Shape>& params = {}, int reads = 1) {
    for (const bool backward : {false, true}) {
      const std::string full = name + (backward ? "/backward" : "/forward");
      measure(full, [&] {
        const std::unique_ptr<Op> op = make({.device = options_.device, .compute = compute});
        std::vector<std::unique_ptr<BoundOp>> sets;
        std::vector<std::function<void()>> calls;
        int64_t n_sets = 2;
        for (int64_t i = 0; i < n_sets; ++i) {
          sets.push_back(std::make_unique<BoundOp>(*stream_, options_.device, *op, params));
          BoundOp& set = *sets.back();
          if (backward)
            calls.push_back([&] { op->backward(*stream_, set.args); });
          else
            calls.push_back([&] { op->forward(*stream_, set.args); });
          n_sets = sets_of(set.n_bytes());
        }
        return timed(full, backward ? backward_bytes(op->info(), reads) : forward_bytes(op->info(), reads),
                     calls);
      });
    }
  }

 private:
  static double bytes_of(const std::vector<TensorDesc>& descs, bool with_labels) {
    double sum = 0;
    for (const TensorDesc& desc : descs)
      if (with_labels || desc.dtype != DType::kInt64) sum += static_cast<double>(desc.n_bytes());
    return sum;
  }
  static double forward_bytes(const OpInfo& info, int reads) {
    return reads * bytes_of(info.src, true) + bytes_of(info.dst, true) +
           static_cast<double>(info.workspace_bytes);
  }
  static double backward_bytes(const OpInfo& info, int reads) {
    double read = bytes_of(info.dst, true);  // diff_dst
    if (info.backward_needs_src) read += bytes_of(info.src, true);
    if (info.backward_needs_dst) read += bytes_of(info.dst, true);
    return reads * read + static_cast<double>(info.workspace_bytes) + bytes_of(info.src, false);
  }
  int64_t sets_of(int64_t n_bytes) const {
    return std::clamp<int64_t>(kRotatedBytes / options_.divide / std::max<int64_t>(n_bytes, 1) + 1, 2, 128);
  }

  void measure(const std::string& name, const std::function<Row()>& run) {
    if (name.find(options_.filter) == std::string::npos && name != "copy") return;
    try {
      rows_.push_back(run());
    } catch (const Error& error) {  // an op that is not there, or no room
      rows_.push_back({name, error.reason()});
    }
  }

  Row timed(const std::string& name, double n_bytes, const std::vector<std::function<void()>>& calls) {
    const auto pass = [&] {
      for (const std::function<void()>& call : calls) call();
    };
    pass();  // chooses and loads what is left to the first call
    stream_->synchronize();
    std::unique_ptr<RecordedWork> recorded;
    try {
      recorded = record_work(*stream_, pass);
    } catch (const Error&) {  // what cannot be recorded is submitted call by call
    }
    const auto time_of = [&](int64_t passes) {
      const double start = seconds();
      for (int64_t i = 0; i < passes; ++i) recorded ? recorded->run(*stream_) : pass();
      stream_->synchronize();
      return seconds() - start;
    };
    int64_t passes = 1;
    while (time_of(passes) < options_.round_s && passes < int64_t{1} << 20) passes *= 2;
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round) times.push_back(time_of(passes));
    std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
    return {name, "", n_bytes, times[kRounds / 2] / static_cast<double>(passes * std::ssize(calls)),
            recorded != nullptr};
  }

  Options options_;
  std::unique_ptr<Stream> stream_;
  std::vector<Row> rows_;
};

}  // namespace lockstep::bench
