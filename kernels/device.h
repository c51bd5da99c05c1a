// A device, its memory and its command streams. The CPU is one device; each GPU
// another. A Stream runs what is submitted in order; on the CPU it runs at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace lockstep {

struct Device {
  enum class Kind : uint8_t { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int index = 0;

  bool operator==(const Device&) const = default;
  /// "cpu" or "cuda:1"
  std::string str() const;
};

/// An ordered queue of work on one device. Backends derive their own.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Device device() const = 0;
  /// Returns once all submitted work is done. Throws Error if the device failed.
  virtual void synchronize() = 0;
  /// The queue as the backend's libraries know it (cudaStream_t), for others that submit work to it; null on
  /// the CPU.
  virtual void* native_handle() const { return nullptr; }
};

std::unique_ptr<Stream> make_stream(Device device);

/// Copies, but not to memory without bytes (see SizesOnly), between memory of the stream's device and of the
/// host, either way, or within one of them. On a GPU it is submitted to the stream, and asynchronous where
/// the host's part is Memory::on_host().
void copy(Stream& stream, void* dst, const void* src, int64_t n_bytes);

/// A point in the work of a stream. On the CPU nothing is ever left to wait for.
class Event {
 public:
  virtual ~Event() = default;
  /// The work submitted to the stream so far.
  virtual void record(Stream& stream) = 0;
  /// What is submitted to the stream from now on starts after the recorded work. Does not wait.
  virtual void hold(Stream& stream) = 0;
  /// Returns once the recorded work is done.
  virtual void synchronize() = 0;
};
std::unique_ptr<Event> make_event(Device device);

/// Work that a stream has recorded and repeats at once (a CUDA graph).
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  virtual void run(Stream& stream) = 0;
};

/// Calls `submit`, whose work on the stream is recorded instead of run: with the addresses and
/// values that it has now. Null on the CPU, where `submit` is not called. Throws Error if it does what
/// cannot be recorded, such as waiting.
std::unique_ptr<RecordedWork> record_work(Stream& stream, const std::function<void()>& submit);

/// What Memory throws where there is no room; who knows what the memory was for may say more.
class OutOfMemory : public Error {
 public:
  OutOfMemory(Device device, int64_t n_bytes, std::string where, std::string what, std::string remedy)
      : Error(std::move(where), std::move(what), std::move(remedy)), device_(device), n_bytes_(n_bytes) {}
  Device device() const { return device_; }     // whose memory
  int64_t n_bytes() const { return n_bytes_; }  // that were asked for

 private:
  Device device_;
  int64_t n_bytes_;
};

/// While one lives, Memory that its thread makes has its size but no bytes: data() is null. Weights and plans
/// made meanwhile, however large, tell their layout and cannot run.
class SizesOnly {
 public:
  SizesOnly() { ++depth_; }
  ~SizesOnly() { --depth_; }
  SizesOnly(const SizesOnly&) = delete;
  SizesOnly& operator=(const SizesOnly&) = delete;
  static bool holds() { return depth_ > 0; }

 private:
  static thread_local int depth_;
};

/// Owns `n_bytes` of device memory, aligned to 4096 bytes (GPU: 256) and zeroed. Throws OutOfMemory when
/// the device has not enough. Never allocate inside a training step.
class Memory {
 public:
  Memory() = default;
  Memory(Device device, int64_t n_bytes);
  /// Memory of the host that the device copies to and from asynchronously, and that its kernels can
  /// reach: page-locked for a GPU, plain for the CPU.
  static Memory on_host(Device device, int64_t n_bytes);
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* data() const { return data_; }
  /// The byte at `offset`; null where there are no bytes.
  std::byte* at(int64_t offset) const { return data_ ? data_ + offset : nullptr; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  int64_t n_bytes() const { return n_bytes_; }
  Device device() const { return device_; }

 private:
  Memory(Device device, int64_t n_bytes, bool on_host);
  Device device_;
  bool on_host_ = false;
  std::byte* data_ = nullptr;
  int64_t n_bytes_ = 0;
};

/// What the host sees of memory of a device: on the CPU the memory itself, for a GPU a copy that
/// download() and upload() exchange with it. `memory` must outlive the mirror and not move.
class HostMirror {
 public:
  explicit HostMirror(const Memory& memory) : memory_(memory) {}
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }
  std::byte* data();
  /// Device to host, after what was submitted to the stream before; returns when it is done.
  void download(Stream& stream);
  /// Host to device; returns when it is done.
  void upload(Stream& stream);

 private:
  const Memory& memory_;
  std::vector<std::byte> copy_;  // GPU only, from the first use on
};

/// Bytes of the device's memory that nobody has taken; of the host on the CPU.
int64_t free_bytes(Device device);

/// Threads that ops on the CPU compute with, for the whole process; n >= 1. Call it once, at
/// the start: an op keeps the number it was made with, and another number may give other bits.
/// Without a call the OpenMP runtime decides (OMP_NUM_THREADS, or all cores).
void set_compute_threads(int n);
int compute_threads();

/// Whether this CPU multiplies bfloat16 numbers. Without such units bfloat16 training computes in
/// float32 between the bfloat16 activations and is no faster.
bool cpu_has_bfloat16();

/// Number of usable CUDA devices; 0 in a build without CUDA or on a machine without driver.
int cuda_device_count();
/// Why there is none: a sentence's end, such as "this build of Lockstep has no CUDA support".
std::string why_no_cuda();
/// Which GPU it is among all of the host's, whatever CUDA_VISIBLE_DEVICES shows: its PCI address. "" on the
/// CPU.
std::string device_address(Device device);

/// What this machine's device is called ("Intel(R) Xeon(R) …", "NVIDIA H200").
std::string device_name(Device device);

}  // namespace lockstep
