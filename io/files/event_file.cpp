#include "io/files/event_file.h"

#include <fcntl.h>

#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "io/files/protobuf.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

constexpr size_t kHeadBytes = 12, kTailBytes = 4;  // of a record: length and its CRC, CRC of the data

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}

/// TFRecord stores CRCs masked, so that a CRC over data with CRCs inside stays a good one.
uint32_t masked_crc(std::string_view data) {
  const uint32_t crc = crc32c(data);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <typename T>
void append_raw(std::string& out, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  out.append(raw, sizeof value);
}

template <typename T>
T read_raw(std::string_view data) {
  T value;
  std::memcpy(&value, data.data(), sizeof value);
  return value;
}

/// An Event: 1 wall_time, 2 step.
ProtobufMessage event_head(double wall_time_s, int64_t step) {
  ProtobufMessage event;
  event.real(1, wall_time_s);
  if (step != 0) event.number(2, step);
  return event;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// The data of the first record of `text`; none where it is cut off or broken.
std::optional<std::string_view> first_record(std::string_view text) {
  if (text.size() < kHeadBytes + kTailBytes) return {};
  const auto n = read_raw<uint64_t>(text);
  if (read_raw<uint32_t>(text.substr(8)) != masked_crc(text.substr(0, 8))) return {};
  if (n > text.size() - kHeadBytes - kTailBytes) return {};
  const std::string_view data = text.substr(kHeadBytes, n);
  if (read_raw<uint32_t>(text.substr(kHeadBytes + n)) != masked_crc(data)) return {};
  return data;
}

/// The step of an Event that event_head() began; 0 where it has none.
int64_t step_of(std::string_view event) {
  if (event.size() < 10 || event[9] != '\x10') return 0;
  uint64_t step = 0;
  for (size_t i = 10, shift = 0; i < event.size() && shift < 64; ++i, shift += 7) {
    step |= (static_cast<uint64_t>(event[i]) & 0x7F) << shift;
    if (!(event[i] & 0x80)) break;
  }
  return static_cast<int64_t>(step);
}

/// Bytes of the whole records before the first one of a step > last_step.
int64_t bytes_up_to(std::string_view text, int64_t last_step) {
  size_t n_bytes = 0;
  while (const auto record = first_record(text.substr(n_bytes))) {
    if (step_of(*record) > last_step) break;
    n_bytes += kHeadBytes + record->size() + kTailBytes;
  }
  return static_cast<int64_t>(n_bytes);
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  static constexpr std::array<uint32_t, 256> kTable = make_crc_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : data) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

std::string frame_record(std::string_view data) {
  std::string record;
  append_raw<uint64_t>(record, data.size());
  append_raw(record, masked_crc(record));
  record += data;
  append_raw(record, masked_crc(data));
  return record;
}

std::string encode_event(double wall_time_s, int64_t step, std::span<const EventScalar> scalars) {
  ProtobufMessage summary, event = event_head(wall_time_s, step);
  for (const EventScalar& scalar : scalars) {
    ProtobufMessage value;
    value.text(1, scalar.tag);
    value.real(2, scalar.value);  // simple_value
    summary.message(1, value);
  }
  event.message(5, summary);
  return event.bytes();
}

EventFileWriter::EventFileWriter(const std::string& folder, int64_t last_step) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) throw_file_error(folder, "creating the folder", failure.value());
  const std::string path = (std::filesystem::path(folder) / "events.out.tfevents.lockstep").string();
  file_ = FileHandle(path, O_RDWR | O_CREAT);
  if (last_step >= 0 && file_.n_bytes() > 0) {
    std::string text(static_cast<size_t>(file_.n_bytes()), '\0');
    file_.read_at(text.data(), static_cast<int64_t>(text.size()), 0);
    if (!first_record(text)) throw Error(path, "is not an event file", "move it away");
    n_bytes_ = bytes_up_to(text, last_step);
  }
  file_.resize(n_bytes_);
  is_new_ = n_bytes_ == 0;
  if (!is_new_) return;
  ProtobufMessage event = event_head(now_s(), 0);
  event.text(3, "brain.Event:2");  // file_version: TensorBoard wants it first
  append(frame_record(event.bytes()));
}

void EventFileWriter::write(int64_t step, std::span<const EventScalar> scalars) {
  append(frame_record(encode_event(now_s(), step, scalars)));
}

void EventFileWriter::write_text(const std::string& tag, const std::string& text) {
  append(frame_record(encode_text(now_s(), tag, text)));
}

void EventFileWriter::write_hyper_parameters(std::span<const HyperParameter> parameters,
                                             std::span<const std::string> metrics) {
  append(frame_record(encode_experiment(now_s(), parameters, metrics)));
  append(frame_record(encode_session_start(now_s(), parameters)));
}

void EventFileWriter::append(const std::string& record) {
  // A part of a record that a full disk let through is overwritten by the next one.
  file_.write_at(record.data(), static_cast<int64_t>(record.size()), n_bytes_);
  n_bytes_ += static_cast<int64_t>(record.size());
}

}  // namespace lockstep
