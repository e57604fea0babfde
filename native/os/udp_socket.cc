// Addresses, socket options and binding. Receiving is in udp_receive.cc, sending in udp_send.cc. See udp_socket.h.
#include "os/udp_socket.h"

#include <arpa/inet.h>
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace warren {

SocketAddress SocketAddress::from_ipv4(const uint8_t* bytes, uint16_t port) noexcept {
  SocketAddress address;
  address.v4.sin_family = AF_INET;
  address.v4.sin_port = htons(port);
  std::memcpy(&address.v4.sin_addr, bytes, 4);
  return address;
}

SocketAddress SocketAddress::from_ipv6(const uint8_t* bytes, uint16_t port, uint32_t scope_id) noexcept {
  SocketAddress address;
  address.v6.sin6_family = AF_INET6;
  address.v6.sin6_port = htons(port);
  address.v6.sin6_scope_id = scope_id;
  std::memcpy(&address.v6.sin6_addr, bytes, 16);
  return address;
}

uint16_t SocketAddress::port() const noexcept { return ntohs(family() == AF_INET6 ? v6.sin6_port : v4.sin_port); }

std::span<const uint8_t> SocketAddress::bytes() const noexcept {
  if (family() == AF_INET6) return {reinterpret_cast<const uint8_t*>(&v6.sin6_addr), 16};
  return {reinterpret_cast<const uint8_t*>(&v4.sin_addr), 4};
}

bool SocketAddress::operator==(const SocketAddress& other) const noexcept {
  if (family() != other.family()) return false;
  if (family() == AF_UNSPEC) return true;
  return port() == other.port() && scope_id() == other.scope_id() && std::ranges::equal(bytes(), other.bytes());
}

namespace {

bool set_int(int fd, int level, int option, int value) noexcept { return ::setsockopt(fd, level, option, &value, sizeof value) == 0; }

uint32_t get_int(int fd, int level, int option) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, option, &value, &size) == 0 && value > 0 ? static_cast<uint32_t>(value) : 0;
}

// Forcing needs CAP_NET_ADMIN; the plain option is cut to net.core.[rw]mem_max and never fails.
void set_buffer(int fd, int forced, int plain, uint32_t bytes) noexcept {
  // The kernel doubles what it is given, for its own bookkeeping.
  const int value = static_cast<int>(std::min<uint32_t>(bytes, 1u << 29));
  if (!set_int(fd, SOL_SOCKET, forced, value)) set_int(fd, SOL_SOCKET, plain, value);
}

Status set_reporting(int fd, sa_family_t family) noexcept {
  const bool ok = family == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) && set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
                                     : set_int(fd, IPPROTO_IP, IP_PKTINFO, 1) && set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
  if (!ok) return Error{errno, "ask for local addresses and TOS of received datagrams"};
  return {};
}

Status set_discovery(int fd, sa_family_t family, bool fragmenting) noexcept {
  const bool ok = family == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, fragmenting ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_PROBE)
                                     : set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, fragmenting ? IP_PMTUDISC_DONT : IP_PMTUDISC_PROBE);
  if (!ok) return Error{errno, "set the socket's fragmentation"};
  return {};
}

Status bind_any(int fd, sa_family_t family, uint16_t port) noexcept {
  const uint8_t any[16] = {};
  const SocketAddress address = family == AF_INET6 ? SocketAddress::from_ipv6(any, port, 0) : SocketAddress::from_ipv4(any, port);
  if (::bind(fd, &address.any, address.size()) == 0) return {};
  return Error{errno, family == AF_INET6 ? "bind the IPv6 UDP socket" : "bind the IPv4 UDP socket"};
}

uint16_t bound_port(int fd) noexcept {
  SocketAddress address;
  socklen_t size = sizeof address;
  return ::getsockname(fd, &address.any, &size) == 0 ? address.port() : 0;
}

Result<UniqueFd> open_socket(sa_family_t family, const UdpOptions& options, uint16_t port) noexcept {
  UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!fd) return Error{errno, family == AF_INET6 ? "open the IPv6 UDP socket" : "open the IPv4 UDP socket"};
  if (family == AF_INET6 && !set_int(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1)) return Error{errno, "keep the IPv6 socket to IPv6"};
  if (const Status set = set_reporting(fd.get(), family); !set) return set.error();
  if (const Status set = set_discovery(fd.get(), family, true); !set) return set.error();
  if (options.fwmark != 0 && !set_int(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(options.fwmark))) return Error{errno, "set the firewall mark"};
  if (options.buffer_bytes != 0) {
    set_buffer(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF, options.buffer_bytes);
    set_buffer(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF, options.buffer_bytes);
  }
  if (options.join && !set_int(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1)) return Error{errno, "share the port between queues"};
  if (const Status bound = bind_any(fd.get(), family, port); !bound) return bound.error();
  // Only now for the first queue: a port that another process shares must still count as taken.
  if (options.reuse_port && !set_int(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1)) return Error{errno, "share the port between queues"};
  return fd;
}

