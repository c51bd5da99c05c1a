// Copies between the memory of a rank and memory that ranks share. They do not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

void copy_bytes(std::byte* dst, const std::byte* src, int64_t n_bytes);

/// For what another core reads next: past the caches of this one, which so need neither take the lines of dst
/// from that core first nor hand them over later. Ordered before later stores.
void stream_bytes(std::byte* dst, const std::byte* src, int64_t n_bytes);

}  // namespace lockstep
