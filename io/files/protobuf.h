// A message of Protocol Buffers under construction (the encoding's page of its manual): each field is its
// number and wire type, then a varint, four or eight bytes, or a length and so many bytes; all little-endian.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

class ProtobufMessage {
 public:
  void number(int field, int64_t value) {
    varint(static_cast<uint64_t>(field) << 3);
    varint(static_cast<uint64_t>(value));
  }
  void real(int field, float value) {
    varint(static_cast<uint64_t>(field) << 3 | 5);
    little_endian(std::bit_cast<uint32_t>(value));
  }
  void real(int field, double value) {
    varint(static_cast<uint64_t>(field) << 3 | 1);
    little_endian(std::bit_cast<uint64_t>(value));
  }
  void text(int field, std::string_view value) {
    length(field, static_cast<int64_t>(value.size()));
    bytes_ += value;
  }
  void message(int field, const ProtobufMessage& value) { text(field, value.bytes_); }
  /// Only the head of a field whose bytes follow elsewhere.
  void length(int field, int64_t n_bytes) {
    varint(static_cast<uint64_t>(field) << 3 | 2);
    varint(static_cast<uint64_t>(n_bytes));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7F) | 0x80);
    bytes_ += static_cast<char>(value);
  }
  template <typename Bits>
  void little_endian(Bits bits) {
    for (size_t i = 0; i < sizeof bits; ++i) bytes_ += static_cast<char>(bits >> (8 * i) & 0xFF);
  }
  std::string bytes_;
};

}  // namespace lockstep
