// Tells when a descriptor has something to read: one thread that sleeps in epoll_wait(2) and calls back, once until
// `rearm`. For descriptors that an event loop cannot poll by itself. Leaves out reading: that is the owner's, on its
// own thread.
#pragma once

#include <pthread.h>

#include <functional>
#include <memory>

#include "os/clock.h"
#include "os/result.h"
#include "os/unique_fd.h"

namespace warren {

class ReadableWatch {
 public:
  /** `fd` stays the caller's and must outlive the watch; `on_readable` is called on the watch's thread. Armed from the start. */
  static Result<std::unique_ptr<ReadableWatch>> start(int fd, std::function<void()> on_readable) noexcept;
  ReadableWatch(const ReadableWatch&) = delete;
  ReadableWatch& operator=(const ReadableWatch&) = delete;
  ~ReadableWatch() { stop(); }

  /** One more call, at once when there is something to read already. From any thread. */
  void rearm() noexcept;
  /** Ends the thread and waits for it: there is no call after this. Idempotent; not from the callback. */
  void stop() noexcept;

 private:
  ReadableWatch(int fd, UniqueFd epoll, WakeEvent end, std::function<void()> on_readable) noexcept;
  void run() noexcept;

  int fd_;
  UniqueFd epoll_;
  WakeEvent end_;
  std::function<void()> on_readable_;
  pthread_t thread_{};
  bool started_ = false;
};

}  // namespace warren
