// Each datagram is measured before it is read (MSG_PEEK | MSG_TRUNC), so that none is ever cut. See netlink_socket.h.
#include "os/netlink_socket.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace warren {

namespace {

/** What a dump fills at most, so that the kernel uses all of it. */
constexpr std::size_t kFirstRoom = 32'768;
/** Datagrams of strangers dropped in one call; then the caller looks at its other work. */
constexpr int kStrangersPerCall = 64;

void set_option(int fd, int level, int option, int value) noexcept { ::setsockopt(fd, level, option, &value, sizeof value); }

}  // namespace

Result<NetlinkSocket> NetlinkSocket::open(const NetlinkOptions& options) noexcept {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, options.protocol));
  if (!fd) return Error{errno, "open a netlink socket"};
  // Conveniences, each of which an old kernel may lack: reasons in words, errors without the request in them, dumps that
  // the kernel filters.
  set_option(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, 1);
  set_option(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, 1);
  set_option(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  if (options.receive_buffer_bytes != 0) {
    const int bytes = static_cast<int>(std::min<uint32_t>(options.receive_buffer_bytes, 1u << 29));
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
      set_option(fd.get(), SOL_SOCKET, SO_RCVBUF, bytes);
    }
  }
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  self.nl_groups = options.groups;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&self), sizeof self) < 0) return Error{errno, "bind the netlink socket"};
  return NetlinkSocket(std::move(fd));
}

Status NetlinkSocket::send(std::span<const uint8_t> datagram) noexcept {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = ::sendto(fd_.get(), datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Error{errno, "send to netlink"};
  return {};
}

Result<std::span<const uint8_t>> NetlinkSocket::receive() noexcept {
  for (int dropped = 0; dropped < kStrangersPerCall;) {
    const ssize_t length = ::recv(fd_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return Error{errno, "read from netlink"};
    }
    const bool fits = static_cast<std::size_t>(length) <= kDatagramMax;
    if (fits) make_room(static_cast<std::size_t>(length));

    sockaddr_nl sender{};
    iovec part{buffer_.get(), capacity_};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t got = ::recvmsg(fd_.get(), &message, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return Error{errno, "read from netlink"};
    }
    // Only the kernel has the address 0; a process has another.
    if (message.msg_namelen != sizeof sender || sender.nl_pid != 0) {
      ++strangers_;
      ++dropped;
      continue;
    }
    if (!fits || (message.msg_flags & MSG_TRUNC) != 0) return Error{EMSGSIZE, "read from netlink"};
    if (got > 0) return std::span<const uint8_t>(buffer_.get(), static_cast<std::size_t>(got));
  }
  return std::span<const uint8_t>();
}

void NetlinkSocket::make_room(std::size_t bytes) noexcept {
  if (bytes <= capacity_) return;
  capacity_ = std::max(bytes, kFirstRoom);
  buffer_ = std::make_unique_for_overwrite<uint8_t[]>(capacity_);
}

}  // namespace warren
