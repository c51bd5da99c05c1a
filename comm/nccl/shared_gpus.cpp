// A GPU is known by its host and its PCI address, which no CUDA_VISIBLE_DEVICES changes.
#include "comm/nccl/shared_gpus.h"

#include <map>
#include <string>

namespace lockstep {

SharedGpus shared_gpus(Communicator& comm, Device device) {
  const bool has_gpu = device.kind == Device::Kind::kCuda;
  std::map<std::string, int> n_ranks;
  for (const std::string& gpu :
       comm.all_gather_strings(has_gpu ? host_name() + " " + device_address(device) : ""))
    if (!gpu.empty()) ++n_ranks[gpu];
  SharedGpus result{0, int(n_ranks.size())};
  for (const auto& [gpu, n] : n_ranks) result.n_shared += n > 1;
  return result;
}

}  // namespace lockstep
