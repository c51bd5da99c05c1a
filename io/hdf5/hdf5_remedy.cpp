#include "io/hdf5/hdf5_remedy.h"

namespace lockstep::h5 {

CallKind kind_of_call(std::string_view call) {
  const auto has = [call](std::string_view part) { return call.find(part) != std::string_view::npos; };
  if (has("create") && !has("H5P")) return CallKind::kCreate;
  if (has("open")) return CallKind::kOpen;
  if (has("write") || has("closing") || has("delete") || has("flush")) return CallKind::kWrite;
  if (has("read") || has("get") || has("terate") || has("exists") || has("visit")) return CallKind::kRead;
  return CallKind::kOther;
}

const char* sentence_of(CallKind kind) {
  switch (kind) {
    case CallKind::kOpen: return "HDF5 cannot open it";
    case CallKind::kCreate: return "HDF5 cannot create it";
    case CallKind::kWrite: return "HDF5 cannot write it";
    case CallKind::kRead: return "HDF5 cannot read it";
    case CallKind::kOther: break;
  }
  return "HDF5 cannot go on";
}

std::string remedy_of(CallKind kind, std::string_view texts, const char* filter_remedy) {
  const auto says = [texts](std::string_view part) { return texts.find(part) != std::string_view::npos; };
  const bool writes = kind == CallKind::kWrite || kind == CallKind::kCreate;
  if (says("No space left") || says("quota"))
    return "free space on that file system, or choose another output folder (--out)";
  if (says("File too large"))
    return "raise the limit of file sizes (ulimit -f), or choose another file system";
  if (says("Too many open files")) return "raise the limit before the start: ulimit -n 4096";
  if (says("Permission denied") || says("Read-only file system") || says("Operation not permitted"))
    return writes ? "choose a folder that you may write to (--out), or correct its permissions"
                  : "let its owner give you the right to read it";
  if (says("required filter")) return filter_remedy;
  if (says("Cannot allocate memory") || says("memory allocation failed"))
    return "leave more memory free on this host; a damaged file may ask for any amount";
  switch (kind) {
    case CallKind::kOpen:
    case CallKind::kRead:
      return "if the file is a copy, copy it again; else write it again, or use an older checkpoint";
    case CallKind::kCreate:
    case CallKind::kWrite:
      return "see that the disk has space and is whole (dmesg tells), or choose another output folder "
             "(--out)";
    case CallKind::kOther: break;
  }
  return "report it with `lockstep --version`, which names the HDF5 library";
}

}  // namespace lockstep::h5
