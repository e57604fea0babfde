// sendmmsg with UDP_SEGMENT, and what to do when the kernel, a device or a route refuses. See udp_socket.h.
//
//   run → messages of at most max_segments datagrams and 65,507 bytes → one sendmmsg; a message that is refused as a whole
//   goes out again as single datagrams, in its place, so that order within a family holds.
#include <netinet/udp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "os/udp_socket.h"

namespace warren {
namespace {

constexpr std::size_t kVectorsMax = 2 * kRunPartsMax;
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t));
struct alignas(cmsghdr) Control {
  uint8_t bytes[kControlBytes];
};

/** A place in a run's bytes. */
struct Cursor {
  std::size_t part = 0;
  std::size_t offset = 0;
};

struct Message {
  SendRun* run = nullptr;
  Cursor start{};
  uint32_t bytes = 0;
  uint32_t datagrams = 0;
  /** More than one datagram, to be cut by the kernel. */
  bool segmented = false;
  /** Carries the run's source address. */
  bool sourced = false;
  /** Was tried again after an error that an earlier datagram may have left behind. */
  bool retried = false;
};

struct MessageBatch {
  mmsghdr headers[kSendMessagesMax];
  Control controls[kSendMessagesMax];
  Message messages[kSendMessagesMax];
  iovec vectors[kVectorsMax];
  std::size_t count = 0;
  std::size_t vectors_used = 0;
};

/** With a sticky source these may mean that the address is gone: IPv4 gives ENETUNREACH, IPv6 EINVAL, a lost interface ENODEV. */
bool may_be_source(int code) noexcept { return code == EINVAL || code == ENETUNREACH || code == EADDRNOTAVAIL || code == ENODEV; }

/** Errors that an ICMP message for an earlier datagram may have left on the socket. */
bool may_be_stale(int code) noexcept {
  return code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH || code == EHOSTDOWN || code == ENETDOWN || code == EPROTO || code == ENOPROTOOPT;
}

bool is_full(int code) noexcept { return code == EAGAIN || code == ENOBUFS; }

template <class T>
cmsghdr* put(cmsghdr* at, int level, int type, const T& value) noexcept {
  at->cmsg_level = level;
  at->cmsg_type = type;
  at->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(at), &value, sizeof value);
  return reinterpret_cast<cmsghdr*>(reinterpret_cast<uint8_t*>(at) + CMSG_SPACE(sizeof value));
}

cmsghdr* put_source(cmsghdr* at, const LocalSource& source) noexcept {
  if (source.family == AF_INET) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, source.address, 4);
    return put(at, IPPROTO_IP, IP_PKTINFO, info);
  }
  in6_pktinfo info{};
  std::memcpy(&info.ipi6_addr, source.address, 16);
  // Only a link-local address means nothing without its interface; otherwise routing chooses, even after it changed.
  if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = source.interface_index;
  return put(at, IPPROTO_IPV6, IPV6_PKTINFO, info);
}

void write_control(MessageBatch& batch, std::size_t i) noexcept {
  const Message& message = batch.messages[i];
  const SendRun& run = *message.run;
  auto* const first = reinterpret_cast<cmsghdr*>(batch.controls[i].bytes);
  cmsghdr* at = first;
  if (message.sourced) at = put_source(at, run.source);
  if (run.tos != 0) {
    const int tos = run.tos;
    at = run.destination.family() == AF_INET6 ? put(at, IPPROTO_IPV6, IPV6_TCLASS, tos) : put(at, IPPROTO_IP, IP_TOS, tos);
  }
  if (message.segmented) at = put(at, SOL_UDP, UDP_SEGMENT, static_cast<uint16_t>(run.segment_size));
  msghdr& header = batch.headers[i].msg_hdr;
  header.msg_controllen = static_cast<std::size_t>(reinterpret_cast<uint8_t*>(at) - batch.controls[i].bytes);
  header.msg_control = header.msg_controllen == 0 ? nullptr : first;
}

/** Copies the vectors of `bytes` bytes from the cursor on, which moves along. False when there is no room for them; nothing has then changed. */
bool copy_vectors(MessageBatch& batch, const SendRun& run, Cursor& cursor, uint32_t bytes, std::size_t& copied) noexcept {
  Cursor at = cursor;
  copied = 0;
  for (uint32_t left = bytes; left > 0;) {
    const iovec& part = run.parts[at.part];
    const std::size_t here = std::min<std::size_t>(left, part.iov_len - at.offset);
    if (here > 0) {
      if (batch.vectors_used + copied == kVectorsMax || copied == kRunPartsMax) return false;
      batch.vectors[batch.vectors_used + copied++] = {static_cast<uint8_t*>(part.iov_base) + at.offset, here};
    }
    left -= static_cast<uint32_t>(here);
    at.offset += here;
    if (at.offset == part.iov_len) at = {at.part + 1, 0};
  }
  cursor = at;
  return true;
}

}  // namespace

