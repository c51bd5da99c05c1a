// Reads one JSON object (RFC 8259) whose members are scalars; nested members are kept as text.
#pragma once

#include <string_view>

#include "io/files/metrics.h"

namespace lockstep {

/// null is read as NaN, which json_number() writes as null. Throws Error{"", what and at which
/// column} where `text` is not exactly one JSON object.
MetricsLine parse_json_object(std::string_view text);

}  // namespace lockstep
