// The tunnel's UDP sockets, one for IPv4 and one for IPv6 on one port: batched receive (recvmmsg + UDP_GRO) and batched
// send (sendmmsg + UDP_SEGMENT) with everything that a WireGuard endpoint needs: sticky source addresses, TOS/ECN,
// SO_MARK, large buffers, and a fallback for each thing that a kernel, a device or a route refuses. udp(7), ip(7), ipv6(7).
// Nothing is allocated per packet: batches and scratch are made once per thread. Leaves out who the peers are.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "os/result.h"
#include "os/unique_fd.h"

namespace warren {

/** Largest UDP payload over IPv4 without options; one UDP_SEGMENT send may not exceed it either. */
inline constexpr uint32_t kUdpPayloadMax = 65507;
/** UDP_MAX_SEGMENTS of Linux before 6.9; later it is 128. */
inline constexpr uint32_t kSegmentsFloor = 64;
inline constexpr uint32_t kSegmentsCeiling = 128;
/** Messages in one sendmmsg. */
inline constexpr std::size_t kSendMessagesMax = 128;

/** An IPv4 or IPv6 socket address in 28 bytes; family AF_UNSPEC (all zero) is "none". */
union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;

  SocketAddress() noexcept : v6{} {}
  /** `bytes` in network order, 4 or 16 of them; `port` in host order. */
  static SocketAddress from_ipv4(const uint8_t* bytes, uint16_t port) noexcept;
  static SocketAddress from_ipv6(const uint8_t* bytes, uint16_t port, uint32_t scope_id) noexcept;

  sa_family_t family() const noexcept { return any.sa_family; }
  socklen_t size() const noexcept { return family() == AF_INET6 ? sizeof v6 : sizeof v4; }
  uint16_t port() const noexcept;
  /** 4 or 16 bytes, network order. */
  std::span<const uint8_t> bytes() const noexcept;
  uint32_t scope_id() const noexcept { return family() == AF_INET6 ? v6.sin6_scope_id : 0; }
  /** Family, address, port, and scope; flow labels do not count. */
  bool operator==(const SocketAddress& other) const noexcept;
};
static_assert(sizeof(SocketAddress) == 28);

/** A local address of ours: where a datagram was sent to, or what one shall be sent from. family AF_UNSPEC = the kernel chooses. */
struct LocalSource {
  sa_family_t family = AF_UNSPEC;
  /** The interface it came in on. Sending uses it only for link-local IPv6; otherwise routing chooses, as kernel WireGuard does. */
  uint32_t interface_index = 0;
  /** Network order; IPv4 in the first four. */
  uint8_t address[16] = {};

  bool operator==(const LocalSource&) const noexcept = default;
};

// — receiving —

/** One received buffer: one datagram, or with GRO several of `segment_size` bytes (the last may be shorter), back to back. */
struct ReceivedRun {
  uint8_t* data = nullptr;
  uint32_t length = 0;
  /** Never above `length`; equal to it for a single datagram; 0 only for an empty one. */
  uint32_t segment_size = 0;
  SocketAddress source;
  LocalSource local;
  /** TOS byte (IPv4) or traffic class (IPv6) of the outer header; the two low bits are ECN. */
  uint8_t tos = 0;
};

/** Calls `visit(uint8_t* datagram, uint32_t length)` for each datagram of a run, an empty one included. */
template <class Visit>
void for_each_datagram(const ReceivedRun& run, Visit&& visit) {
  if (run.segment_size == 0) {
    visit(run.data, uint32_t{0});
    return;
  }
  for (uint32_t at = 0; at < run.length; at += run.segment_size) {
    const uint32_t left = run.length - at;
    visit(run.data + at, left < run.segment_size ? left : run.segment_size);
  }
}

/** Preallocated buffers for one receiving thread. Runs stay valid, and their bytes writable, until the next receive into it. */
class ReceiveBatch {
 public:
  /** Buffers below 65,536 bytes cut off GRO runs, which are then dropped and counted. ENOMEM. */
  static Result<ReceiveBatch> create(uint32_t buffers = 32, uint32_t buffer_bytes = 65536) noexcept;
  ReceiveBatch(ReceiveBatch&&) noexcept;
  ReceiveBatch& operator=(ReceiveBatch&&) noexcept;
  ~ReceiveBatch();

  std::span<ReceivedRun> runs() noexcept;
  uint32_t capacity() const noexcept;
  uint32_t buffer_bytes() const noexcept;
  /** Datagrams dropped because they did not fit, since creation. */
  uint64_t truncated() const noexcept;
  /** Stale errors of earlier sends that a receive reported instead of data, since creation. */
  uint64_t stale_errors() const noexcept;

 private:
  friend class UdpSockets;
  struct Storage;
  explicit ReceiveBatch(std::unique_ptr<Storage> storage) noexcept;
  std::unique_ptr<Storage> storage_;
};

// — sending —

