// Streams and events. Work is done when it is submitted, in the order of submission, which is one of the
// orders that CUDA allows; a stream that captures records it instead.
#include <algorithm>
#include <set>

#include "tests/cuda_on_host/state.h"

namespace cuda_on_host {

namespace {

std::set<cudaStream_t> streams;  // those that exist
std::set<cudaEvent_t> events;

bool is_capturing(const CUstream_st& stream) { return stream.capture != nullptr; }

/// Whether the default stream would have to wait for a stream that captures.
std::shared_ptr<Capture> capture_that_blocks_default_stream() {
  for (cudaStream_t stream : streams)
    if (stream->is_blocking && is_capturing(*stream) && stream->device == current_device())
      return stream->capture;
  return nullptr;
}

void merge(Progress& into, const Progress& other) {
  for (const auto& [stream, n] : other) into[stream] = std::max(into[stream], n);
}

cudaError_t create_stream(cudaStream_t* stream, unsigned flags) {
  const std::lock_guard lock(state_mutex());
  if (n_devices() == 0) return cudaErrorNoDevice;
  if (flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
  *stream = new CUstream_st{current_device(), flags == cudaStreamDefault, nullptr};
  streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t record(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(state_mutex());
  if (!events.contains(event) || !is_stream(stream) || event->device != device_of(stream))
    return cudaErrorInvalidResourceHandle;
  event->is_recorded = true;
  event->time = std::chrono::steady_clock::now();
  event->capture = capture_of(stream);
  event->progress.clear();
  if (event->capture != nullptr) event->progress = event->capture->progress[stream];
  return cudaSuccess;
}

cudaError_t wait(cudaStream_t stream, cudaEvent_t event) {
  const std::lock_guard lock(state_mutex());
  if (!events.contains(event) || !is_stream(stream)) return cudaErrorInvalidResourceHandle;
  if (!event->is_recorded) return cudaSuccess;
  const std::shared_ptr<Capture> own = capture_of(stream);
  if (event->capture == nullptr)
    return own == nullptr ? cudaSuccess : spoil(own, cudaErrorStreamCaptureIsolation);
  if (own != nullptr && own != event->capture) {
    spoil(event->capture, cudaErrorStreamCaptureMerge);
    return spoil(own, cudaErrorStreamCaptureMerge);
  }
  if (stream == nullptr) return spoil(event->capture, cudaErrorStreamCaptureImplicit);
  stream->capture = event->capture;
  merge(stream->capture->progress[stream], event->progress);
  return cudaSuccess;
}

/// What an event answers to who waits for it on the host.
cudaError_t await(cudaEvent_t event) {
  const std::lock_guard lock(state_mutex());
  if (!events.contains(event)) return cudaErrorInvalidResourceHandle;
  if (event->is_recorded && event->capture != nullptr) return spoil(event->capture, cudaErrorCapturedEvent);
  return cudaSuccess;
}

/// What a stream answers to who waits for it on the host.
cudaError_t await(cudaStream_t stream) {
  const std::lock_guard lock(state_mutex());
  if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
  if (const auto capture = capture_of(stream)) return spoil(capture, cudaErrorStreamCaptureUnsupported);
  if (stream == nullptr)
    if (const auto capture = capture_that_blocks_default_stream())
      return spoil(capture, cudaErrorStreamCaptureImplicit);
  return cudaSuccess;
}

}  // namespace

bool is_stream(cudaStream_t stream) { return stream == nullptr || streams.contains(stream); }
int device_of(cudaStream_t stream) { return stream == nullptr ? current_device() : stream->device; }
std::shared_ptr<Capture> capture_of(cudaStream_t stream) {
  return stream == nullptr ? nullptr : stream->capture;
}

cudaError_t spoil(const std::shared_ptr<Capture>& capture, cudaError_t error) {
  capture->is_valid = false;
  return error;
}

cudaError_t refuse_while_capturing() {
  const std::lock_guard lock(state_mutex());
  cudaError_t answer = cudaSuccess;
  for (cudaStream_t stream : streams) {
    if (!is_capturing(*stream) || stream->capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (stream->capture->mode == cudaStreamCaptureModeGlobal ||
        stream->capture->thread == std::this_thread::get_id())
      answer = spoil(stream->capture, cudaErrorStreamCaptureUnsupported);
  }
  return answer;
}

cudaError_t submit(cudaStream_t stream, std::function<void()> work) {
  {
    const std::lock_guard lock(state_mutex());
    if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
    if (stream == nullptr)
      if (const auto capture = capture_that_blocks_default_stream())
        return remember(spoil(capture, cudaErrorStreamCaptureImplicit));
    if (const auto capture = capture_of(stream)) {
      if (!capture->is_valid) return remember(cudaErrorStreamCaptureInvalidated);
      capture->work.push_back(std::move(work));
      ++capture->progress[stream][stream];
      return cudaSuccess;
    }
  }
  const OpenDeviceMemory open;
  work();
  return cudaSuccess;
}

cudaError_t check_launch(dim3 grid, dim3 block, size_t dynamic_shared_bytes, unsigned n_attributes,
                         cudaStream_t stream) {
  const std::lock_guard lock(state_mutex());
  if (!is_stream(stream) || device_of(stream) != current_device()) return cudaErrorInvalidResourceHandle;
  if (n_attributes != 0) return cudaErrorNotSupported;
  const bool block_fits = block.x > 0 && block.y > 0 && block.z > 0 && block.x <= 1024 && block.y <= 1024 &&
                          block.z <= 64 && uint64_t{block.x} * block.y * block.z <= 1024;
  const bool grid_fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7FFFFFFFu &&
                         grid.y <= 0xFFFFu && grid.z <= 0xFFFFu;
  return block_fits && grid_fits && dynamic_shared_bytes == 0 ? cudaSuccess : cudaErrorInvalidConfiguration;
}

}  // namespace cuda_on_host

using namespace cuda_on_host;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return remember(create_stream(stream, flags));
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(state_mutex());
  if (streams.erase(stream) == 0) return remember(cudaErrorInvalidResourceHandle);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return remember(await(stream)); }
cudaError_t cudaStreamQuery(cudaStream_t stream) { return remember(await(stream)); }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return remember(wait(stream, event));
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user_data) {
  return submit(stream, [=] { function(user_data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const std::lock_guard lock(state_mutex());
  if (n_devices() == 0) return remember(cudaErrorNoDevice);
  *event = new CUevent_st;
  (*event)->device = current_device();
  (*event)->has_timing = (flags & cudaEventDisableTiming) == 0;
  events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(state_mutex());
  if (events.erase(event) == 0) return remember(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return remember(record(event, stream));
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return remember(await(event)); }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return remember(await(event)); }

cudaError_t cudaEventElapsedTime(float* time_ms, cudaEvent_t begin, cudaEvent_t end) {
  const std::lock_guard lock(state_mutex());
  for (cudaEvent_t event : {begin, end}) {
    if (const cudaError_t error = await(event); error != cudaSuccess) return remember(error);
    if (!event->is_recorded || !event->has_timing) return remember(cudaErrorInvalidResourceHandle);
  }
  *time_ms = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}
