// See live_device.h. Sockets are replaced under the exclusive device lock, so no thread ever uses a closed one; the workers
// are then told to look up what to poll. Leaves out the loop itself (worker.cc).

#include "dataplane/live_device.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <limits>
#include <utility>

#include "dataplane/worker.h"

namespace warren {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
/** How long a thread waits for room in a full send buffer before it tries again. */
constexpr int kRoomWaitMs = 4;

}  // namespace

// — the way to the kernel —

SendReport LiveSink::send(std::span<SendRun> runs) noexcept {
  if (device_.sockets_.empty()) {
    SendReport report;
    for (SendRun& run : runs) {
      run.error = ENOTCONN;
      run.datagrams_failed = 1;
      ++report.datagrams_failed;
    }
    return report;
  }
  UdpSockets& sockets = *device_.sockets_[queue_];
  const SendReport report = sockets.send(scratch_, runs);
  // The other family's socket has room, and would end the wait at once.
  if (report.full_family != AF_UNSPEC) full_fd_ = report.full_family == AF_INET6 ? sockets.fd6() : sockets.fd4();
  return report;
}

bool LiveSink::wait_for_room() noexcept {
  pollfd full = {full_fd_, POLLOUT, 0};
  // Whatever it says, the next send tells: POLLOUT wants half of the buffer free.
  ::poll(&full, 1, kRoomWaitMs);
  return true;
}

bool LiveSink::set_fragmenting(sa_family_t family, bool allowed) noexcept {
  return !device_.sockets_.empty() && device_.sockets_[queue_]->set_fragmenting(family, allowed).ok();
}

bool LiveSink::write(std::span<const iovec> pieces) noexcept {
  return device_.tun_.has_value() && device_.tun_->write(queue_, pieces) >= 0;
}

bool LiveSink::vnet_header() const noexcept { return device_.tun_features().vnet_hdr; }

// — the device —

LiveDevice::LiveDevice(LiveOptions options, DeadlineTimer timer) noexcept
    : options_(std::move(options)), timer_(std::move(timer)), deadline_(kNever) {}

LiveDevice::~LiveDevice() { close(); }

Result<std::unique_ptr<LiveDevice>> LiveDevice::open(LiveOptions options, Waker& waker) noexcept {
  auto timer = DeadlineTimer::create();
  if (!timer.ok()) {
    const UniqueFd adopted(options.tun_fd);
    return timer.error();
  }
  options.queues = std::clamp(options.queues, 1u, kTunQueuesMax);
  std::unique_ptr<LiveDevice> device(new LiveDevice(std::move(options), std::move(*timer)));
  if (device->options_.tun) {
    const Status opened = device->open_tun();
    if (!opened.ok()) return opened.error();
  }
  const Status started = device->start(waker);
  if (!started.ok()) return started.error();
  return device;
}

Status LiveDevice::open_tun() noexcept {
  TunOptions tun_options;
  tun_options.mtu = options_.mtu;
  tun_options.queues = options_.queues;
  tun_options.adopt_fd = options_.tun_fd;
  tun_options.overhead = kMessageOverhead;
  if (!options_.tun_offloads) tun_options.want = TunFeatures{};
  auto tun = TunDevice::open(options_.ifname, tun_options);
  if (!tun.ok()) return tun.error();
  auto monitor = LinkMonitor::open(tun->index());
  if (!monitor.ok()) return monitor.error();
  ifname_ = tun->name();
  ifindex_ = tun->index();
  tun_features_ = tun->features();
  gso_max_segs_ = tun->gso_max_segs();
  options_.plane.mtu = tun->mtu();
  // A kernel without IFF_MULTI_QUEUE gives one.
  options_.queues = static_cast<uint32_t>(tun->queue_count());
  tun_ = std::move(*tun);
  monitor_ = std::move(*monitor);
  return Status{};
}

Status LiveDevice::start(Waker& waker) noexcept {
  auto scratch = SendScratch::create();
  if (!scratch.ok()) return scratch.error();
  auto aead = make_aead();
  if (aead == nullptr) return Error{ENOSYS, "find a ChaCha20-Poly1305 implementation"};
  commands_sink_ = std::make_unique<LiveSink>(*this, 0, std::move(*scratch));
  commands_ = std::make_unique<Context>(*commands_sink_, std::move(aead), nullptr);
  plane_ = std::make_unique<Plane>(options_.plane, waker, *commands_);
  // What it was when we came is news to JavaScript too: an adopted device may be up already, and where there is none nothing is down.
  if (!monitor_.has_value() || monitor_->up()) plane_->control().raise_link(LinkChange::up, 0);
  for (size_t queue = 0; queue < options_.queues; ++queue) {
    auto worker = Worker::create(*this, queue);
    if (!worker.ok()) return worker.error();
    workers_.push_back(std::move(*worker));
  }
  for (auto& worker : workers_) {
    const Status started = worker->start();
    if (!started.ok()) return started;
  }
  plane_->control().wake_if_due(commands_->counters);
  return Status{};
}

