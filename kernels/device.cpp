// Devices and their memory: checks, then the switch to the backend.
#include "kernels/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/backend.h"
#include "kernels/error.h"
#include "kernels/library_versions.h"

namespace lockstep {

namespace cpu {
std::vector<Version> library_versions();
}
namespace cuda {
std::vector<Version> library_versions();
}

namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Arenas ask for huge pages: a step walks all of them, and 4-KiB pages miss the TLB.
std::byte* allocate_host(int64_t n_bytes) {
  const bool large = n_bytes >= kHugePageBytes;
  const int64_t alignment = large ? kHugePageBytes : kPageBytes;
  const int64_t size = round_up(n_bytes, alignment);
  void* data = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(size));
  if (!data) return nullptr;
#ifdef MADV_HUGEPAGE
  if (large) madvise(data, static_cast<size_t>(size), MADV_HUGEPAGE);  // a wish: failure changes nothing
#endif
  std::memset(data, 0, static_cast<size_t>(size));
  return static_cast<std::byte*>(data);
}

}  // namespace

std::string Device::str() const { return kind == Kind::kCpu ? "cpu" : "cuda:" + std::to_string(index); }

std::unique_ptr<Stream> make_stream(Device device) {
  return device.kind == Device::Kind::kCpu ? cpu::make_stream() : cuda::make_stream(device.index);
}

void copy(Stream& stream, void* dst, const void* src, int64_t n_bytes) {
  if (n_bytes == 0 || (dst == nullptr && SizesOnly::holds())) return;
  if (stream.device().kind == Device::Kind::kCuda) return cuda::copy(stream, dst, src, n_bytes);
  std::memcpy(dst, src, static_cast<size_t>(n_bytes));
}

namespace {
class CpuEvent : public Event {
 public:
  void record(Stream&) override {}
  void hold(Stream&) override {}
  void synchronize() override {}
};
}  // namespace

std::unique_ptr<Event> make_event(Device device) {
  if (device.kind == Device::Kind::kCuda) return cuda::make_event(device.index);
  return std::make_unique<CpuEvent>();
}

std::unique_ptr<RecordedWork> record_work(Stream& stream, const std::function<void()>& submit) {
  return stream.device().kind == Device::Kind::kCuda ? cuda::record_work(stream, submit) : nullptr;
}

thread_local int SizesOnly::depth_ = 0;

Memory::Memory(Device device, int64_t n_bytes) : Memory(device, n_bytes, false) {}
Memory Memory::on_host(Device device, int64_t n_bytes) { return {device, n_bytes, true}; }

Memory::Memory(Device device, int64_t n_bytes, bool on_host)
    : device_(device), on_host_(on_host), n_bytes_(n_bytes) {
  if (n_bytes < 0)
    throw Error("memory", "a negative size was asked for: " + std::to_string(n_bytes),
                "ask for 0 bytes or more; sizes of 2^63 bytes overflow: use a smaller model or batch.micro");
  if (n_bytes == 0 || SizesOnly::holds()) return;
  if (device.kind == Device::Kind::kCpu) {
    data_ = allocate_host(n_bytes);
  } else {
    data_ = on_host ? cuda::allocate_on_host(device.index, n_bytes) : cuda::allocate(device.index, n_bytes);
  }
  if (!data_) {
    const Device owner = on_host ? Device{} : device;
    const std::string free = std::to_string(lockstep::free_bytes(owner) >> 20);
    throw OutOfMemory(owner, n_bytes, "memory of " + (on_host ? "the host" : device.str()),
                      "no room for " + std::to_string(n_bytes >> 20) + " MiB, " + free + " MiB are free",
                      "use a smaller micro-batch (batch.micro), or more memory per rank");
  }
}

Memory::~Memory() {
  if (!data_) return;
  if (device_.kind == Device::Kind::kCpu) {
    std::free(data_);
  } else if (on_host_) {
    cuda::release_on_host(data_);
  } else {
    cuda::release(device_.index, data_);
  }
}

Memory::Memory(Memory&& other) noexcept
    : device_(other.device_),
      on_host_(other.on_host_),
      data_(std::exchange(other.data_, nullptr)),
      n_bytes_(std::exchange(other.n_bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(on_host_, other.on_host_);
  std::swap(data_, other.data_);
  std::swap(n_bytes_, other.n_bytes_);
  return *this;
}

std::byte* HostMirror::data() {
  if (memory_.device().kind == Device::Kind::kCpu) return memory_.data();
  copy_.resize(static_cast<size_t>(memory_.n_bytes()));
  return copy_.data();
}

void HostMirror::download(Stream& stream) {
  if (memory_.device().kind == Device::Kind::kCpu) return;
  copy(stream, data(), memory_.data(), memory_.n_bytes());
  stream.synchronize();
}

void HostMirror::upload(Stream& stream) {
  if (memory_.device().kind == Device::Kind::kCpu) return;
  copy(stream, memory_.data(), data(), memory_.n_bytes());
  stream.synchronize();
}

int64_t free_bytes(Device device) {
  if (device.kind == Device::Kind::kCuda) return cuda::free_bytes(device.index);
  return int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
}

bool cpu_has_bfloat16() { return cpu::has_bfloat16(); }

int cuda_device_count() { return cuda::device_count(); }
std::string why_no_cuda() { return cuda::why_no_device(); }
std::string device_address(Device device) {
  return device.kind == Device::Kind::kCuda ? cuda::device_address(device.index) : "";
}

std::vector<Version> library_versions(Device::Kind kind) {
  return kind == Device::Kind::kCpu ? cpu::library_versions() : cuda::library_versions();
}

std::string device_name(Device device) {
  return device.kind == Device::Kind::kCpu ? cpu::device_name() : cuda::device_name(device.index);
}

}  // namespace lockstep
