// The live device between two network namespaces: real TUNs, real sockets on a veth pair, static sessions. What the kernel
// does to a plane: carrying, offloads, links that come and go, taken ports, refused datagrams, garbage, idleness, the end.

#include <atomic>

#include "core_live_support.h"

using namespace warren;
using namespace warren::test;

namespace {

void send_raw(const SocketAddress& to, const Bytes& datagram) {
  const UniqueFd fd(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  CHECK(::sendto(fd.get(), datagram.data(), datagram.size(), 0, &to.any, to.size()) == static_cast<ssize_t>(datagram.size()));
}

}  // namespace

TEST("packets pass, both families inside and outside") {
  Tunnel tunnel;
  ping("-c 2 -i 0.01 10.9.0.2");
  ping("-c 2 -i 0.01 fd09::2");
  tunnel.over_ipv6();
  ping("-c 2 -i 0.01 10.9.0.2");
  ping("-c 2 -i 0.01 -s 1372 fd09::2");
  // Larger than the tunnel's MTU: in fragments inside.
  ping("-c 1 -s 8000 10.9.0.2");
  CHECK_EQ(tunnel.here->device->sum(Drop::tunWriteFailed), uint64_t{0});
  CHECK_EQ(tunnel.there->device->sum(Drop::inBadTag), uint64_t{0});
}

TEST("a TCP stream passes unharmed, in super-packets and long runs") {
  Tunnel tunnel;
  transfer(tunnel, 8 << 20);
  const LiveDevice& from = *tunnel.here->device;
  const LiveDevice& to = *tunnel.there->device;
  const uint64_t packets = from.sum(Total::tunPacketsIn);
  CHECK(packets > 5000);
  if (from.tun_features().tso) CHECK(from.sum(Total::tunReads) * 4 < packets);
  if (from.first_sockets()->gso()) CHECK(from.sum(Total::udpSendCalls) * 4 < packets);
  if (to.tun_features().vnet_hdr && to.first_sockets()->gro()) CHECK(to.sum(Total::tunWrites) * 2 < to.sum(Total::tunPacketsOut));
}

TEST("the same without any offload of the kernel's") {
  Tunnel tunnel(1, false);
  CHECK(!tunnel.here->device->tun_features().vnet_hdr);
  ping("-c 2 -i 0.01 fd09::2");
  transfer(tunnel, 1 << 20);
}

TEST("the same with two queues and two threads") {
  Tunnel tunnel(2);
  CHECK_EQ(tunnel.here->device->queues(), size_t{2});
  ping("-c 2 -i 0.01 10.9.0.2");
  for (int i = 0; i < 4; ++i) transfer(tunnel, 1 << 20);
}

TEST("garbage, empty and oversized datagrams end nothing") {
  Tunnel tunnel;
  for (const bool ipv6 : {false, true}) {
    tunnel.other.run([&] {
      const uint16_t port = tunnel.here->port;
      const SocketAddress to = ipv6 ? address6("fd00:1::1", port) : address4("192.0.2.1", port);
      send_raw(to, {});
      send_raw(to, Bytes(1, 4));
      send_raw(to, pattern(65'000, 1));
      Bytes data = pattern(60'000, 2);
      std::memcpy(data.data(), "\4\0\0\0\1\0\0\0", 8);
      send_raw(to, data);
    });
  }
  ping("-c 1 10.9.0.2");
  CHECK_EQ(tunnel.here->device->sum(Drop::inBadTag), uint64_t{2});
  CHECK_EQ(tunnel.here->device->sum(Drop::inUnknownType), uint64_t{6});
}

TEST("link and deadline are told, and a deleted interface ends no thread") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  here.await(DescriptorKind::link, static_cast<uint32_t>(LinkChange::up));
  shell("ip link set wt0 mtu 1300");
  CHECK_EQ(here.await(DescriptorKind::link, static_cast<uint32_t>(LinkChange::mtu)).value2, 1300u);
  CHECK_EQ(here.plane().mtu(), 1300u);
  ping("-c 1 -s 3000 10.9.0.2");
  shell("ip link set wt0 down");
  here.await(DescriptorKind::link, static_cast<uint32_t>(LinkChange::down));

  const double at = here.device->now() + 20;
  here.device->set_deadline(at);
  CHECK(here.await(DescriptorKind::deadline).time >= at);
  here.device->set_deadline(here.device->now() - 1);
  here.await(DescriptorKind::deadline);

  shell("ip link del wt0");
  here.await(DescriptorKind::link, static_cast<uint32_t>(LinkChange::deleted));
  const double after = here.device->now() + 10;
  here.device->set_deadline(after);
  here.await(DescriptorKind::deadline);
  // Nobody spins on the dead descriptor: the deadline above was one wake, and there are few.
  const uint64_t wakes = here.device->worker_wakes();
  here.device->set_deadline(here.device->now() + 50);
  here.await(DescriptorKind::deadline);
  CHECK(here.device->worker_wakes() <= wakes + 3);
}

TEST("while nothing happens no thread wakes") {
  Tunnel tunnel;
  ping("-c 1 10.9.0.2");
  Host& here = *tunnel.here;
  // The kernel tells late that links came up: the quiet may begin after a while, but then nothing breaks it.
  for (int attempt = 0;; ++attempt) {
    here.device->set_deadline(here.device->now() + 400);
    const uint64_t wakes = here.device->worker_wakes();
    here.await(DescriptorKind::deadline);
    if (here.device->worker_wakes() == wakes + 1) break;  // the deadline's own
    CHECK(attempt < 10);
  }
}

TEST("a taken port is refused and the old one stays; another port serves at once") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  const uint16_t before = here.port;
  const UniqueFd taken(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  SocketAddress any = address4("0.0.0.0", 0);
  CHECK(::bind(taken.get(), &any.any, any.size()) == 0);
  socklen_t length = sizeof any;
  CHECK(::getsockname(taken.get(), &any.any, &length) == 0);
  CHECK_EQ(here.device->bind(any.port(), 0).error, EADDRINUSE);
  ping("-c 1 10.9.0.2");
  CHECK_EQ(here.device->bind(before, 0).port, before);
  const BindOutcome moved = here.device->bind(0, 0);
  CHECK_EQ(moved.error, 0);
  CHECK(moved.port != before);
  // The other side hears from the new port and follows.
  ping("-c 1 10.9.0.2");
  CHECK_EQ(tunnel.there->plane().endpoint(tunnel.there->peer).port(), moved.port);
  here.device->unbind();
  const uint64_t lost = here.device->sum(Drop::outSocketError);
  CHECK(std::system("ping -n -q -c 1 -W 1 10.9.0.2 >/dev/null") != 0);
  CHECK(here.device->sum(Drop::outSocketError) > lost);
  CHECK_EQ(here.device->bind(moved.port, 0).error, 0);
  ping("-c 1 10.9.0.2");
  // A thread that still polls a closed socket would keep its port.
  for (int i = 0; i < 500; ++i) {
    here.device->unbind();
    CHECK_EQ(here.device->bind(moved.port, 0).error, 0);
  }
  ping("-c 1 10.9.0.2");
}

TEST("an endpoint without a route is told as a failed send") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  here.plane().set_endpoint(here.peer, address4("203.0.113.1", 9));
  CHECK(here.plane().send_keepalive(here.peer, here.device->now()));
  CHECK_EQ(here.await(DescriptorKind::send_failed).value, static_cast<uint32_t>(ENETUNREACH));
  CHECK(here.device->sum(Drop::outSocketError) >= 1);
}

TEST("outside, handshakes are marked 0x88 and data with the ECN bits inside, whatever their DSCP") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  std::unique_ptr<UdpSockets> listener;
  tunnel.other.run([&] { listener = std::make_unique<UdpSockets>(must(UdpSockets::bind(UdpOptions{}))); });
  ReceiveBatch batch = must(ReceiveBatch::create(4));
  for (const bool ipv6 : {false, true}) {
    const uint16_t port = listener->port();
    here.plane().set_endpoint(here.peer, ipv6 ? address6("fd00:1::2", port) : address4("192.0.2.2", port));
    const sa_family_t family = ipv6 ? AF_INET6 : AF_INET;
    CHECK(here.plane().send_handshake(here.peer, Bytes(148, 1), here.device->now()));
    CHECK_EQ(collect(*listener, family, 1, batch).runs[0].tos, 0x88);
    CHECK(here.plane().send_keepalive(here.peer, here.device->now()));
    CHECK_EQ(collect(*listener, family, 1, batch).runs[0].tos, 0);
    const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const SocketAddress to = address4("10.9.0.2", 9);
    for (const int tos : {0xb8, 0xb9, 0xba, 0xbb}) {
      CHECK(::setsockopt(fd.get(), IPPROTO_IP, IP_TOS, &tos, sizeof tos) == 0);
      CHECK(::sendto(fd.get(), "hello", 5, 0, &to.any, to.size()) == 5);
      CHECK_EQ(collect(*listener, family, 1, batch).runs[0].tos, tos & 3);
    }
  }
}

TEST("answers come from the address that was spoken to, until that address is gone") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  shell("ip addr add 192.0.2.77/24 dev vca");
  // The other side speaks to our second address: we answer from there.
  tunnel.there->plane().set_endpoint(tunnel.there->peer, address4("192.0.2.77", here.port));
  tunnel.other.run([] { ping("-c 1 10.9.0.1"); });
  CHECK(here.plane().send_keepalive(here.peer, here.device->now()));
  ping("-c 1 10.9.0.2");
  CHECK_EQ(text_of(tunnel.there->plane().endpoint(tunnel.there->peer)), std::string("192.0.2.77"));
  shell("ip addr del 192.0.2.77/24 dev vca");
  ping("-c 1 10.9.0.2");
  CHECK_EQ(text_of(tunnel.there->plane().endpoint(tunnel.there->peer)), std::string("192.0.2.1"));
}

