// What the process gives up and what it protects: core dumps, capabilities, memory that holds keys. prctl(2),
// capabilities(7), mlock(2). Leaves out seccomp, changing the user, and zeroing (hash/secure.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/result.h"

namespace warren {

/** No core dump of this process and no ptrace by processes of the same user: PR_SET_DUMPABLE 0 and RLIMIT_CORE 0. */
Status disable_core_dumps() noexcept;

/** Lifts RLIMIT_MEMLOCK, so that keys can still be locked after capabilities are dropped. EPERM without CAP_SYS_RESOURCE: then it
 *  is raised as far as it goes, and LockedRegion::locked tells whether that was enough. */
Status raise_memlock_limit() noexcept;

/**
 * Every thread of the process keeps CAP_NET_ADMIN, and CAP_NET_BIND_SERVICE (a listen port of 443 or 53 is configured at any
 * time), at most: what it did not have it does not get, and it may gain nothing by exec (PR_SET_NO_NEW_PRIVS). Kernel capabilities belong to threads, so each is made to do it by a signal that libc keeps for such
 * uses; verified afterwards in /proc/self/task. ETIMEDOUT names a thread that did not answer within 5 s. Not to be called
 * at the same time from two threads, nor beside setuid(2).
 */
Status drop_capabilities() noexcept;

/** Likewise, and keeps none: of a process that has its sockets and never asks the system for anything again. */
Status drop_all_capabilities() noexcept;

/** Capabilities of one thread, for tests and diagnostics. */
struct ThreadCapabilities {
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  bool no_new_privs = false;
};
Result<ThreadCapabilities> read_capabilities(int tid) noexcept;

/** Page-aligned, zeroed memory for keys: locked, left out of core dumps, zeros in a forked child, zeroed when it goes. */
class LockedRegion {
 public:
  LockedRegion() = default;
  /** Where locking is refused (RLIMIT_MEMLOCK) the memory is given all the same and `locked()` is false. ENOMEM. */
  static Result<LockedRegion> create(std::size_t size) noexcept;
  LockedRegion(LockedRegion&& other) noexcept;
  LockedRegion& operator=(LockedRegion&& other) noexcept;
  LockedRegion(const LockedRegion&) = delete;
  LockedRegion& operator=(const LockedRegion&) = delete;
  ~LockedRegion();

  uint8_t* data() const noexcept { return data_; }
  /** At least what was asked for: rounded up to whole pages. */
  std::size_t size() const noexcept { return size_; }
  bool locked() const noexcept { return locked_; }

 private:
  LockedRegion(uint8_t* data, std::size_t size, bool locked) noexcept : data_(data), size_(size), locked_(locked) {}
  void release() noexcept;
  uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  bool locked_ = false;
};

}  // namespace warren
