// Paths on real sockets, between two network namespaces: by a relay whose device has no TUN, frames that must not be fragmented, and path
// MTUs as the kernel's TCP and ping see them.

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/tcp.h>

#include "core_live_support.h"

using namespace warren;
using namespace warren::test;

namespace {

constexpr uint32_t kHereSlot = 1;
constexpr uint32_t kThereSlot = 2;

/** A device without a TUN in the namespace in which it is made. */
struct RelayHost {
  EventWaker waker;
  std::unique_ptr<LiveDevice> device;
  uint16_t port = 0;

  explicit RelayHost(uint32_t queues = 1, bool offloads = true) {
    LiveOptions options;
    options.tun = false;
    options.queues = queues;
    options.udp_offloads = offloads;
    device = must(LiveDevice::open(std::move(options), waker));
    const BindOutcome bound = device->bind(0, 0);
    CHECK_EQ(bound.error, 0);
    port = bound.port;
  }
  Plane& plane() { return device->plane(); }

  /** A user at that place, who may send so many bytes a second. */
  uint32_t user(uint8_t number, const SocketAddress& at, double bytes_per_second = kNever) {
    const uint32_t peer = plane().add_peer(true);
    plane().set_endpoint(peer, at);
    const RelayLimits limits{bytes_per_second, bytes_per_second};
    plane().set_relay_slot(peer, relay_slot(number).data(), limits, device->now());
    return peer;
  }
};

/** The tunnel's two ends know each other by a relay alone, which is in the namespace of the first. */
struct RelayedTunnel {
  Tunnel tunnel;
  std::unique_ptr<RelayHost> relay;

  explicit RelayedTunnel(bool ipv6 = false, uint32_t queues = 1, bool offloads = true) : tunnel(queues, offloads) {
    relay = std::make_unique<RelayHost>(queues, offloads);
    Host& here = *tunnel.here;
    Host& there = *tunnel.there;
    const auto address = [&](const char* last, uint16_t port) {
      return ipv6 ? address6((std::string("fd00:1::") + last).c_str(), port)
                  : address4((std::string("192.0.2.") + last).c_str(), port);
    };
    relay->user(kHereSlot, address("1", here.port));
    relay->user(kThereSlot, address("2", there.port));
    here.plane().set_relay(3, address("1", relay->port));
    there.plane().set_relay(4, address("1", relay->port));
    here.plane().set_endpoint(here.peer, relayed_at(3, kThereSlot));
    there.plane().set_endpoint(there.peer, relayed_at(4, kHereSlot));
  }
};

/** What crosses a link of another namespace, IPv4 headers included, from when it is made. */
class Sniffer {
 public:
  Sniffer(const OtherNamespace& other, const char* link) {
    other.run([&] {
      fd_.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP)));
      CHECK(static_cast<bool>(fd_));
      sockaddr_ll address{};
      address.sll_family = AF_PACKET;
      address.sll_protocol = htons(ETH_P_IP);
      address.sll_ifindex = static_cast<int>(::if_nametoindex(link));
      CHECK(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    });
  }
  /** The next packet that comes in. */
  Bytes next(int line = __builtin_LINE()) {
    for (;;) {
      await_ready(fd_.get(), POLLIN, line);
      Bytes packet(65'536);
      sockaddr_ll from{};
      socklen_t size = sizeof from;
      const ssize_t length = ::recvfrom(fd_.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      CHECK(length >= 20);
      packet.resize(static_cast<size_t>(length));
      if (from.sll_pkttype != PACKET_OUTGOING) return packet;
    }
  }

 private:
  UniqueFd fd_;
};

bool dont_fragment(const Bytes& packet) { return (packet[6] & 0x40) != 0; }
bool is_fragment(const Bytes& packet) { return (load_be16(packet.data() + 6) & 0x3fff) != 0; }

int connected(const SocketAddress& to) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(::connect(fd, &to.any, to.size()) == 0);
  return fd;
}

