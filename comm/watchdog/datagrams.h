// Datagrams (UDP over IPv4) between ranks: a way past MPI, its locks and its progress. They may be lost;
// who needs an answer sends again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

/// Where a socket listens; both numbers in host byte order.
struct Endpoint {
  uint32_t address = 0;
  uint16_t port = 0;
  bool operator==(const Endpoint&) const = default;
};

inline constexpr uint32_t kLoopback = 0x7f000001;

class DatagramSocket {
 public:
  /// On a free port of `address`; of all addresses of this host where it is 0. On kLoopback no other host can
  /// reach it. Throws Error where the system has no socket left.
  explicit DatagramSocket(uint32_t address = 0);
  ~DatagramSocket();
  DatagramSocket(DatagramSocket&& other) noexcept;
  DatagramSocket& operator=(DatagramSocket&&) = delete;

  /// To poll.
  int handle() const { return handle_; }
  uint16_t port() const { return port_; }
  /// Does not wait, and tells nobody of a failure.
  void send(const Endpoint& to, const void* data, size_t n_bytes);
  /// The next datagram that has arrived, if it has exactly `n_bytes`; others are dropped. Does not wait.
  bool receive(void* data, size_t n_bytes, Endpoint& from);
  /// Where datagrams went although nobody listens, by the word of that host, since the last call.
  std::vector<Endpoint> refused();

 private:
  void read_errors();
  int handle_ = -1;
  uint16_t port_ = 0;
  std::vector<Endpoint> refused_;
};

/// The IPv4 addresses by which other hosts may reach this one; loopback is not among them.
std::vector<uint32_t> addresses_of_this_host();

}  // namespace lockstep
