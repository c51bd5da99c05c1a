// Capture and graphs: what is submitted to a capturing stream, and to streams that wait for its events, is
// kept in the order of submission and done when the graph is launched.
#include "tests/cuda_on_host/state.h"

namespace cuda_on_host {

namespace {

cudaError_t begin(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const std::lock_guard lock(state_mutex());
  if (stream == nullptr) return cudaErrorStreamCaptureUnsupported;
  if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) return spoil(stream->capture, cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->progress[stream] = {};
  return cudaSuccess;
}

/// Whether the first stream comes after all work of the others.
bool is_joined(Capture& capture) {
  Progress& origin = capture.progress[capture.origin];
  for (auto& [stream, progress] : capture.progress)
    if (origin[stream] < progress[stream]) return false;
  return true;
}

cudaError_t end(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(state_mutex());
  *graph = nullptr;
  if (!is_stream(stream)) return cudaErrorInvalidResourceHandle;
  const std::shared_ptr<Capture> capture = capture_of(stream);
  if (capture == nullptr) return cudaErrorInvalidValue;
  if (capture->origin != stream) return spoil(capture, cudaErrorStreamCaptureUnmatched);
  for (auto& [other, progress] : capture->progress)
    if (is_stream(other)) other->capture = nullptr;
  if (!capture->is_valid) return cudaErrorStreamCaptureInvalidated;
  if (!is_joined(*capture)) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{std::move(capture->work)};
  return cudaSuccess;
}

}  // namespace

}  // namespace cuda_on_host

using namespace cuda_on_host;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return remember(begin(stream, mode));
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(state_mutex());
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = capture_of(stream);
  *status = capture == nullptr  ? cudaStreamCaptureStatusNone
            : capture->is_valid ? cudaStreamCaptureStatusActive
                                : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return remember(end(stream, graph));
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* n_nodes) {
  if (graph == nullptr || nodes != nullptr) return remember(cudaErrorInvalidValue);
  *n_nodes = graph->work.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (graph == nullptr) return remember(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t) {
  return remember(exec == nullptr ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (exec == nullptr) return remember(cudaErrorInvalidValue);
  for (const auto& work : exec->work)
    if (const cudaError_t error = submit(stream, work); error != cudaSuccess) return error;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
