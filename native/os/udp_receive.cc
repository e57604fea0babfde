// recvmmsg with UDP_GRO into preallocated buffers. See udp_socket.h.
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "os/udp_socket.h"

namespace warren {
namespace {

constexpr std::size_t kControlBytes = 128;
struct alignas(cmsghdr) Control {
  uint8_t bytes[kControlBytes];
};
static_assert(kControlBytes >= CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo)) + 2 * CMSG_SPACE(sizeof(int)));

constexpr std::size_t kCacheLine = 64;
struct AlignedDelete {
  void operator()(uint8_t* memory) const noexcept { ::operator delete(memory, std::align_val_t(kCacheLine)); }
};
using AlignedBytes = std::unique_ptr<uint8_t, AlignedDelete>;

template <class T>
T payload_of(const cmsghdr* control) noexcept {
  T value{};
  std::memcpy(&value, CMSG_DATA(control), std::min<std::size_t>(sizeof value, control->cmsg_len - CMSG_LEN(0)));
  return value;
}

void take_control(const cmsghdr* control, ReceivedRun& run) noexcept {
  if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
    const int size = payload_of<int>(control);
    if (size > 0) run.segment_size = static_cast<uint32_t>(size);
  } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
    const auto info = payload_of<in_pktinfo>(control);
    run.local.family = AF_INET;
    run.local.interface_index = static_cast<uint32_t>(info.ipi_ifindex);
    std::memcpy(run.local.address, &info.ipi_spec_dst, 4);
  } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
    const auto info = payload_of<in6_pktinfo>(control);
    run.local.family = AF_INET6;
    run.local.interface_index = info.ipi6_ifindex;
    std::memcpy(run.local.address, &info.ipi6_addr, 16);
  } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_TOS) {
    run.tos = payload_of<uint8_t>(control);
  } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_TCLASS) {
    run.tos = static_cast<uint8_t>(payload_of<int>(control));
  }
}

// What the socket itself cannot get over, as opposed to an error that an earlier datagram left behind.
bool is_broken(int code) noexcept { return code == EBADF || code == ENOTSOCK || code == EFAULT || code == EINVAL; }

}  // namespace

struct ReceiveBatch::Storage {
  AlignedBytes memory;
  uint32_t buffer_bytes = 0;
  std::vector<mmsghdr> messages;
  std::vector<iovec> vectors;
  std::vector<SocketAddress> names;
  std::vector<Control> controls;
  std::vector<ReceivedRun> runs;
  std::size_t count = 0;
  // Headers that the kernel has written to and that must be reset before the next call.
  std::size_t used = 0;
  uint64_t truncated = 0;
  uint64_t stale_errors = 0;

  void reset_header(std::size_t i) noexcept {
    msghdr& header = messages[i].msg_hdr;
    header.msg_namelen = sizeof(SocketAddress);
    header.msg_controllen = kControlBytes;
    header.msg_flags = 0;
  }
};

ReceiveBatch::ReceiveBatch(std::unique_ptr<Storage> storage) noexcept : storage_(std::move(storage)) {}
ReceiveBatch::ReceiveBatch(ReceiveBatch&&) noexcept = default;
ReceiveBatch& ReceiveBatch::operator=(ReceiveBatch&&) noexcept = default;
ReceiveBatch::~ReceiveBatch() = default;

Result<ReceiveBatch> ReceiveBatch::create(uint32_t buffers, uint32_t buffer_bytes) noexcept {
  if (buffers == 0 || buffer_bytes == 0) return Error{EINVAL, "allocate receive buffers"};
  // One cache line more than the size: buffers a power of two apart would keep their headers in the same few cache sets.
  const std::size_t stride = (std::size_t{buffer_bytes} + kCacheLine - 1) / kCacheLine * kCacheLine + kCacheLine;
  std::unique_ptr<Storage> storage(new (std::nothrow) Storage);
  if (!storage) return Error{ENOMEM, "allocate receive buffers"};
  // Not zeroed: pages that no datagram ever reaches are never touched.
  storage->memory.reset(static_cast<uint8_t*>(::operator new(stride * buffers, std::align_val_t(kCacheLine), std::nothrow)));
  if (!storage->memory) return Error{ENOMEM, "allocate receive buffers"};
  storage->buffer_bytes = buffer_bytes;
  storage->messages.resize(buffers);
  storage->vectors.resize(buffers);
  storage->names.resize(buffers);
  storage->controls.resize(buffers);
  storage->runs.resize(buffers);
  for (std::size_t i = 0; i < buffers; ++i) {
    storage->vectors[i] = {storage->memory.get() + i * stride, buffer_bytes};
    msghdr& header = storage->messages[i].msg_hdr;
    header.msg_name = &storage->names[i];
    header.msg_iov = &storage->vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = &storage->controls[i];
    storage->reset_header(i);
  }
  return ReceiveBatch(std::move(storage));
}

std::span<ReceivedRun> ReceiveBatch::runs() noexcept { return {storage_->runs.data(), storage_->count}; }
uint32_t ReceiveBatch::capacity() const noexcept { return static_cast<uint32_t>(storage_->runs.size()); }
uint32_t ReceiveBatch::buffer_bytes() const noexcept { return storage_->buffer_bytes; }
uint64_t ReceiveBatch::truncated() const noexcept { return storage_->truncated; }
uint64_t ReceiveBatch::stale_errors() const noexcept { return storage_->stale_errors; }

int UdpSockets::receive(sa_family_t family, ReceiveBatch& batch) noexcept {
  // How many stale errors one call steps over before it lets the caller poll again.
  constexpr int kStaleErrorsMax = 16;
  ReceiveBatch::Storage& storage = *batch.storage_;
  storage.count = 0;
  const int fd = family == AF_INET6 ? fd6() : fd4();
  if (fd < 0) return 0;
  for (std::size_t i = 0; i < storage.used; ++i) storage.reset_header(i);
  storage.used = 0;

  int got = -1;
  for (int tries = 0; tries < kStaleErrorsMax;) {
    got = ::recvmmsg(fd, storage.messages.data(), static_cast<unsigned>(storage.messages.size()), MSG_DONTWAIT, nullptr);
    if (got >= 0) break;
    const int code = errno;
    if (code == EAGAIN) return 0;
    if (code == EINTR) continue;
    if (is_broken(code)) return -code;
    ++storage.stale_errors;
    ++tries;
  }
  if (got <= 0) return 0;
  storage.used = static_cast<std::size_t>(got);

  for (std::size_t i = 0; i < storage.used; ++i) {
    const mmsghdr& message = storage.messages[i];
    // Without the whole control data it is not known where one datagram ends.
    if ((message.msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
      ++storage.truncated;
      continue;
    }
    ReceivedRun& run = storage.runs[storage.count++];
    run = ReceivedRun{};
    run.data = static_cast<uint8_t*>(storage.vectors[i].iov_base);
    run.length = message.msg_len;
    run.segment_size = run.length;
    run.source = storage.names[i];
    msghdr& header = storage.messages[i].msg_hdr;
    for (const cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, const_cast<cmsghdr*>(control))) {
      take_control(control, run);
    }
    run.segment_size = std::min(run.segment_size, run.length);
  }
  return static_cast<int>(storage.count);
}

}  // namespace warren
