// What a library needs once per GPU, such as its handle: made when first asked for and never destroyed,
// since at the end of the process the driver may be gone before it.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "kernels/cuda/runtime.h"
#include "kernels/error.h"

namespace lockstep::cuda {

constexpr int kMaxDevices = 64;  // of one process

/// T of that device; its constructor runs with the device current, which it stays.
template <typename T>
T& per_device(Device device) {
  static auto& of_device = *new std::array<std::unique_ptr<T>, kMaxDevices>;
  static std::mutex mutex;
  if (device.index >= kMaxDevices)
    throw Error(device.str(), "a process uses at most 64 GPUs",
                "name fewer in CUDA_VISIBLE_DEVICES, for instance CUDA_VISIBLE_DEVICES=0,1,2,3");
  check(cudaSetDevice(device.index), "cudaSetDevice");
  const std::lock_guard lock(mutex);
  std::unique_ptr<T>& own = of_device[static_cast<size_t>(device.index)];
  if (!own) own = std::make_unique<T>();
  return *own;
}

}  // namespace lockstep::cuda
