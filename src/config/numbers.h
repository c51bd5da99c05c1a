// Numbers of a job file within bounds: errors name the key and the nearest number that fits.
#pragma once

#include <cstdint>
#include <string>

#include "src/config/config.h"

namespace lockstep {

/// In [least, most].
int64_t read_whole(const Config& config, const std::string& key, int64_t fallback, int64_t least,
                   int64_t most);
/// A whole number of things: it fits an int.
int read_count(const Config& config, const std::string& key, int64_t fallback, int64_t least,
               int64_t most = 1'000'000'000);
/// Steps, epochs and what is counted in them: products of two, and of one with the steps of an epoch, fit
/// int64.
int64_t read_steps(const Config& config, const std::string& key, int64_t fallback, int64_t least);
/// MiB as bytes.
int64_t read_mib(const Config& config, const std::string& key, double fallback);

}  // namespace lockstep
