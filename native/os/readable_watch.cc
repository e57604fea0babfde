// epoll(7) with EPOLLONESHOT: the kernel keeps "told already", so arming again needs no word to the thread. See
// readable_watch.h.
#include "os/readable_watch.h"

#include <signal.h>
#include <sys/epoll.h>

#include <cerrno>
#include <utility>

namespace warren {

namespace {

/** Errors too (a netlink socket that lost messages): they are found by reading. */
constexpr uint32_t kReadable = EPOLLIN | EPOLLONESHOT;

int control(int epoll, int operation, int fd, uint32_t events) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return ::epoll_ctl(epoll, operation, fd, &event) == 0 ? 0 : errno;
}

}  // namespace

ReadableWatch::ReadableWatch(int fd, UniqueFd epoll, WakeEvent end, std::function<void()> on_readable) noexcept
    : fd_(fd), epoll_(std::move(epoll)), end_(std::move(end)), on_readable_(std::move(on_readable)) {}

Result<std::unique_ptr<ReadableWatch>> ReadableWatch::start(int fd, std::function<void()> on_readable) noexcept {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error{errno, "create an epoll descriptor"};
  auto end = WakeEvent::create();
  if (!end) return end.error();
  if (const int error = control(epoll.get(), EPOLL_CTL_ADD, end->fd(), EPOLLIN)) return Error{error, "watch a descriptor"};
  if (const int error = control(epoll.get(), EPOLL_CTL_ADD, fd, kReadable)) return Error{error, "watch a descriptor"};
  std::unique_ptr<ReadableWatch> watch(new ReadableWatch(fd, std::move(epoll), std::move(*end), std::move(on_readable)));

  // Signals are the main thread's business.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto body = [](void* self) -> void* {
    static_cast<ReadableWatch*>(self)->run();
    return nullptr;
  };
  const int error = pthread_create(&watch->thread_, nullptr, body, watch.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Error{error, "start a thread that watches a descriptor"};
  watch->started_ = true;
  pthread_setname_np(watch->thread_, "warren-watch");
  return watch;
}

void ReadableWatch::run() noexcept {
  for (;;) {
    epoll_event event{};
    if (::epoll_wait(epoll_.get(), &event, 1, -1) != 1) continue;  // EINTR: of a debugger, say
    if (event.data.fd == end_.fd()) return;
    on_readable_();
  }
}

void ReadableWatch::rearm() noexcept { control(epoll_.get(), EPOLL_CTL_MOD, fd_, kReadable); }

void ReadableWatch::stop() noexcept {
  if (!std::exchange(started_, false)) return;
  end_.signal();
  pthread_join(thread_, nullptr);
}

}  // namespace warren
