// Follows one network interface through rtnetlink (RTMGRP_LINK): up, down, MTU, deletion. rtnetlink(7). Events are
// differences between what was known and what the kernel says, so a repeated message gives no event, and a lost one
// (ENOBUFS) is made good by asking again. Leaves out addresses and routes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "os/result.h"
#include "os/unique_fd.h"

struct nlmsghdr;

namespace warren {

/** Numbers of LinkChange in src/dataplane/dataplane.ts. */
enum class LinkChange : uint8_t { up = 1, down = 2, deleted = 3, mtu = 4 };

struct LinkEvent {
  LinkChange change;
  /** The new MTU with LinkChange::mtu, else 0. */
  uint32_t value = 0;
};
/** More than one poll can give: every kind once. */
inline constexpr std::size_t kLinkEventsMax = 4;

class LinkMonitor {
 public:
  /** Watches `interface_index` in the calling thread's network namespace. ENODEV when there is none. */
  static Result<LinkMonitor> open(uint32_t interface_index) noexcept;

  /** Non-blocking, for poll. */
  int fd() const noexcept { return fd_.get(); }
  /** As of `open` or the last `poll`. */
  bool up() const noexcept { return up_; }
  uint32_t mtu() const noexcept { return mtu_; }
  /** "Deleted" also when the interface moved to another namespace: ask TunDevice::alive. */
  bool deleted() const noexcept { return deleted_; }

  /** Takes what waits; at most kLinkEventsMax events, the net difference since the last poll. Returns how many. */
  std::size_t poll(std::span<LinkEvent, kLinkEventsMax> events) noexcept;

 private:
  LinkMonitor(UniqueFd fd, uint32_t interface_index) noexcept : fd_(std::move(fd)), index_(interface_index) {}
  void drain() noexcept;
  /** True when the kernel had to drop messages. */
  bool read_all() noexcept;
  void take(const nlmsghdr& message) noexcept;
  Status request() noexcept;

  UniqueFd fd_;
  uint32_t index_ = 0;
  uint32_t mtu_ = 0;
  bool up_ = false;
  bool deleted_ = false;
};

}  // namespace warren