bool family_is_missing(const Error& error) noexcept { return error.code == EAFNOSUPPORT || error.code == EPROTONOSUPPORT; }

// UDP_MAX_SEGMENTS is not exported: 65 one-byte segments to a socket of our own tell. Where loopback is down, the floor holds.
uint32_t probe_max_segments(sa_family_t family) noexcept {
  UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!fd || !set_int(fd.get(), SOL_UDP, UDP_SEGMENT, 1)) return kSegmentsFloor;
  const uint8_t loopback4[4] = {127, 0, 0, 1};
  const uint8_t loopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  SocketAddress self = family == AF_INET6 ? SocketAddress::from_ipv6(loopback6, 0, 0) : SocketAddress::from_ipv4(loopback4, 0);
  if (::bind(fd.get(), &self.any, self.size()) < 0) return kSegmentsFloor;
  socklen_t size = sizeof self;
  if (::getsockname(fd.get(), &self.any, &size) < 0) return kSegmentsFloor;
  const uint8_t bytes[kSegmentsCeiling] = {};
  return ::sendto(fd.get(), bytes, sizeof bytes, 0, &self.any, size) == static_cast<ssize_t>(sizeof bytes) ? kSegmentsCeiling : kSegmentsFloor;
}

bool has_segmentation(int fd) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return fd >= 0 && ::getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &size) == 0;
}

struct Pair {
  UniqueFd v4;
  UniqueFd v6;
};

Result<Pair> open_pair(const UdpOptions& options) noexcept {
  auto v4 = open_socket(AF_INET, options, options.port);
  if (!v4 && !family_is_missing(v4.error())) return v4.error();
  const uint16_t port = v4 ? bound_port(v4->get()) : options.port;
  auto v6 = open_socket(AF_INET6, options, port);
  if (!v6 && (!family_is_missing(v6.error()) || !v4)) return v6.error();
  Pair pair;
  if (v4) pair.v4 = std::move(v4.value());
  if (v6) pair.v6 = std::move(v6.value());
  return pair;
}

}  // namespace

Result<UdpSockets> UdpSockets::bind(const UdpOptions& options) noexcept {
  // A random IPv4 port may be taken for IPv6; another one is then tried.
  constexpr int kRandomPortTries = 100;
  auto pair = open_pair(options);
  for (int tries = 1; !pair && options.port == 0 && pair.error().code == EADDRINUSE && tries < kRandomPortTries; ++tries) pair = open_pair(options);
  if (!pair) return pair.error();

  UdpSockets sockets;
  sockets.v4_ = std::move(pair->v4);
  sockets.v6_ = std::move(pair->v6);
  const int any = sockets.v4_ ? sockets.fd4() : sockets.fd6();
  sockets.port_ = bound_port(any);
  if (options.gro) {
    sockets.gro_ = true;
    for (const int fd : {sockets.fd4(), sockets.fd6()}) {
      if (fd >= 0 && !set_int(fd, SOL_UDP, UDP_GRO, 1)) sockets.gro_ = false;
    }
  }
  if (options.gso) {
    sockets.gso4_ = has_segmentation(sockets.fd4());
    sockets.gso6_ = has_segmentation(sockets.fd6());
    if (sockets.gso()) sockets.max_segments_ = probe_max_segments(sockets.v4_ ? AF_INET : AF_INET6);
  }
  return sockets;
}

UdpSockets::UdpSockets(UdpSockets&& other) noexcept { *this = std::move(other); }

UdpSockets& UdpSockets::operator=(UdpSockets&& other) noexcept {
  if (this == &other) return *this;
  v4_ = std::move(other.v4_);
  v6_ = std::move(other.v6_);
  port_ = std::exchange(other.port_, uint16_t{0});
  gro_ = std::exchange(other.gro_, false);
  gso4_ = other.gso4_.exchange(false);
  gso6_ = other.gso6_.exchange(false);
  max_segments_ = other.max_segments_.exchange(kSegmentsFloor);
  return *this;
}

bool UdpSockets::gso() const noexcept { return gso4_.load(std::memory_order_relaxed) || gso6_.load(std::memory_order_relaxed); }

uint32_t UdpSockets::receive_buffer_bytes() const noexcept { return get_int(v4_ ? fd4() : fd6(), SOL_SOCKET, SO_RCVBUF); }

uint32_t UdpSockets::send_buffer_bytes() const noexcept { return get_int(v4_ ? fd4() : fd6(), SOL_SOCKET, SO_SNDBUF); }

Status UdpSockets::set_fwmark(uint32_t fwmark) noexcept {
  for (const int fd : {fd4(), fd6()}) {
    if (fd >= 0 && !set_int(fd, SOL_SOCKET, SO_MARK, static_cast<int>(fwmark))) return Error{errno, "set the firewall mark"};
  }
  return {};
}

Status UdpSockets::set_fragmenting(sa_family_t family, bool allowed) noexcept {
  const int fd = family == AF_INET6 ? fd6() : fd4();
  if (fd < 0) return Error{EAFNOSUPPORT, "set the socket's fragmentation"};
  return set_discovery(fd, family, allowed);
}

}  // namespace warren
