// What a failed call of HDF5 means to the person who runs the program, and what helps: HDF5's own words name
// functions of its inside.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::h5 {

enum class CallKind { kOpen, kCreate, kWrite, kRead, kOther };

/// By the name of the call ("H5Dread", "H5Acreate2", "closing").
CallKind kind_of_call(std::string_view call);
/// "HDF5 cannot open it"
const char* sentence_of(CallKind kind);
/// `texts`: all that HDF5 says of the failure; it names the system's error there.
std::string remedy_of(CallKind kind, std::string_view texts, const char* filter_remedy);

}  // namespace lockstep::h5