struct SendScratch::Storage {
  SendCall call = nullptr;
  MessageBatch runs;
  /** For a message of `runs` that has to go out as single datagrams. */
  MessageBatch singles;
};

SendScratch::SendScratch(std::unique_ptr<Storage> storage) noexcept : storage_(std::move(storage)) {}
SendScratch::SendScratch(SendScratch&&) noexcept = default;
SendScratch& SendScratch::operator=(SendScratch&&) noexcept = default;
SendScratch::~SendScratch() = default;

Result<SendScratch> SendScratch::create(SendCall call) noexcept {
  std::unique_ptr<Storage> storage(new (std::nothrow) Storage{});
  if (!storage) return Error{ENOMEM, "allocate message headers"};
  // A lambda, since the library's sendmmsg is declared differently by different C libraries.
  storage->call = call != nullptr ? call : [](int fd, mmsghdr* messages, unsigned count, int flags) { return ::sendmmsg(fd, messages, count, flags); };
  return SendScratch(std::move(storage));
}

/** One call of `send` for one family. */
class SendPass {
 public:
  SendPass(UdpSockets& sockets, SendScratch& scratch, SendReport& report, sa_family_t family) noexcept
      : sockets_(sockets),
        storage_(*scratch.storage_),
        report_(report),
        fd_(family == AF_INET6 ? sockets.fd6() : sockets.fd4()),
        gso_(family == AF_INET6 ? sockets.gso6_ : sockets.gso4_) {}

  void add(SendRun& run) noexcept;
  void flush() noexcept { flush(storage_.runs); }

 private:
  enum class Next : uint8_t { retry, done };

  void stage(MessageBatch& batch, SendRun& run, Cursor& cursor, uint32_t bytes, uint32_t datagrams, bool sourced) noexcept;
  void flush(MessageBatch& batch) noexcept;
  Next resolve(MessageBatch& batch, std::size_t i, int code) noexcept;
  void drop_source(MessageBatch& batch, std::size_t from, const SendRun* run) noexcept;
  void send_singly(Message& message) noexcept;
  void count_sent(const Message& message) noexcept;
  void count_failed(SendRun& run, uint32_t datagrams, int code) noexcept;

  UdpSockets& sockets_;
  SendScratch::Storage& storage_;
  SendReport& report_;
  const int fd_;
  std::atomic<bool>& gso_;
};

void SendPass::add(SendRun& run) noexcept {
  std::size_t total = 0;
  for (const iovec& part : run.parts) total += part.iov_len;
  const bool single = run.segment_size == 0 || run.segment_size >= total;
  const std::size_t segment = single ? total : run.segment_size;
  if (fd_ < 0 || segment > kUdpPayloadMax) {
    const auto datagrams = static_cast<uint32_t>(single ? 1 : (total + segment - 1) / segment);
    count_failed(run, datagrams, fd_ < 0 ? EAFNOSUPPORT : EMSGSIZE);
    return;
  }
  const bool sourced = run.source.family != AF_UNSPEC && run.source.family == run.destination.family();
  Cursor cursor;
  if (single) {
    stage(storage_.runs, run, cursor, static_cast<uint32_t>(total), 1, sourced);
    return;
  }
  for (std::size_t left = total; left > 0;) {
    std::size_t segments = 1;
    if (gso_.load(std::memory_order_relaxed)) segments = std::clamp<std::size_t>(kUdpPayloadMax / segment, 1, sockets_.max_segments());
    const std::size_t bytes = std::min(left, segments * segment);
    stage(storage_.runs, run, cursor, static_cast<uint32_t>(bytes), static_cast<uint32_t>((bytes + segment - 1) / segment), sourced && !run.forget_source);
    left -= bytes;
  }
}

void SendPass::stage(MessageBatch& batch, SendRun& run, Cursor& cursor, uint32_t bytes, uint32_t datagrams, bool sourced) noexcept {
  if (batch.count == kSendMessagesMax) flush(batch);
  const Cursor start = cursor;
  std::size_t copied = 0;
  bool fits = run.error == 0 && copy_vectors(batch, run, cursor, bytes, copied);
  if (run.error == 0 && !fits) {
    flush(batch);
    fits = run.error == 0 && copy_vectors(batch, run, cursor, bytes, copied);
  }
  if (!fits) {  // the run has failed already, or is in more than kRunPartsMax parts: a caller's mistake
    count_failed(run, datagrams, run.error != 0 ? run.error : EINVAL);
    return;
  }
  const std::size_t i = batch.count++;
  // The flush above may have found that the source is gone.
  batch.messages[i] = {&run, start, bytes, datagrams, datagrams > 1, sourced && !run.forget_source, false};
  msghdr& header = batch.headers[i].msg_hdr;
  header.msg_name = &run.destination;
  header.msg_namelen = run.destination.size();
  header.msg_iov = batch.vectors + batch.vectors_used;
  header.msg_iovlen = copied;
  header.msg_flags = 0;
  batch.vectors_used += copied;
  write_control(batch, i);
}

