// TensorBoard event files: scalars over steps, readable by TensorBoard while the run goes on.
//
// A file is a sequence of TFRecords (length, its CRC, data, its CRC; TensorFlow's
// record_writer.h), each record one protobuf message Event (event.proto, summary.proto),
// encoded by hand: four fields do not need a library. CRCs are CRC-32C (RFC 3720).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "io/files/event_messages.h"
#include "io/files/files.h"

namespace lockstep {

struct EventScalar {
  std::string tag;  // "loss", "validation/accuracy": TensorBoard groups by the part before '/'
  float value = 0;
};

class EventFileWriter {
 public:
  /// Appends to `folder`/events.out.tfevents.lockstep, creating both. As MetricsWriter: on
  /// resume, records from the first one of a step > last_step on (and a broken end) are cut
  /// off; last_step < 0 starts a new file. Throws Error where the file is no event file.
  EventFileWriter(const std::string& folder, int64_t last_step);

  /// One record with all scalars of a step, given to the system at once. Throws Error when
  /// the disk is full; the file stays readable.
  void write(int64_t step, std::span<const EventScalar> scalars);

  /// A text, shown as Markdown, and the run's row in the table of runs; both of step 0.
  void write_text(const std::string& tag, const std::string& text);
  void write_hyper_parameters(std::span<const HyperParameter> parameters,
                              std::span<const std::string> metrics);
  bool is_new() const { return is_new_; }  // nothing was there to go on with

  const std::string& path() const { return file_.path(); }

 private:
  void append(const std::string& record);
  FileHandle file_;
  int64_t n_bytes_ = 0;
  bool is_new_ = true;
};

/// CRC-32C (Castagnoli), as iSCSI and TFRecord use it.
uint32_t crc32c(std::string_view data);

/// `data` framed as one TFRecord.
std::string frame_record(std::string_view data);

/// A serialized Event; wall_time_s since 1970.
std::string encode_event(double wall_time_s, int64_t step, std::span<const EventScalar> scalars);

}  // namespace lockstep
