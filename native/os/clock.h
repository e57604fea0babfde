// Time of the data plane: CLOCK_BOOTTIME in milliseconds (counts suspend, so that a key is never older than it seems),
// a timer on that clock and a wake-up, both as file descriptors for poll(2). Leaves out wall-clock time: only TAI64N
// needs it, in TypeScript.
#pragma once

#include <cstdint>

#include "os/result.h"
#include "os/unique_fd.h"

namespace warren {

/** Milliseconds of CLOCK_BOOTTIME; what TypeScript calls an Instant. To be asked for once a batch, not once a packet. */
double boottime_ms() noexcept;

/** One deadline. Readable when it has come, until `acknowledge`. */
class DeadlineTimer {
 public:
  static Result<DeadlineTimer> create() noexcept;

  int fd() const noexcept { return fd_.get(); }
  /** Replaces the deadline; one in the past fires at once; not finite (Infinity, NaN) disarms. */
  void arm(double at_ms) noexcept;
  void disarm() noexcept;
  /** Makes the descriptor unreadable again. True when the deadline had come. */
  bool acknowledge() noexcept;

 private:
  explicit DeadlineTimer(UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/**
 * Readable when the wall clock was set or stepped, and when the machine comes back from suspend: the kernel cancels a timer on
 * CLOCK_REALTIME for both (TFD_TIMER_CANCEL_ON_SET, timerfd_create(2)). Nothing is polled. A clock that NTP slews does not count.
 */
class ClockChangeEvent {
 public:
  static Result<ClockChangeEvent> create() noexcept;

  int fd() const noexcept { return fd_.get(); }
  /** Makes the descriptor unreadable again. True when there was a change since. */
  bool acknowledge() noexcept;

 private:
  explicit ClockChangeEvent(UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  /** 0 or errno. */
  int arm() noexcept;
  UniqueFd fd_;
};

/** Wakes a thread that polls. `signal` may be called from any thread and from a signal handler. */
class WakeEvent {
 public:
  static Result<WakeEvent> create() noexcept;

  int fd() const noexcept { return fd_.get(); }
  void signal() noexcept;
  /** True when there was at least one signal since the last drain. */
  bool drain() noexcept;

 private:
  explicit WakeEvent(UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace warren
