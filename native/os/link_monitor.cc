// Subscription first, then the question for the present state: nothing can fall between the two. See link_monitor.h.
#include "os/link_monitor.h"

#include <sys/socket.h>

#include <cerrno>

#include "os/netlink.h"

namespace warren {

Result<LinkMonitor> LinkMonitor::open(uint32_t interface_index) noexcept {
  auto fd = netlink::open_socket(RTMGRP_LINK, true);
  if (!fd) return fd.error();
  const auto link = netlink::get_link(interface_index);
  if (!link) return link.error();
  LinkMonitor monitor(std::move(fd.value()), interface_index);
  monitor.up_ = link.value().up;
  monitor.mtu_ = link.value().mtu;
  return monitor;
}

std::size_t LinkMonitor::poll(std::span<LinkEvent, kLinkEventsMax> events) noexcept {
  const bool was_up = up_;
  const bool was_deleted = deleted_;
  const uint32_t old_mtu = mtu_;
  drain();

  std::size_t count = 0;
  if (deleted_) {
    if (!was_deleted) events[count++] = {LinkChange::deleted};
    return count;
  }
  if (mtu_ != old_mtu) events[count++] = {LinkChange::mtu, mtu_};
  if (up_ != was_up) events[count++] = {up_ ? LinkChange::up : LinkChange::down};
  return count;
}

void LinkMonitor::drain() noexcept {
  // When messages were lost, what they said is asked for afresh; the answer comes on this socket. Not before all else was
  // read: an overrun socket takes nothing until it is empty.
  constexpr int kRequestsMax = 16;
  for (int requests = 0; read_all() && requests < kRequestsMax; ++requests) {
    if (!request()) return;
  }
}

bool LinkMonitor::read_all() noexcept {
  alignas(nlmsghdr) unsigned char buffer[16384];
  bool lost = false;
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno != ENOBUFS) return lost;
      lost = true;
      continue;
    }
    netlink::for_each_message(buffer, static_cast<std::size_t>(got), [this](const nlmsghdr& message) { take(message); });
  }
}

void LinkMonitor::take(const nlmsghdr& message) noexcept {
  if (message.nlmsg_type == NLMSG_ERROR) {  // only ever the answer to `request`
    if (message.nlmsg_len >= NLMSG_LENGTH(sizeof(nlmsgerr)) && static_cast<const nlmsgerr*>(NLMSG_DATA(&message))->error == -ENODEV)
      deleted_ = true;
    return;
  }
  if (message.nlmsg_type != RTM_NEWLINK && message.nlmsg_type != RTM_DELLINK) return;
  netlink::LinkState state{0, up_, mtu_};
  if (!netlink::parse_link(message, state) || state.index != index_) return;
  // A bridge tells of a port's departure with a DELLINK of its own family; the interface itself stays.
  if (message.nlmsg_type == RTM_DELLINK) {
    if (static_cast<const ifinfomsg*>(NLMSG_DATA(&message))->ifi_family == AF_UNSPEC) deleted_ = true;
    return;
  }
  up_ = state.up;
  mtu_ = state.mtu;
}

Status LinkMonitor::request() noexcept { return netlink::send(fd_.get(), netlink::LinkRequest(RTM_GETLINK, 0, index_)); }

}  // namespace warren