void SendPass::flush(MessageBatch& batch) noexcept {
  std::size_t at = 0;
  while (at < batch.count) {
    // After one failure the rest of a run is not tried, so that what left is always its beginning.
    const Message& head = batch.messages[at];
    if (head.run->error != 0) {
      count_failed(*head.run, head.datagrams, head.run->error);
      ++at;
      continue;
    }
    ++report_.calls;
    const int sent = storage_.call(fd_, batch.headers + at, static_cast<unsigned>(batch.count - at), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      for (int n = 0; n < sent && at < batch.count; ++n) count_sent(batch.messages[at++]);
      continue;
    }
    const int code = sent == 0 ? EAGAIN : errno;
    if (code == EINTR) continue;
    if (code == EAGAIN) {  // the socket's buffer is full, for the rest as well
      while (at < batch.count) {
        const Message& message = batch.messages[at++];
        count_failed(*message.run, message.datagrams, code);
      }
      break;
    }
    if (resolve(batch, at, code) == Next::done) ++at;
  }
  batch.count = 0;
  batch.vectors_used = 0;
}

// A source that is gone is left out; a run that the kernel does not cut is cut here; a stale error is overlooked once;
// what remains is an error of this message.
SendPass::Next SendPass::resolve(MessageBatch& batch, std::size_t i, int code) noexcept {
  Message& message = batch.messages[i];
  // Refused as a whole: segments beyond the path's MTU (EMSGSIZE; EINVAL before Linux 6.14), more of them than this kernel
  // takes (EINVAL), a device or route that cannot (EIO). EINVAL may be the source as well: the first single datagram tells.
  if (message.segmented && (code == EINVAL || code == EMSGSIZE || code == EIO)) {
    if (code == EIO) gso_.store(false, std::memory_order_relaxed);
    SendRun* const run = message.run;
    const bool knew = run->forget_source;
    send_singly(message);
    if (!knew && run->forget_source) {
      drop_source(batch, i + 1, run);
    } else if (code == EINVAL && message.datagrams > kSegmentsFloor) {
      sockets_.max_segments_.store(kSegmentsFloor, std::memory_order_relaxed);
    }
    return Next::done;
  }
  if (message.sourced && may_be_source(code)) {
    message.run->forget_source = true;
    drop_source(batch, i, message.run);
    return Next::retry;
  }
  if (may_be_stale(code) && !message.retried) {
    message.retried = true;
    return Next::retry;
  }
  count_failed(*message.run, message.datagrams, code);
  return Next::done;
}

void SendPass::drop_source(MessageBatch& batch, std::size_t from, const SendRun* run) noexcept {
  for (std::size_t i = from; i < batch.count && batch.messages[i].run == run; ++i) {
    batch.messages[i].sourced = false;
    write_control(batch, i);
  }
}

void SendPass::send_singly(Message& message) noexcept {
  Cursor cursor = message.start;
  for (uint32_t left = message.bytes; left > 0;) {
    const uint32_t bytes = std::min(left, message.run->segment_size);
    stage(storage_.singles, *message.run, cursor, bytes, 1, message.sourced);
    left -= bytes;
  }
  flush(storage_.singles);
}

void SendPass::count_sent(const Message& message) noexcept {
  message.run->datagrams_sent += message.datagrams;
  report_.datagrams_sent += message.datagrams;
  report_.bytes_sent += message.bytes;
}

void SendPass::count_failed(SendRun& run, uint32_t datagrams, int code) noexcept {
  if (is_full(code)) report_.full_family = run.destination.family();
  run.error = code;
  run.datagrams_failed += datagrams;
  (is_full(code) ? report_.datagrams_full : report_.datagrams_failed) += datagrams;
}

SendReport UdpSockets::send(SendScratch& scratch, std::span<SendRun> runs) noexcept {
  SendReport report;
  bool any6 = false;
  SendPass pass4(*this, scratch, report, AF_INET);
  for (SendRun& run : runs) {
    run.forget_source = false;
    run.error = 0;
    run.datagrams_sent = 0;
    run.datagrams_failed = 0;
    // Families one after the other: runs that alternate would otherwise cost a call each.
    if (run.destination.family() == AF_INET6) {
      any6 = true;
    } else {
      pass4.add(run);
    }
  }
  pass4.flush();
  if (!any6) return report;
  SendPass pass6(*this, scratch, report, AF_INET6);
  for (SendRun& run : runs) {
    if (run.destination.family() == AF_INET6) pass6.add(run);
  }
  pass6.flush();
  return report;
}

}  // namespace warren
