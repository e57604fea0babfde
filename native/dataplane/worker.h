// One thread of the live plane: polls its TUN queue and its UDP sockets and drains both, turn by turn; the first worker also
// watches the link and the deadline. Idle means blocked in poll(2). Leaves out what happens to packets (plane.h).

#pragma once

#include <poll.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/context.h"
#include "dataplane/live_device.h"
#include "os/clock.h"
#include "os/result.h"
#include "os/udp_socket.h"

namespace warren {

class Worker {
 public:
  static Result<std::unique_ptr<Worker>> create(LiveDevice& device, size_t queue) noexcept;
  ~Worker();

  Status start() noexcept;
  /** The sockets have changed. */
  void look_up() noexcept;
  /**
   * As `look_up`, and returns once the thread polls the present sockets alone: a socket that is closed while somebody polls it keeps its
   * port until that ends. Not from the thread itself, nor with the device lock held.
   */
  void look_up_and_wait() noexcept;
  /** Ends the thread and waits for it. */
  void stop() noexcept;
  const CounterBlock& counters() const noexcept { return context_->counters; }
  uint64_t wakes() const noexcept { return wakes_.load(std::memory_order_relaxed); }

 private:
  enum Source : size_t { kWake, kTun, kUdp4, kUdp6, kTimer, kLink, kSources };

  Worker(LiveDevice& device, size_t queue, WakeEvent wake, ReceiveBatch batch, std::unique_ptr<LiveSink> sink,
         std::unique_ptr<Context> context) noexcept;
  void run() noexcept;
  void collect_sources() noexcept;
  bool ready(Source source) const noexcept { return sources_[source].revents != 0; }
  void drain() noexcept;
  bool drain_tun() noexcept;
  bool drain_udp(sa_family_t family) noexcept;
  bool tun_failed(ssize_t error) noexcept;

  LiveDevice& device_;
  const size_t queue_;
  WakeEvent wake_;
  ReceiveBatch batch_;
  std::unique_ptr<LiveSink> sink_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<uint8_t[]> tun_buffer_;
  std::array<pollfd, kSources> sources_;
  pthread_t thread_{};
  bool started_ = false;
  std::atomic<bool> stopping_{false};
  /** A command wants this thread to leave its drain loop. */
  std::atomic<bool> attention_{false};
  /** Times that the sources were to be collected anew, and up to which of them that was done. */
  std::atomic<uint32_t> asked_{0};
  std::atomic<uint32_t> collected_{0};
  std::atomic<uint64_t> wakes_{0};
};

}  // namespace warren