BindOutcome LiveDevice::bind(uint16_t port, uint32_t fwmark) noexcept {
  if (!sockets_.empty() && port != 0 && port == sockets_[0]->port()) {
    set_fwmark(fwmark);
    return {0, port};
  }
  SocketSet sockets;
  UdpOptions options;
  options.port = port;
  options.fwmark = fwmark;
  options.reuse_port = workers_.size() > 1;
  options.gro = options.gso = options_.udp_offloads;
  for (size_t i = 0; i < workers_.size(); ++i) {
    auto bound = UdpSockets::bind(options);
    if (!bound.ok()) return {bound.error().code, 0};
    // The first must find the port free; the others share it with the first.
    options.port = bound->port();
    options.join = true;
    sockets.push_back(std::make_unique<UdpSockets>(std::move(*bound)));
  }
  fwmark_ = fwmark;
  replace_sockets(std::move(sockets));
  return {0, options.port};
}

void LiveDevice::unbind() noexcept {
  if (!sockets_.empty()) replace_sockets({});
}

/** The old ones are closed when no thread uses them any more, so that their port is free when this returns. */
void LiveDevice::replace_sockets(SocketSet sockets) noexcept {
  DeviceLock& lock = plane_->lock();
  lock.lock();
  sockets_.swap(sockets);
  plane_->set_bound(!sockets_.empty());
  lock.unlock();
  for (auto& worker : workers_) worker->look_up_and_wait();
}

void LiveDevice::set_fwmark(uint32_t fwmark) noexcept {
  fwmark_ = fwmark;
  for (auto& sockets : sockets_) (void)sockets->set_fwmark(fwmark);
}

void LiveDevice::set_deadline(double at) noexcept {
  deadline_.store(at, std::memory_order_relaxed);
  // Before the timer is armed: one in the past is raised at once.
  plane_->control().withdraw_deadline();
  timer_.arm(at);
}

void LiveDevice::check_deadline() noexcept {
  if (!timer_.acknowledge()) return;
  const double at = deadline_.load(std::memory_order_relaxed);
  if (at == kNever) return;
  if (boottime_ms() < at) {
    // Replaced meanwhile, or the timer rounded down.
    timer_.arm(at);
    return;
  }
  double expected = at;
  if (deadline_.compare_exchange_strong(expected, kNever, std::memory_order_relaxed)) {
    plane_->control().raise_deadline();
  }
}

void LiveDevice::follow_link() noexcept {
  std::array<LinkEvent, kLinkEventsMax> events;
  const size_t count = monitor_->poll(events);
  for (size_t i = 0; i < count; ++i) {
    const LinkEvent& event = events[i];
    if (event.change == LinkChange::deleted) {
      // One that moved to another namespace lives on; its news no longer reach us.
      if (!tun_->alive()) raise_deleted();
      workers_[0]->look_up();
      continue;
    }
    if (event.change == LinkChange::mtu) {
      plane_->set_mtu(event.value);
      (void)tun_->follow_mtu(event.value);
    }
    plane_->control().raise_link(event.change, event.value);
  }
}

void LiveDevice::raise_deleted() noexcept {
  if (!deleted_.exchange(true, std::memory_order_relaxed)) plane_->control().raise_link(LinkChange::deleted, 0);
}

uint64_t LiveDevice::sum(Drop which) const noexcept {
  uint64_t total = commands_->counters.get(which);
  for (const auto& worker : workers_) total += worker->counters().get(which);
  return total;
}

uint64_t LiveDevice::sum(Total which) const noexcept {
  uint64_t total = commands_->counters.get(which);
  for (const auto& worker : workers_) total += worker->counters().get(which);
  return total;
}

uint64_t LiveDevice::worker_wakes() const noexcept {
  uint64_t total = 0;
  for (const auto& worker : workers_) total += worker->wakes();
  return total;
}

void LiveDevice::close() noexcept {
  if (closed_) return;
  closed_ = true;
  for (auto& worker : workers_) worker->stop();
  timer_.disarm();
  if (plane_ == nullptr) return;
  sockets_.clear();
  plane_->set_bound(false);
  plane_->close(now());
  tun_.reset();
}

}  // namespace warren
