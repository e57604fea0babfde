// A raw netlink socket for whoever speaks netlink(7) by himself: whole datagrams in and out, of the kernel only, and nothing
// lost without a word. The codec is TypeScript's (src/daemon/os/netlink). Leaves out requests and answers: see netlink.h
// for the little that the data plane asks itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "os/result.h"
#include "os/unique_fd.h"

namespace warren {

struct NetlinkOptions {
  /** NETLINK_ROUTE … */
  int protocol = 0;
  /** RTMGRP_… of what to hear unasked; 0 = nothing. */
  uint32_t groups = 0;
  /** Wanted receive buffer; beyond net.core.rmem_max it takes CAP_NET_ADMIN. 0 = the system's. */
  uint32_t receive_buffer_bytes = 0;
};

class NetlinkSocket {
 public:
  /** In the calling thread's network namespace, where it stays. */
  static Result<NetlinkSocket> open(const NetlinkOptions& options) noexcept;

  /** Non-blocking, for poll. */
  int fd() const noexcept { return fd_.get(); }
  /** One datagram to the kernel. */
  Status send(std::span<const uint8_t> datagram) noexcept;
  /**
   * The next datagram of the kernel, whole however long it is; empty when none waits. Borrowed until the next call. ENOBUFS: the kernel
   * had to drop some since, so what is known must be asked for again. EMSGSIZE: one was larger than kDatagramMax and is gone.
   */
  Result<std::span<const uint8_t>> receive() noexcept;
  /** Datagrams that were not the kernel's, and were dropped. */
  uint64_t strangers() const noexcept { return strangers_; }

  /** The kernel keeps its own under 32 KiB, but for a message that does not fit. */
  static constexpr std::size_t kDatagramMax = std::size_t{4} << 20;

 private:
  explicit NetlinkSocket(UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  /** Room for `bytes`; what was in the buffer is gone. */
  void make_room(std::size_t bytes) noexcept;

  UniqueFd fd_;
  std::unique_ptr<uint8_t[]> buffer_;
  std::size_t capacity_ = 0;
  uint64_t strangers_ = 0;
};

}  // namespace warren