/** One run of datagrams to one destination; the bytes are borrowed for the call. The caller fills the first part. */
struct SendRun {
  /** The bytes, in order; in one part or several (at most kRunPartsMax for what goes into one send). */
  std::span<const iovec> parts;
  /** Each datagram but the last has this many bytes; 0 = the whole run is one datagram. */
  uint32_t segment_size = 0;
  SocketAddress destination;
  LocalSource source;
  /** TOS byte or traffic class. */
  uint8_t tos = 0;

  // Filled by send.
  /** The source is not usable any more (it went out without it, or not at all): forget it. */
  bool forget_source = false;
  /** 0 or the errno that kept a datagram of this run, and what came after it, from leaving. EAGAIN/ENOBUFS: the send buffer was full. */
  int error = 0;
  /** Always the first ones of the run. */
  uint32_t datagrams_sent = 0;
  uint32_t datagrams_failed = 0;
};
inline constexpr std::size_t kRunPartsMax = 1024;

/** What one send did; sums over its runs. */
struct SendReport {
  uint32_t calls = 0;
  uint32_t datagrams_sent = 0;
  /** Lost to EAGAIN or ENOBUFS. */
  uint32_t datagrams_full = 0;
  /** Whose socket was full, for waiting for POLLOUT on that one; AF_UNSPEC = neither. */
  sa_family_t full_family = AF_UNSPEC;
  /** Lost to any other error. */
  uint32_t datagrams_failed = 0;
  uint64_t bytes_sent = 0;
};

/** How messages reach the kernel; replaced in tests by one that refuses. */
using SendCall = int (*)(int fd, mmsghdr* messages, unsigned count, int flags);

/** Preallocated message headers for one sending thread. */
class SendScratch {
 public:
  static Result<SendScratch> create(SendCall call = nullptr) noexcept;
  SendScratch(SendScratch&&) noexcept;
  SendScratch& operator=(SendScratch&&) noexcept;
  ~SendScratch();

 private:
  friend class UdpSockets;
  friend class SendPass;
  struct Storage;
  explicit SendScratch(std::unique_ptr<Storage> storage) noexcept;
  std::unique_ptr<Storage> storage_;
};

// — sockets —

struct UdpOptions {
  /** 0 = any free port, the same for both families. */
  uint16_t port = 0;
  /** SO_MARK; 0 = none. */
  uint32_t fwmark = 0;
  /** Lets further queues of ours bind the same port afterwards (SO_REUSEPORT); the first still fails where the port is taken. */
  bool reuse_port = false;
  /** This is such a further queue: shares `port` with the first, which was bound with reuse_port. */
  bool join = false;
  /** Asked for with SO_*BUFFORCE, and with SO_*BUF where that is refused. 0 = the system's default. */
  uint32_t buffer_bytes = 7u << 20;
  /** False is for measurements and tests. */
  bool gro = true;
  bool gso = true;
};

/**
 * Shared by threads: the descriptors do not change until destruction, and all calls are safe from several threads as long
 * as each brings its own batch or scratch.
 */
class UdpSockets {
 public:
  UdpSockets() = default;
  /** Without IPv6 (or IPv4) in the kernel it goes on with the other. Errors: EADDRINUSE, EACCES, EPERM (mark) … */
  static Result<UdpSockets> bind(const UdpOptions& options) noexcept;
  UdpSockets(UdpSockets&& other) noexcept;
  UdpSockets& operator=(UdpSockets&& other) noexcept;

  /** −1 when there is no socket of that family. Non-blocking, for poll. */
  int fd4() const noexcept { return v4_.get(); }
  int fd6() const noexcept { return v6_.get(); }
  uint16_t port() const noexcept { return port_; }
  /** UDP_GRO is on: a received run may hold several datagrams. */
  bool gro() const noexcept { return gro_; }
  /** UDP_SEGMENT is in use (on at least one family); false once a device refused it. */
  bool gso() const noexcept;
  /** Segments that the kernel takes in one send: 64 or 128. */
  uint32_t max_segments() const noexcept { return max_segments_.load(std::memory_order_relaxed); }
  /** What the kernel granted, in bytes, as it counts. */
  uint32_t receive_buffer_bytes() const noexcept;
  uint32_t send_buffer_bytes() const noexcept;

  Status set_fwmark(uint32_t fwmark) noexcept;
  /** True (the state after bind): the outer datagram may be fragmented, as kernel WireGuard's. False: DF is set and the path MTU
   *  ignored, for MTU probes; what does not fit the interface is EMSGSIZE. */
  Status set_fragmenting(sa_family_t family, bool allowed) noexcept;

  /** Takes what waits on one family's socket (AF_INET or AF_INET6), at most the batch. Runs received (0 = none), or −errno of a broken socket. */
  int receive(sa_family_t family, ReceiveBatch& batch) noexcept;
  /** Sends all runs, in order within each family; never blocks. Results stand in each run. */
  SendReport send(SendScratch& scratch, std::span<SendRun> runs) noexcept;

 private:
  friend class SendPass;
  UniqueFd v4_;
  UniqueFd v6_;
  uint16_t port_ = 0;
  bool gro_ = false;
  std::atomic<bool> gso4_{false};
  std::atomic<bool> gso6_{false};
  std::atomic<uint32_t> max_segments_{kSegmentsFloor};
};

}  // namespace warren
