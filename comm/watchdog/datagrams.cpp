// A host answers a datagram to a port where nobody listens with "port unreachable" (ICMP; within a host at
// once). IP_RECVERR keeps these answers with the endpoint that they are about: a process that has ended on
// another host is known after one datagram, unless a firewall drops the answer.
#include "comm/watchdog/datagrams.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/error.h"

namespace lockstep {
namespace {

constexpr int kReceiveBytes = 4 << 20;  // the system may grant less
constexpr int kMaxErrors = 64;          // read at once

sockaddr_in to_sockaddr(const Endpoint& endpoint) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(endpoint.address);
  address.sin_port = htons(endpoint.port);
  return address;
}

Endpoint to_endpoint(const sockaddr_in& address) {
  return {ntohl(address.sin_addr.s_addr), ntohs(address.sin_port)};
}

}  // namespace

DatagramSocket::DatagramSocket(uint32_t own)
    : handle_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = to_sockaddr({own, 0});
  socklen_t length = sizeof address;
  const int on = 1;
  if (handle_ < 0 || bind(handle_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      getsockname(handle_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    const int failure = errno;
    if (handle_ >= 0) close(handle_);
    throw Error("watchdog", std::string("cannot open a UDP socket: ") + std::strerror(failure),
                "turn the watchdog off with watchdog.silent_s=0, or allow UDP sockets");
  }
  setsockopt(handle_, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
  setsockopt(handle_, SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  port_ = ntohs(address.sin_port);
}

DatagramSocket::~DatagramSocket() {
  if (handle_ >= 0) close(handle_);
}

DatagramSocket::DatagramSocket(DatagramSocket&& other) noexcept
    : handle_(std::exchange(other.handle_, -1)), port_(other.port_), refused_(std::move(other.refused_)) {}

void DatagramSocket::send(const Endpoint& to, const void* data, size_t n_bytes) {
  const sockaddr_in address = to_sockaddr(to);
  // A waiting error of an earlier datagram is told to this call instead, which then sends nothing.
  for (int attempt = 0; attempt < 4; ++attempt) {
    if (sendto(handle_, data, n_bytes, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
               sizeof address) >= 0)
      return;
    read_errors();
  }
}

bool DatagramSocket::receive(void* data, size_t n_bytes, Endpoint& from) {
  for (int attempt = 0; attempt < kMaxErrors; ++attempt) {
    sockaddr_in address = {};
    socklen_t length = sizeof address;
    const ssize_t n_received =
        recvfrom(handle_, data, n_bytes, MSG_TRUNC, reinterpret_cast<sockaddr*>(&address), &length);
    if (n_received == static_cast<ssize_t>(n_bytes)) {
      from = to_endpoint(address);
      return true;
    }
    if (n_received >= 0) continue;  // not one of ours
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    read_errors();
  }
  return false;
}

void DatagramSocket::read_errors() {
  for (int n = 0; n < kMaxErrors; ++n) {
    sockaddr_in address = {};
    alignas(cmsghdr) char control[512];
    msghdr message = {};
    message.msg_name = &address;
    message.msg_namelen = sizeof address;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(handle_, &message, MSG_ERRQUEUE) < 0) return;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level != IPPROTO_IP || part->cmsg_type != IP_RECVERR) continue;
      sock_extended_err failure;
      std::memcpy(&failure, CMSG_DATA(part), sizeof failure);
      if (failure.ee_errno == ECONNREFUSED) refused_.push_back(to_endpoint(address));
    }
  }
}

std::vector<Endpoint> DatagramSocket::refused() {
  read_errors();
  return std::exchange(refused_, {});
}

std::vector<uint32_t> addresses_of_this_host() {
  std::vector<uint32_t> addresses;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* one = all; one; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET) continue;
    if ((one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0) continue;
    sockaddr_in address;
    std::memcpy(&address, one->ifa_addr, sizeof address);
    addresses.push_back(ntohl(address.sin_addr.s_addr));
  }
  freeifaddrs(all);
  return addresses;
}

}  // namespace lockstep
