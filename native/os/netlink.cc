// rtnetlink requests about one link. See netlink.h.
#include "os/netlink.h"

#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace warren::netlink {

LinkRequest::LinkRequest(uint16_t type, uint16_t flags, uint32_t interface_index) noexcept {
  auto* header = reinterpret_cast<nlmsghdr*>(buffer_);
  header->nlmsg_len = NLMSG_LENGTH(sizeof(ifinfomsg));
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  auto* body = static_cast<ifinfomsg*>(NLMSG_DATA(header));
  body->ifi_family = AF_UNSPEC;
  body->ifi_index = static_cast<int>(interface_index);
}

void LinkRequest::add_u32(uint16_t attribute, uint32_t value) noexcept {
  auto* header = reinterpret_cast<nlmsghdr*>(buffer_);
  const std::size_t at = NLMSG_ALIGN(header->nlmsg_len);
  if (at + RTA_SPACE(sizeof value) > sizeof buffer_) return;  // three attributes at most are ever added
  auto* rta = reinterpret_cast<rtattr*>(buffer_ + at);
  rta->rta_type = attribute;
  rta->rta_len = RTA_LENGTH(sizeof value);
  std::memcpy(RTA_DATA(rta), &value, sizeof value);
  header->nlmsg_len = static_cast<uint32_t>(at + RTA_SPACE(sizeof value));
}

std::size_t LinkRequest::size() const noexcept { return reinterpret_cast<const nlmsghdr*>(buffer_)->nlmsg_len; }

Result<UniqueFd> open_socket(uint32_t groups, bool non_blocking) noexcept {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (non_blocking ? SOCK_NONBLOCK : 0), NETLINK_ROUTE));
  if (!fd) return Error{errno, "open an rtnetlink socket"};
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  self.nl_groups = groups;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&self), sizeof self) < 0) return Error{errno, "bind the rtnetlink socket"};
  return fd;
}

Status send(int fd, const LinkRequest& request) noexcept {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = ::sendto(fd, request.data(), request.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Error{errno, "send to rtnetlink"};
  return {};
}

namespace {

struct Answer {
  bool complete = false;
  int error = 0;
  bool has_link = false;
  LinkState link{};

  void take(const nlmsghdr& message) noexcept {
    if (complete) return;
    if (message.nlmsg_type == RTM_NEWLINK) has_link = parse_link(message, link);
    if (message.nlmsg_type != NLMSG_ERROR) return;
    complete = true;
    error = message.nlmsg_len < NLMSG_LENGTH(sizeof(nlmsgerr)) ? EPROTO : -static_cast<const nlmsgerr*>(NLMSG_DATA(&message))->error;
  }
};

// Reads until the acknowledgement (or error) of the one request on this socket.
Result<Answer> await(int fd) noexcept {
  alignas(nlmsghdr) unsigned char buffer[16384];
  Answer answer;
  while (!answer.complete) {
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return Error{errno, "read from rtnetlink"};
    }
    for_each_message(buffer, static_cast<std::size_t>(got), [&answer](const nlmsghdr& message) { answer.take(message); });
  }
  return answer;
}

}  // namespace

Status transact(const LinkRequest& request, const char* step) noexcept {
  auto fd = open_socket(0, false);
  if (!fd) return fd.error();
  if (const Status sent = send(fd->get(), request); !sent) return sent;
  const auto answer = await(fd->get());
  if (!answer) return answer.error();
  if (answer.value().error != 0) return Error{answer.value().error, step};
  return {};
}

bool parse_link(const nlmsghdr& message, LinkState& state) noexcept {
  if (message.nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) return false;
  const auto* body = static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  state.index = static_cast<uint32_t>(body->ifi_index);
  state.up = (body->ifi_flags & IFF_UP) != 0;
  int left = static_cast<int>(message.nlmsg_len - NLMSG_LENGTH(sizeof(ifinfomsg)));
  for (const rtattr* rta = IFLA_RTA(body); RTA_OK(rta, left); rta = RTA_NEXT(rta, left)) {
    if (rta->rta_type == IFLA_MTU && RTA_PAYLOAD(rta) >= sizeof state.mtu) std::memcpy(&state.mtu, RTA_DATA(rta), sizeof state.mtu);
  }
  return true;
}

Result<LinkState> get_link(uint32_t interface_index) noexcept {
  auto fd = open_socket(0, false);
  if (!fd) return fd.error();
  const LinkRequest request(RTM_GETLINK, NLM_F_ACK, interface_index);
  if (const Status sent = send(fd->get(), request); !sent) return sent.error();
  const auto answer = await(fd->get());
  if (!answer) return answer.error();
  if (answer.value().error != 0) return Error{answer.value().error, "look up the interface"};
  if (!answer.value().has_link) return Error{EPROTO, "look up the interface"};
  return answer.value().link;
}

}  // namespace warren::netlink