int segment_size_of(int fd) {
  int size = 0;
  socklen_t length = sizeof size;
  CHECK(::getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &size, &length) == 0);
  return size;
}

}  // namespace

TEST("packets and a TCP stream pass by a relay, over either family") {
  for (const bool ipv6 : {false, true}) {
    RelayedTunnel by_relay(ipv6);
    Tunnel& tunnel = by_relay.tunnel;
    ping("-c 2 -i 0.01 10.9.0.2");
    ping("-c 2 -i 0.01 -s 1372 fd09::2");
    transfer(tunnel, 8 << 20);
    const LiveDevice& relay = *by_relay.relay->device;
    const uint64_t forwarded = relay.sum(Total::relayPackets);
    CHECK(forwarded > 5'000);
    CHECK_EQ(relay.sum(Drop::relayNoSlot) + relay.sum(Drop::relayBadInner) + relay.sum(Drop::inRelayUnknown), uint64_t{0});
    CHECK_EQ(relay.sum(Total::tunWrites) + relay.sum(Drop::tunWriteFailed), uint64_t{0});
    // Runs stay runs: where the sender cuts, at the relay, and into the receiver's TUN.
    const LiveDevice& from = *tunnel.here->device;
    const LiveDevice& to = *tunnel.there->device;
    if (from.first_sockets()->gso()) CHECK(from.sum(Total::udpSendCalls) * 4 < from.sum(Total::udpDatagramsOut));
    if (relay.first_sockets()->gro() && relay.first_sockets()->gso()) CHECK(relay.sum(Total::udpSendCalls) * 4 < forwarded);
    if (to.tun_features().vnet_hdr) CHECK(to.sum(Total::tunWrites) * 2 < to.sum(Total::tunPacketsOut));
    CHECK_EQ(to.sum(Drop::inBadTag) + to.sum(Drop::inRelayUnknown), uint64_t{0});
    // Nobody took anybody for somewhere else.
    CHECK(tunnel.here->plane().endpoint(tunnel.here->peer) == relayed_at(3, kThereSlot));
    CHECK(tunnel.there->plane().endpoint(tunnel.there->peer) == relayed_at(4, kHereSlot));
  }
}

TEST("the same without any offload of the kernel's, and with two threads each") {
  {
    RelayedTunnel by_relay(false, 1, false);
    ping("-c 2 -i 0.01 fd09::2");
    transfer(by_relay.tunnel, 1 << 20);
  }
  RelayedTunnel by_relay(false, 2);
  CHECK_EQ(by_relay.relay->device->queues(), size_t{2});
  for (int i = 0; i < 3; ++i) transfer(by_relay.tunnel, 1 << 20);
}

TEST("a peer moves from its relay to a direct path and back in the middle of a stream") {
  RelayedTunnel by_relay;
  Tunnel& tunnel = by_relay.tunnel;
  std::atomic<bool> stop{false};
  std::thread mover([&] {
    for (bool direct = true; !stop.load(std::memory_order_relaxed); direct = !direct) {
      Host& here = *tunnel.here;
      here.plane().set_endpoint(here.peer, direct ? address4("192.0.2.2", tunnel.there->port) : relayed_at(3, kThereSlot));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  transfer(tunnel, 16 << 20);
  stop.store(true, std::memory_order_relaxed);
  mover.join();
  CHECK(by_relay.relay->device->sum(Total::relayPackets) > 100);
  CHECK_EQ(tunnel.there->device->sum(Drop::inBadTag) + tunnel.there->device->sum(Drop::inUnknownType), uint64_t{0});
}

TEST("a device without a TUN tells that its link is up, has no interface, sleeps while nothing happens, and ends") {
  enter_namespace();
  const std::string links = shell_output("ip -o link");
  RelayHost relay;
  CHECK_EQ(shell_output("ip -o link"), links);
  CHECK_EQ(relay.device->ifname(), std::string());
  CHECK_EQ(relay.device->ifindex(), 0u);
  Descriptor out[kPollMax];
  CHECK_EQ(relay.plane().poll(relay.device->now(), out), 1u);
  CHECK_EQ(out[0].kind, static_cast<uint32_t>(DescriptorKind::link));
  CHECK_EQ(out[0].value, static_cast<uint32_t>(LinkChange::up));
  CHECK(relay.plane().control().release(1));
  relay.waker.drain();
  const uint64_t wakes = relay.device->worker_wakes();
  relay.device->set_deadline(relay.device->now() + 300);
  await_ready(relay.waker.fd());
  CHECK(relay.device->worker_wakes() <= wakes + 1);
  relay.device->close();
  CHECK(relay.device->closed());
}

TEST("a relay limits a user's bytes and tells what it dropped") {
  enter_namespace();
  RelayHost relay;
  UdpSockets a = must(UdpSockets::bind(UdpOptions{}));
  UdpSockets b = must(UdpSockets::bind(UdpOptions{}));
  relay.user(kHereSlot, address4("127.0.0.1", a.port()), 10'000);
  relay.user(kThereSlot, address4("127.0.0.1", b.port()));
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create(4));
  Bytes message(988, 1);
  store_le32(message.data(), 4);
  for (int i = 0; i < 12; ++i) {
    OwnedRun run(relayed(kThereSlot, message), 0, address4("127.0.0.1", relay.port));
    CHECK_EQ(send_one(a, scratch, run).datagrams_sent, 1u);
  }
  const Collected got = collect(b, AF_INET, 10, batch);
  CHECK_EQ(got.datagrams[0], relayed(kHereSlot, message));
  while (relay.device->sum(Drop::relayLimited) < 1) std::this_thread::yield();
}

TEST("a frame that must not be fragmented leaves with DF or not at all, and data goes on as before") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  const SocketAddress to = address4("192.0.2.2", tunnel.there->port);
  const auto send = [&](uint32_t length, bool whole, const SocketAddress& at) {
    return here.plane().send_frame_to(here.peer, Bytes(length, 0), at, whole, here.device->now());
  };
  const auto arrives = [&](uint32_t length, bool whole, const SocketAddress& at) {
    CHECK(send(length, whole, at) == FrameSent::sent);
    CHECK_EQ(tunnel.there->await(DescriptorKind::frame).length, length);
  };
  Sniffer link(tunnel.other, "vcb");
  // What the kernel believes of the path must not matter to a probe: here it believes 1,000 bytes, and the link takes 1,500.
  shell("ip route change 192.0.2.0/24 dev vca src 192.0.2.1 mtu 1000");
  arrives(1392, true, to);
  const Bytes probe = link.next();
  CHECK(dont_fragment(probe) && !is_fragment(probe));
  CHECK_EQ(probe.size(), size_t{1392 + 32 + 28});
  arrives(1392, false, to);
  for (int fragment = 0; fragment < 2; ++fragment) {
    const Bytes packet = link.next();
    CHECK(is_fragment(packet) && !dont_fragment(packet));
  }
  ping("-c 1 -s 1372 10.9.0.2");

  // One byte more than the link takes is refused.
  arrives(1440, true, to);
  CHECK(send(1456, true, to) == FrameSent::too_big);
  arrives(1456, false, to);
  const SocketAddress to6 = address6("fd00:1::2", tunnel.there->port);
  arrives(1408, true, to6);
  CHECK(send(1424, true, to6) == FrameSent::too_big);
  arrives(1424, false, to6);
  ping("-c 1 -s 1372 10.9.0.2");
  CHECK_EQ(here.device->sum(Drop::outSocketError), uint64_t{0});
}

TEST("probes in the middle of a stream neither lose nor mark its packets") {
  Tunnel tunnel;
  Host& here = *tunnel.here;
  std::atomic<bool> stop{false};
  std::thread prober([&] {
    const SocketAddress to = address4("192.0.2.2", tunnel.there->port);
    while (!stop.load(std::memory_order_relaxed)) {
      CHECK(here.plane().send_frame_to(here.peer, Bytes(1392, 0), to, true, here.device->now()) == FrameSent::sent);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  // Through a link that cannot take the tunnel's packets whole: with DF they would be refused.
  shell("ip route change 192.0.2.0/24 dev vca src 192.0.2.1 mtu 1000");
  transfer(tunnel, 4 << 20);
  stop.store(true, std::memory_order_relaxed);
  prober.join();
  CHECK_EQ(here.device->sum(Drop::outSocketError), uint64_t{0});
}

TEST("hosts learn a path MTU: ping is told, and TCP takes smaller segments from the first") {
  Tunnel tunnel;
  for (Host* host : {tunnel.here.get(), tunnel.there.get()}) host->plane().set_path_mtu(host->peer, 1300);
  ping("-c 1 -M do -s 1272 10.9.0.2");
  // Several, since one in 10 ms is answered.
  const char* const too_big = "ping -n -q -c 4 -i 0.02 -W 1 -M do -s ";
  const auto refused = [&](const char* what) { return std::system((std::string(too_big) + what + " >/dev/null 2>&1").c_str()) != 0; };
  CHECK(refused("1273 10.9.0.2"));
  CHECK(shell_output("ip route get 10.9.0.2").find("mtu 1300") != std::string::npos);
  CHECK(refused("1253 fd09::2"));
  CHECK(shell_output("ip -6 route get fd09::2").find("mtu 1300") != std::string::npos);
  // What may be fragmented passes.
  ping("-c 1 -M dont -s 1372 10.9.0.2");
  CHECK(tunnel.here->device->sum(Drop::outTooBig) >= 2);

  UniqueFd listener;
  tunnel.other.run([&] { listener.reset(listening_socket()); });
  const UniqueFd client(connected(address4("10.9.0.2", 5201)));
  const UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  CHECK(static_cast<bool>(server));
  // 12 bytes of each segment are its timestamp. The other side has no ICMP to learn from: the SYN told it.
  CHECK_EQ(segment_size_of(server.get()), 1260 - 12);
  CHECK_EQ(segment_size_of(client.get()), 1260 - 12);
  CHECK_EQ(tunnel.there->device->sum(Drop::outTooBig), uint64_t{0});
}

TEST("a stream whose super-packets have become too big for the path goes on") {
  Tunnel tunnel;
  UniqueFd listener;
  tunnel.other.run([&] { listener.reset(listening_socket()); });
  const UniqueFd client(connected(address4("10.9.0.2", 5201)));
  const UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  CHECK_EQ(segment_size_of(client.get()), 1380 - 12);
  const auto pass = [&](size_t bytes) {
    std::thread writer([&] {
      const Bytes sent = pattern(bytes, 3);
      for (size_t done = 0; done < bytes;) {
        const ssize_t wrote = ::write(client.get(), sent.data() + done, bytes - done);
        CHECK(wrote > 0);
        done += static_cast<size_t>(wrote);
      }
    });
    Bytes received(bytes);
    for (size_t done = 0; done < bytes;) {
      await_ready(server.get());
      const ssize_t got = ::read(server.get(), received.data() + done, bytes - done);
      CHECK(got > 0);
      done += static_cast<size_t>(got);
    }
    writer.join();
    CHECK(received == pattern(bytes, 3));
  };
  pass(1 << 20);
  Host& here = *tunnel.here;
  CHECK_EQ(here.device->sum(Drop::outTooBig), uint64_t{0});
  here.plane().set_path_mtu(here.peer, 1280);
  pass(4 << 20);
  CHECK(here.device->sum(Drop::outTooBig) > 0);
  CHECK_EQ(segment_size_of(client.get()), 1280 - 52);
}
