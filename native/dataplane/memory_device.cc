// See memory_device.h. Outputs are flat byte strings, decoded in src/dataplane/native/memory-plane.ts.
// Leaves out batches: every packet is one.

#include "dataplane/memory_device.h"

#include <cstring>
#include <utility>

namespace warren {

namespace {

/** What `bind` with port 0 gives: there is no one to share ports with. */
constexpr uint16_t kAnyPort = 51'820;

void append(std::vector<uint8_t>& to, const void* bytes, size_t length) {
  const auto* from = static_cast<const uint8_t*>(bytes);
  to.insert(to.end(), from, from + length);
}

SocketAddress address_of(const LocalSource& local) noexcept {
  const auto port = static_cast<uint16_t>(local.interface_index >> 16);
  if (local.family == AF_INET) return SocketAddress::from_ipv4(local.address, port);
  if (local.family == AF_INET6) return SocketAddress::from_ipv6(local.address, port, local.interface_index & 0xffff);
  return SocketAddress{};
}

}  // namespace

LocalSource memory_local(const SocketAddress& local) noexcept {
  LocalSource source;
  source.family = local.family();
  source.interface_index = uint32_t{local.port()} << 16 | (local.scope_id() & 0xffff);
  const auto bytes = local.bytes();
  std::memcpy(source.address, bytes.data(), bytes.size());
  return source;
}

SendReport MemorySink::send(std::span<SendRun> runs) noexcept {
  SendReport report;
  std::vector<uint8_t> bytes;
  for (SendRun& run : runs) {
    bytes.clear();
    for (const iovec& part : run.parts) append(bytes, part.iov_base, part.iov_len);
    const SocketAddress source = address_of(run.source);
    const size_t step = run.segment_size == 0 ? bytes.size() : run.segment_size;
    size_t at = 0;
    do {
      const size_t left = bytes.size() - at;
      const auto length = static_cast<uint32_t>(left < step ? left : step);
      append(udp, &run.destination, sizeof run.destination);
      append(udp, &source, sizeof source);
      append(udp, &length, sizeof length);
      append(udp, bytes.data() + at, length);
      at += length;
      ++run.datagrams_sent;
      ++report.datagrams_sent;
      ++report.calls;
    } while (at < bytes.size());
  }
  return report;
}

bool MemorySink::write(std::span<const iovec> pieces) noexcept {
  uint32_t length = 0;
  for (const iovec& piece : pieces) length += static_cast<uint32_t>(piece.iov_len);
  append(tun, &length, sizeof length);
  for (const iovec& piece : pieces) append(tun, piece.iov_base, piece.iov_len);
  return true;
}

MemoryDevice::MemoryDevice(const PlaneOptions& options, Waker& waker, std::unique_ptr<Aead> aead)
    : context_(sink_, std::move(aead), nullptr), plane_(options, waker, context_) {}

BindOutcome MemoryDevice::bind(uint16_t port, uint32_t) noexcept {
  plane_.set_bound(true);
  return {0, port == 0 ? kAnyPort : port};
}

void MemoryDevice::unbind() noexcept { plane_.set_bound(false); }

void MemoryDevice::set_deadline(double at) noexcept {
  plane_.control().withdraw_deadline();
  deadline_ = at;
  check_deadline();
}

void MemoryDevice::set_now(double now) noexcept {
  now_ = now;
  check_deadline();
}

void MemoryDevice::check_deadline() noexcept {
  if (closed_ || now_ < deadline_) return;
  deadline_ = std::numeric_limits<double>::infinity();
  plane_.control().raise_deadline();
  plane_.control().wake_if_due(context_.counters);
}

void MemoryDevice::set_mtu(uint32_t mtu) noexcept {
  if (mtu == plane_.mtu()) return;
  plane_.set_mtu(mtu);
  plane_.control().raise_link(LinkChange::mtu, mtu);
  plane_.control().wake_if_due(context_.counters);
}

void MemoryDevice::tun_input(std::span<const uint8_t> packet) noexcept {
  if (closed_) return;
  plane_.begin_batch(context_, now_);
  plane_.outbound(context_, VirtioNetHeader{}, packet);
  plane_.end_batch(context_);
}

void MemoryDevice::udp_input(std::span<const uint8_t> datagram, const SocketAddress& source,
                             const SocketAddress& local, uint8_t tos) noexcept {
  if (!plane_.bound()) return;
  received_.assign(datagram.begin(), datagram.end());
  ReceivedRun run;
  run.data = received_.data();
  run.length = static_cast<uint32_t>(received_.size());
  run.segment_size = run.length;
  run.source = source;
  run.local = memory_local(local);
  run.tos = tos;
  plane_.begin_batch(context_, now_);
  plane_.inbound(context_, {&run, 1});
  plane_.end_batch(context_);
}

void MemoryDevice::close() noexcept {
  if (closed_) return;
  closed_ = true;
  unbind();
  plane_.close(now_);
}

}  // namespace warren
