// See worker.h. The thread holds the device lock while it reads, works and sends one turn, and never while it polls.
// Leaves out spinning: measured, it did not pay.

#include "dataplane/worker.h"

#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "aead/aead.h"
#include "os/tun.h"

namespace warren {

namespace {

/** Buffers of one recvmmsg: with GRO up to 64 KiB each. 8 to 32 measured alike; fewer keep commands waiting less. */
constexpr uint32_t kReceiveBuffers = 16;
/** A turn of the TUN: so many reads, or about so many bytes, then the network has its turn. */
constexpr int kReadsPerTurn = 64;
constexpr size_t kBytesPerTurn = 256 * 1024;
/** Turns before the other sources are looked at again. */
constexpr int kTurnsMax = 32;

}  // namespace

Worker::Worker(LiveDevice& device, size_t queue, WakeEvent wake, ReceiveBatch batch, std::unique_ptr<LiveSink> sink,
               std::unique_ptr<Context> context) noexcept
    : device_(device),
      queue_(queue),
      wake_(std::move(wake)),
      batch_(std::move(batch)),
      sink_(std::move(sink)),
      context_(std::move(context)) {
  if (device_.tun_.has_value()) tun_buffer_ = std::make_unique_for_overwrite<uint8_t[]>(kTunReadMax);
}

Worker::~Worker() { stop(); }

Result<std::unique_ptr<Worker>> Worker::create(LiveDevice& device, size_t queue) noexcept {
  auto wake = WakeEvent::create();
  if (!wake.ok()) return wake.error();
  auto batch = ReceiveBatch::create(kReceiveBuffers);
  if (!batch.ok()) return batch.error();
  auto scratch = SendScratch::create();
  if (!scratch.ok()) return scratch.error();
  auto aead = make_aead();
  if (aead == nullptr) return Error{ENOSYS, "find a ChaCha20-Poly1305 implementation"};
  auto sink = std::make_unique<LiveSink>(device, queue, std::move(*scratch));
  const TunFeatures& features = device.tun_features();
  std::unique_ptr<Coalescer> coalescer;
  if (device.tun_.has_value()) {
    // Super-packets may be written whenever there is a header to say so; USO only where the kernel knows it.
    coalescer = std::make_unique<Coalescer>(
        CoalesceOffloads{features.vnet_hdr, device.options_.tun_offloads && features.vnet_hdr, features.uso});
  }
  auto context = std::make_unique<Context>(*sink, std::move(aead), std::move(coalescer));
  return std::unique_ptr<Worker>(new Worker(device, queue, std::move(*wake), std::move(*batch), std::move(sink),
                                            std::move(context)));
}

Status Worker::start() noexcept {
  // Signals are the main thread's business.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(
      &thread_, nullptr,
      [](void* self) -> void* {
        static_cast<Worker*>(self)->run();
        return nullptr;
      },
      this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Error{error, "start a worker thread"};
  started_ = true;
  char name[16];
  std::snprintf(name, sizeof name, "warren-%zu", queue_);
  pthread_setname_np(thread_, name);
  return Status{};
}

void Worker::look_up() noexcept {
  asked_.fetch_add(1, std::memory_order_release);
  attention_.store(true, std::memory_order_relaxed);
  wake_.signal();
}

void Worker::look_up_and_wait() noexcept {
  look_up();
  if (!started_) return;
  const uint32_t wanted = asked_.load(std::memory_order_relaxed);
  for (;;) {
    const uint32_t collected = collected_.load(std::memory_order_acquire);
    if (static_cast<int32_t>(collected - wanted) >= 0) return;
    collected_.wait(collected, std::memory_order_acquire);
  }
}

void Worker::stop() noexcept {
  if (!started_) return;
  stopping_.store(true, std::memory_order_relaxed);
  look_up();
  pthread_join(thread_, nullptr);
  started_ = false;
}

void Worker::run() noexcept {
  collect_sources();
  while (!stopping_.load(std::memory_order_relaxed)) {
    // While nothing happens no key stays in this thread's cipher.
    context_->aead->forget();
    const int count = ::poll(sources_.data(), sources_.size(), -1);
    wakes_.store(wakes_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (count < 0) continue;  // EINTR; anything else would be our own mistake with the array
    if (ready(kWake)) {
      wake_.drain();
      attention_.store(false, std::memory_order_relaxed);
      collect_sources();
      continue;
    }
    if (ready(kTimer)) device_.check_deadline();
    if (ready(kLink)) device_.follow_link();
    drain();
    device_.plane().control().wake_if_due(context_->counters);
  }
}

void Worker::collect_sources() noexcept {
  const uint32_t asked = asked_.load(std::memory_order_acquire);
  for (pollfd& source : sources_) source = {-1, POLLIN, 0};
  sources_[kWake].fd = wake_.fd();
  const bool tun = device_.tun_.has_value() && !device_.deleted_.load(std::memory_order_relaxed);
  if (tun) sources_[kTun].fd = device_.tun_->queue_fd(queue_);
  if (queue_ == 0) {
    sources_[kTimer].fd = device_.timer_.fd();
    if (device_.monitor_.has_value() && !device_.monitor_->deleted()) sources_[kLink].fd = device_.monitor_->fd();
  }
  DeviceLock& lock = device_.plane().lock();
  lock.lock_shared();
  if (!device_.sockets_.empty()) {
    sources_[kUdp4].fd = device_.sockets_[queue_]->fd4();
    sources_[kUdp6].fd = device_.sockets_[queue_]->fd6();
  }
  lock.unlock_shared();
  collected_.store(asked, std::memory_order_release);
  collected_.notify_all();
}

/** Both directions take turns until neither has anything left. */
void Worker::drain() noexcept {
  bool tun = ready(kTun);
  bool udp4 = ready(kUdp4);
  bool udp6 = ready(kUdp6);
  for (int turn = 0; (tun || udp4 || udp6) && turn < kTurnsMax; ++turn) {
    if (tun) tun = drain_tun();
    if (udp4) udp4 = drain_udp(AF_INET);
    if (udp6) udp6 = drain_udp(AF_INET6);
    if (attention_.load(std::memory_order_relaxed)) return;
  }
}

/** One turn of the TUN; false when it is empty. */
bool Worker::drain_tun() noexcept {
  const size_t header_bytes = device_.tun_features().vnet_hdr ? kVnetHeaderBytes : 0;
  Plane& plane = device_.plane();
  plane.begin_batch(*context_, boottime_ms());
  bool more = true;
  size_t bytes = 0;
  for (int i = 0; more && i < kReadsPerTurn && bytes < kBytesPerTurn; ++i) {
    const ssize_t length = device_.tun_->read(queue_, {tun_buffer_.get(), kTunReadMax});
    if (length < 0) {
      more = tun_failed(length);
      break;
    }
    bytes += static_cast<size_t>(length);
    VirtioNetHeader header{};
    if (static_cast<size_t>(length) < header_bytes) continue;
    std::memcpy(&header, tun_buffer_.get(), header_bytes);
    plane.outbound(*context_, header, {tun_buffer_.get() + header_bytes, static_cast<size_t>(length) - header_bytes});
  }
  plane.end_batch(*context_);
  return more;
}

/** False: nothing to read for now, or for ever. */
bool Worker::tun_failed(ssize_t error) noexcept {
  if (error == -EINTR) return true;
  if (error == -EAGAIN) return false;
  if (!device_.tun_->alive()) device_.raise_deleted();
  // A source that fails is not polled again, or poll(2) would never sleep.
  sources_[kTun].fd = -1;
  return false;
}

/** One receive call; false when the socket is empty. */
bool Worker::drain_udp(sa_family_t family) noexcept {
  Plane& plane = device_.plane();
  plane.begin_batch(*context_, boottime_ms());
  int count = 0;
  if (!device_.sockets_.empty()) {
    count = device_.sockets_[queue_]->receive(family, batch_);
    if (count > 0) plane.inbound(*context_, batch_.runs().first(static_cast<size_t>(count)));
    if (count < 0) sources_[family == AF_INET6 ? kUdp6 : kUdp4].fd = -1;
  }
  plane.end_batch(*context_);
  return count == static_cast<int>(batch_.capacity());
}

}  // namespace warren
