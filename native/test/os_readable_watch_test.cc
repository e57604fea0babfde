// ReadableWatch: one call per arming, none after the end, from whichever thread.
#include "os/readable_watch.h"

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <memory>

#include "os_test_support.h"

namespace warren::test {
namespace {

/** Counts calls, and can be waited for. */
struct Calls {
  std::atomic<int> count{0};
  WakeEvent event = must(WakeEvent::create());

  std::function<void()> callback() {
    return [this] {
      count.fetch_add(1);
      event.signal();
    };
  }
  void await(int wanted, int line = __builtin_LINE()) {
    while (count.load() < wanted) {
      await_ready(event.fd(), POLLIN, line);
      event.drain();
    }
  }
};

TEST("tells once until it is armed again, and at once when something waits already") {
  Calls calls;
  WakeEvent source = must(WakeEvent::create());
  auto watch = must(ReadableWatch::start(source.fd(), calls.callback()));
  source.signal();
  calls.await(1);
  // It stays readable: a watch that told again would do so at once.
  const pollfd nothing{-1, 0, 0};
  pollfd wait = nothing;
  ::poll(&wait, 0, 50);
  CHECK_EQ(calls.count.load(), 1);
  watch->rearm();
  calls.await(2);
  CHECK(source.drain());
  watch->rearm();
  ::poll(&wait, 0, 50);
  CHECK_EQ(calls.count.load(), 2);
  source.signal();
  calls.await(3);
}

TEST("an end of the other side is told as readable") {
  Calls calls;
  int pair[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  auto watch = must(ReadableWatch::start(ours.get(), calls.callback()));
  theirs.reset();
  calls.await(1);
}

TEST("there is no call after stop, whatever happens meanwhile") {
  for (int round = 0; round < 200; ++round) {
    auto calls = std::make_unique<Calls>();
    WakeEvent source = must(WakeEvent::create());
    auto watch = must(ReadableWatch::start(source.fd(), calls->callback()));
    std::thread feeder([&source, &watch] {
      for (int i = 0; i < 10; ++i) {
        source.signal();
        watch->rearm();
      }
    });
    if (round % 2 == 0) calls->await(1);
    feeder.join();
    watch->stop();
    watch->stop();
    // A call now would be a use after free that the sanitizers see.
    calls.reset();
    source.signal();
    watch->rearm();
  }
}

TEST("a descriptor that cannot be watched is an error that names the step") {
  enter_namespace();
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const auto watch = ReadableWatch::start(file.get(), [] {});
  CHECK(!watch.ok());
  CHECK_EQ(watch.error().code, EPERM);
}

}  // namespace
}  // namespace warren::test