TEST("closing and removing in the middle of traffic is safe") {
  Tunnel tunnel;
  std::atomic<bool> stop{false};
  std::thread flood([&] {
    const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const SocketAddress to = address4("10.9.0.2", 9);
    const Bytes payload(1200, 1);
    while (!stop.load(std::memory_order_relaxed)) {
      (void)::sendto(fd.get(), payload.data(), payload.size(), MSG_DONTWAIT, &to.any, to.size());
    }
  });
  Host& here = *tunnel.here;
  const auto sent = [&] { return here.device->sum(Total::udpDatagramsOut); };
  while (sent() < 500) std::this_thread::yield();
  for (int i = 0; i < 200; ++i) {
    here.plane().clear_keypairs(here.peer);
    here.install(100 + static_cast<uint32_t>(i), 2, 11, 12);
    if (i % 20 == 0) CHECK_EQ(here.device->bind(0, 0).error, 0);
  }
  here.plane().remove_peer(here.peer, here.device->now());
  const uint64_t at_removal = sent();
  while (here.device->sum(Drop::outNoPeer) < 100) std::this_thread::yield();
  CHECK_EQ(sent(), at_removal);
  here.device->close();
  stop.store(true, std::memory_order_relaxed);
  flood.join();
  here.device->close();
  CHECK(here.device->closed());
}
