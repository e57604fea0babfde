// Boottime, the deadline timer and the wake-up.
#include "os/clock.h"

#include <time.h>

#include <cmath>
#include <limits>

#include "os_test_support.h"

namespace warren::test {
namespace {

double reference_ms() {
  timespec now{};
  CHECK(::clock_gettime(CLOCK_BOOTTIME, &now) == 0);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

TEST("the clock is CLOCK_BOOTTIME in milliseconds, with fractions") {
  const double before = reference_ms();
  const double now = boottime_ms();
  const double after = reference_ms();
  CHECK(before <= now + 1e-5 && now <= after + 1e-5);
  double fraction = 0;
  for (int i = 0; i < 100 && fraction == 0; ++i) fraction = boottime_ms() - std::floor(boottime_ms());
  CHECK(fraction != 0);
}

TEST("a deadline wakes at its instant, never before") {
  DeadlineTimer timer = must(DeadlineTimer::create());
  CHECK(!is_ready(timer.fd()));
  CHECK(!timer.acknowledge());
  const double at = boottime_ms() + 20;
  timer.arm(at);
  await_ready(timer.fd());
  CHECK(boottime_ms() >= at);
  CHECK(timer.acknowledge());
  CHECK(!timer.acknowledge());
  CHECK(!is_ready(timer.fd()));
}

TEST("a deadline in the past wakes at once") {
  DeadlineTimer timer = must(DeadlineTimer::create());
  for (const double at : {boottime_ms() - 1000, 0.0, -5.0}) {
    timer.arm(at);
    await_ready(timer.fd());
    CHECK(timer.acknowledge());
  }
}

TEST("a new deadline replaces the old, and infinity cancels it") {
  DeadlineTimer timer = must(DeadlineTimer::create());
  timer.arm(0);
  await_ready(timer.fd());
  // Replaced before it was acknowledged: the old one may not be reported.
  timer.arm(boottime_ms() + 3'600'000);
  CHECK(!is_ready(timer.fd()));
  timer.arm(0);
  await_ready(timer.fd());
  for (const double never : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    timer.arm(never);
    CHECK(!is_ready(timer.fd()));
    CHECK(!timer.acknowledge());
    timer.arm(0);
    await_ready(timer.fd());
  }
}

TEST("a wake-up crosses threads, and many are one") {
  WakeEvent wake = must(WakeEvent::create());
  CHECK(!wake.drain());
  std::thread other([&wake] {
    for (int i = 0; i < 1000; ++i) wake.signal();
  });
  await_ready(wake.fd());
  other.join();
  CHECK(wake.drain());
  CHECK(!wake.drain());
  CHECK(!is_ready(wake.fd()));
}

}  // namespace
}  // namespace warren::test
