// NetlinkSocket on interfaces of the test's own namespace: whole datagrams, of the kernel alone, and losses told.
#include "os/netlink_socket.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <vector>

#include "os/netlink.h"
#include "os_test_support.h"

namespace warren::test {
namespace {

struct Link {
  Link() {
    enter_namespace();
    shell("ip link add oslink type veth peer name ospeer");
  }
  Link(const Link&) = delete;
  ~Link() { shell("ip link del oslink 2>/dev/null || true"); }
  uint32_t index() const { return ::if_nametoindex("oslink"); }
};

NetlinkSocket open_socket(uint32_t groups = 0, uint32_t receive_buffer_bytes = 0) {
  return must(NetlinkSocket::open({NETLINK_ROUTE, groups, receive_buffer_bytes}));
}

std::span<const uint8_t> bytes_of(const netlink::LinkRequest& request) {
  return {static_cast<const uint8_t*>(request.data()), request.size()};
}

/** Types of the messages in everything that waits. */
std::vector<uint16_t> types_of(NetlinkSocket& socket) {
  std::vector<uint16_t> types;
  for (;;) {
    const auto datagram = must(socket.receive());
    if (datagram.empty()) return types;
    netlink::for_each_message(datagram.data(), datagram.size(),
                              [&types](const nlmsghdr& message) { types.push_back(message.nlmsg_type); });
  }
}

void set_mtu(uint32_t index, uint32_t mtu) {
  netlink::LinkRequest request(RTM_SETLINK, NLM_F_ACK, index);
  request.add_u32(IFLA_MTU, mtu);
  must(netlink::transact(request, "set the MTU"));
}

TEST("a request is answered, and then nothing waits") {
  const Link link;
  NetlinkSocket socket = open_socket();
  CHECK(must(socket.receive()).empty());
  must(socket.send(bytes_of(netlink::LinkRequest(RTM_GETLINK, NLM_F_ACK, link.index()))));
  CHECK(types_of(socket) == (std::vector<uint16_t>{RTM_NEWLINK, NLMSG_ERROR}));
  CHECK(must(socket.receive()).empty());
  CHECK(!is_ready(socket.fd()));
}

TEST("the datagrams of a long list arrive whole") {
  const Link link;
  shell("ip link set oslink up && ip link set ospeer up");
  // A list grows with what it lists, and the kernel fills datagrams up to 32 KiB.
  for (int i = 0; i < 64; ++i) shell("ip link add osl" + std::to_string(i) + " type veth peer name osp" + std::to_string(i));
  NetlinkSocket socket = open_socket();
  must(socket.send(bytes_of(netlink::LinkRequest(RTM_GETLINK, NLM_F_DUMP, 0))));
  std::size_t longest = 0;
  int links = 0;
  bool done = false;
  while (!done) {
    await_ready(socket.fd());
    const auto datagram = must(socket.receive());
    longest = std::max(longest, datagram.size());
    std::size_t read = 0;
    netlink::for_each_message(datagram.data(), datagram.size(), [&](const nlmsghdr& message) {
      read += NLMSG_ALIGN(message.nlmsg_len);
      if (message.nlmsg_type == RTM_NEWLINK) ++links;
      if (message.nlmsg_type == NLMSG_DONE) done = true;
    });
    CHECK_EQ(read, datagram.size());
  }
  CHECK(links >= 130);
  CHECK(longest > 8192);
  for (int i = 0; i < 64; ++i) shell("ip link del osl" + std::to_string(i));
}

TEST("news of the groups arrive unasked") {
  const Link link;
  NetlinkSocket socket = open_socket(RTMGRP_LINK);
  set_mtu(link.index(), 1300);
  await_ready(socket.fd());
  CHECK(types_of(socket) == (std::vector<uint16_t>{RTM_NEWLINK}));
}

TEST("lost messages are told once, and what comes later arrives") {
  const Link link;
  NetlinkSocket socket = open_socket(RTMGRP_LINK, 1);
  for (uint32_t i = 0; i < 64; ++i) set_mtu(link.index(), 1000 + i);
  bool told = false;
  for (;;) {
    const auto received = socket.receive();
    if (!received.ok()) {
      CHECK_EQ(received.error().code, ENOBUFS);
      CHECK(!told);
      told = true;
    } else if (received.value().empty()) {
      break;
    }
  }
  CHECK(told);
  const int enough = 1 << 20;
  CHECK(::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUF, &enough, sizeof enough) == 0);
  set_mtu(link.index(), 1400);
  await_ready(socket.fd());
  CHECK(types_of(socket) == (std::vector<uint16_t>{RTM_NEWLINK}));
}

TEST("what another process sends is dropped and counted") {
  enter_namespace();
  // The one protocol on which anybody may send to anybody; only root may on the others.
  NetlinkSocket socket = must(NetlinkSocket::open({NETLINK_USERSOCK, 0, 0}));
  sockaddr_nl self{};
  socklen_t length = sizeof self;
  CHECK(::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&self), &length) == 0);
  const UniqueFd stranger(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK));
  nlmsghdr message{};
  message.nlmsg_len = sizeof message;
  message.nlmsg_type = RTM_NEWLINK;
  for (int i = 0; i < 100; ++i) {
    CHECK(::sendto(stranger.get(), &message, sizeof message, 0, reinterpret_cast<sockaddr*>(&self), sizeof self) > 0);
  }
  // In portions: a flood may not hold up the caller for ever.
  CHECK(must(socket.receive()).empty());
  CHECK(must(socket.receive()).empty());
  CHECK_EQ(socket.strangers(), uint64_t{100});
  CHECK(!is_ready(socket.fd()));
}

TEST("a protocol that there is not is an error that names the step") {
  const auto socket = NetlinkSocket::open({31, 0, 0});
  CHECK(!socket.ok());
  CHECK_EQ(socket.error().code, EPROTONOSUPPORT);
  CHECK(std::strstr(socket.error().step, "netlink") != nullptr);
}

}  // namespace
}  // namespace warren::test
