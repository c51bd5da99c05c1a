#include "jobs/peak_memory.h"

#include <fstream>
#include <string>

namespace lockstep {

namespace {

double status_mb(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::stod(line.substr(key.size())) / 1024;  // "VmHWM:   1234 kB"
  }
  return 0;
}

}  // namespace

PeakMemory::PeakMemory() {
  std::ofstream("/proc/self/clear_refs") << "5";  // see proc(5)
  before_mb_ = status_mb("VmRSS:");
}

double PeakMemory::mb() const { return status_mb("VmHWM:") - before_mb_; }

}  // namespace lockstep
