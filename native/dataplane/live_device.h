// The live plane: a TUN device, UDP sockets, and one worker thread per TUN queue (worker.h). Commands run on the JavaScript
// thread; what they send leaves through the first worker's sockets. A relay's has no TUN. Linux only. Leaves out everything about peers.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/device.h"
#include "os/clock.h"
#include "os/link_monitor.h"
#include "os/result.h"
#include "os/tun.h"
#include "os/udp_socket.h"

namespace warren {

class LiveDevice;
class Worker;

struct LiveOptions {
  /** False: sockets and threads alone, for a relay; what concerns the device then means nothing. */
  bool tun = true;
  /** A pattern like "wg%d" is allowed. */
  std::string ifname;
  /** 0 leaves the kernel's. */
  uint32_t mtu = 1420;
  uint32_t queues = 1;
  /** ≥ 0: adopted, and closed also on failure. */
  int tun_fd = -1;
  /** Kernel offloads to ask for; false is for measurements and tests. */
  bool tun_offloads = true;
  bool udp_offloads = true;
  PlaneOptions plane;
};

/** One thread's way to the kernel. */
class LiveSink final : public Sink {
 public:
  LiveSink(LiveDevice& device, size_t queue, SendScratch scratch) noexcept
      : device_(device), queue_(queue), scratch_(std::move(scratch)) {}
  SendReport send(std::span<SendRun> runs) noexcept override;
  bool wait_for_room() noexcept override;
  bool set_fragmenting(sa_family_t family, bool allowed) noexcept override;
  bool write(std::span<const iovec> pieces) noexcept override;
  bool vnet_header() const noexcept override;

 private:
  LiveDevice& device_;
  size_t queue_;
  SendScratch scratch_;
  /** The socket that was full last, to wait for room without the lock; poll ignores a negative one and just waits. */
  int full_fd_ = -1;
};

class LiveDevice final : public Device {
 public:
  /** Opens the TUN and starts the workers; nothing is received before `bind`. */
  static Result<std::unique_ptr<LiveDevice>> open(LiveOptions options, Waker& waker) noexcept;
  ~LiveDevice() override;

  Plane& plane() noexcept override { return *plane_; }
  double now() noexcept override { return boottime_ms(); }
  BindOutcome bind(uint16_t port, uint32_t fwmark) noexcept override;
  void unbind() noexcept override;
  void set_fwmark(uint32_t fwmark) noexcept override;
  void set_deadline(double at) noexcept override;
  uint64_t sum(Drop which) const noexcept override;
  uint64_t sum(Total which) const noexcept override;
  void close() noexcept override;
  bool closed() const noexcept override { return closed_; }

  // — for status; on the JavaScript thread —
  const std::string& ifname() const noexcept { return ifname_; }
  uint32_t ifindex() const noexcept { return ifindex_; }
  const TunFeatures& tun_features() const noexcept { return tun_features_; }
  uint32_t gso_max_segs() const noexcept { return gso_max_segs_; }
  size_t queues() const noexcept { return workers_.size(); }
  const char* aead_tier() const noexcept { return commands_->aead->tier(); }
  /** Null while not bound. */
  const UdpSockets* first_sockets() const noexcept { return sockets_.empty() ? nullptr : sockets_[0].get(); }
  /** Times that a worker came back from poll(2): an idle device adds none. */
  uint64_t worker_wakes() const noexcept;

 private:
  friend class LiveSink;
  friend class Worker;

  LiveDevice(LiveOptions options, DeadlineTimer timer) noexcept;
  Status open_tun() noexcept;
  Status start(Waker& waker) noexcept;
  using SocketSet = std::vector<std::unique_ptr<UdpSockets>>;
  void replace_sockets(SocketSet sockets) noexcept;

  // On worker 0.
  void follow_link() noexcept;
  void check_deadline() noexcept;
  void raise_deleted() noexcept;

  LiveOptions options_;
  /** Neither is there without a TUN. */
  std::optional<TunDevice> tun_;
  std::optional<LinkMonitor> monitor_;
  DeadlineTimer timer_;
  std::atomic<double> deadline_;
  std::atomic<bool> deleted_{false};

  std::string ifname_;
  uint32_t ifindex_ = 0;
  TunFeatures tun_features_;
  uint32_t gso_max_segs_ = 0;

  std::unique_ptr<LiveSink> commands_sink_;
  std::unique_ptr<Context> commands_;
  std::unique_ptr<Plane> plane_;
  /** One per worker, or none while not bound. Changed under the exclusive device lock. */
  SocketSet sockets_;
  std::vector<std::unique_ptr<Worker>> workers_;
  uint32_t fwmark_ = 0;
  bool closed_ = false;
};

}  // namespace warren
