// CLOCK_BOOTTIME, timerfd_create(2), eventfd(2). See clock.h.
#include "os/clock.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>

namespace warren {

double boottime_ms() noexcept {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

namespace {

// Both kinds of descriptor give an 8-byte count once, then EAGAIN.
bool take_count(int fd) noexcept {
  uint64_t count = 0;
  ssize_t got;
  do {
    got = ::read(fd, &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof count) && count > 0;
}

}  // namespace

Result<DeadlineTimer> DeadlineTimer::create() noexcept {
  UniqueFd fd(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!fd) return Error{errno, "create a timer on CLOCK_BOOTTIME"};
  return DeadlineTimer(std::move(fd));
}

void DeadlineTimer::arm(double at_ms) noexcept {
  // About 285 years: what is later never comes, and does not fit the arithmetic below.
  constexpr double kLatestMs = 9e12;
  if (!std::isfinite(at_ms) || at_ms >= kLatestMs) {
    disarm();
    return;
  }
  itimerspec when{};
  // Rounded up: a timer that fires before its instant makes the caller arm it again for nothing.
  const double nanoseconds = at_ms <= 0 ? 1 : std::ceil(at_ms * 1e6);
  const auto total = static_cast<uint64_t>(nanoseconds);
  when.it_value.tv_sec = static_cast<time_t>(total / 1'000'000'000u);
  when.it_value.tv_nsec = static_cast<long>(total % 1'000'000'000u);
  if (when.it_value.tv_sec == 0 && when.it_value.tv_nsec == 0) when.it_value.tv_nsec = 1;  // zero would disarm
  ::timerfd_settime(fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void DeadlineTimer::disarm() noexcept {
  const itimerspec never{};
  ::timerfd_settime(fd_.get(), 0, &never, nullptr);
}

bool DeadlineTimer::acknowledge() noexcept { return take_count(fd_.get()); }

Result<ClockChangeEvent> ClockChangeEvent::create() noexcept {
  UniqueFd fd(::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!fd) return Error{errno, "create a timer on CLOCK_REALTIME"};
  ClockChangeEvent event(std::move(fd));
  if (const int error = event.arm()) return Error{error, "arm the timer on CLOCK_REALTIME"};
  return event;
}

int ClockChangeEvent::arm() noexcept {
  // An instant that does not come: the kernel's ktime_t ends in the year 2262.
  itimerspec never{};
  never.it_value.tv_sec = 9'000'000'000;
  // Told by ECANCELED when the clock was set between the last arming and this one; armed all the same.
  const int set = ::timerfd_settime(fd_.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr);
  return set == 0 || errno == ECANCELED ? 0 : errno;
}

bool ClockChangeEvent::acknowledge() noexcept {
  uint64_t count = 0;
  ssize_t got;
  do {
    got = ::read(fd_.get(), &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  const bool changed = got >= 0 || errno == ECANCELED;
  if (changed) arm();
  return changed;
}

Result<WakeEvent> WakeEvent::create() noexcept {
  UniqueFd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return Error{errno, "create an eventfd"};
  return WakeEvent(std::move(fd));
}

void WakeEvent::signal() noexcept {
  const int saved = errno;  // may run in a signal handler
  const uint64_t one = 1;
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  errno = saved;  // EAGAIN means that the counter is full: readable anyway
}

bool WakeEvent::drain() noexcept { return take_count(fd_.get()); }

}  // namespace warren
