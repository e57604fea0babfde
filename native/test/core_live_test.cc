// The live device between two network namespaces: real TUNs, real sockets on a veth pair, static sessions. What the kernel
// does to a plane: carrying, offloads, links that come and go, taken ports, refused datagrams, garbage, idleness, the end.

#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "core_support.h"
#include "dataplane/live_device.h"
#include "os_test_support.h"

using namespace warren;
using namespace warren::test;

namespace {

/** Wakes whoever waits on its descriptor. */
class EventWaker final : public Waker {
 public:
  EventWaker() : event_(must(WakeEvent::create())) {}
  void wake() noexcept override { event_.signal(); }
  int fd() const { return event_.fd(); }
  void drain() { event_.drain(); }

 private:
  WakeEvent event_;
};

/** One end of the tunnel: a live device in the namespace in which it is made, with one peer. */
struct Host {
  EventWaker waker;
  std::unique_ptr<LiveDevice> device;
  uint32_t peer = kNoPeer;
  uint16_t port = 0;

  explicit Host(uint32_t queues = 1, bool offloads = true) {
    LiveOptions options;
    options.ifname = "wt0";
    options.queues = queues;
    options.tun_offloads = options.udp_offloads = offloads;
    device = must(LiveDevice::open(std::move(options), waker));
    // No router solicitations or multicast reports: the only packets are the test's.
    shell("ip link set wt0 addrgenmode none");
    const BindOutcome bound = device->bind(0, 0);
    CHECK_EQ(bound.error, 0);
    port = bound.port;
    peer = plane().add_peer(true);
    const uint8_t any[16] = {};
    CHECK(plane().insert_allowed_ip(peer, Family::ipv4, any, 0));
    CHECK(plane().insert_allowed_ip(peer, Family::ipv6, any, 0));
  }
  Plane& plane() { return device->plane(); }

  void install(uint32_t local, uint32_t remote, uint8_t send_key, uint8_t receive_key) {
    SelfSession session(local, true);
    uint8_t keys[2][32];
    std::memset(keys[0], send_key, 32);
    std::memset(keys[1], receive_key, 32);
    session.config.remote_index = remote;
    session.config.send_key = keys[0];
    session.config.receive_key = keys[1];
    CHECK(plane().install_keypair(peer, session.config));
  }

  /** Polls until a descriptor of that kind (and value, if not 0) comes; the test ends when none does. */
  Descriptor await(DescriptorKind kind, uint32_t value = 0, int line = __builtin_LINE()) {
    for (;;) {
      Descriptor out[kPollMax];
      const uint32_t count = plane().poll(device->now(), out);
      CHECK(plane().control().release(count));
      for (uint32_t i = 0; i < count; ++i) {
        if (out[i].kind == static_cast<uint32_t>(kind) && (value == 0 || out[i].value == value)) return out[i];
      }
      await_ready(waker.fd(), POLLIN, line);
      waker.drain();
    }
  }
};

/** Here 192.0.2.1, fd00:1::1 and inside 10.9.0.1, fd09::1; there the same with 2. */
struct Tunnel {
  OtherNamespace other;
  std::unique_ptr<Host> here;
  std::unique_ptr<Host> there;

  explicit Tunnel(uint32_t queues = 1, bool offloads = true) {
    enter_namespace();
    other.run([] { shell("ip link add vcb type veth peer name vca netns " + std::to_string(::getpid())); });
    shell("ip addr add 192.0.2.1/24 dev vca && ip addr add fd00:1::1/64 dev vca nodad && ip link set vca up");
    here = std::make_unique<Host>(queues, offloads);
    other.run([&] {
      shell("ip addr add 192.0.2.2/24 dev vcb && ip addr add fd00:1::2/64 dev vcb nodad && ip link set vcb up");
      there = std::make_unique<Host>(queues, offloads);
    });
    here->install(1, 2, 11, 12);
    there->install(2, 1, 12, 11);
    over_ipv4();
    configure("1");
    other.run([] { configure("2"); });
  }
  ~Tunnel() {
    here.reset();
    there.reset();
    shell("ip link del vca");
  }
  static void configure(const std::string& host) {
    shell("ip addr add 10.9.0." + host + "/24 dev wt0 && ip addr add fd09::" + host + "/64 dev wt0 nodad && ip link set wt0 up");
  }
  void over_ipv4() {
    here->plane().set_endpoint(here->peer, address4("192.0.2.2", there->port));
    there->plane().set_endpoint(there->peer, address4("192.0.2.1", here->port));
  }
  void over_ipv6() {
    here->plane().set_endpoint(here->peer, address6("fd00:1::2", there->port));
    there->plane().set_endpoint(there->peer, address6("fd00:1::1", here->port));
  }
};

void ping(const std::string& arguments) { shell("ping -n -q -W 5 " + arguments + " >/dev/null"); }

int listening_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const SocketAddress any = address4("0.0.0.0", 5201);
  const int on = 1;
  CHECK(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  CHECK(::bind(fd, &any.any, any.size()) == 0 && ::listen(fd, 4) == 0);
  return fd;
}

/** Sends `bytes` over a new TCP connection from here to there and checks that they arrive as they are. */
void transfer(Tunnel& tunnel, size_t bytes) {
  UniqueFd listener;
  tunnel.other.run([&] { listener.reset(listening_socket()); });
  const Bytes sent = pattern(bytes, 5);
  Bytes received;
  received.reserve(bytes);
  std::thread reader([&] {
    const UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(static_cast<bool>(fd));
    Bytes buffer(1 << 18);
    for (ssize_t got; (got = ::read(fd.get(), buffer.data(), buffer.size())) > 0;) {
      received.insert(received.end(), buffer.begin(), buffer.begin() + got);
    }
  });
  {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketAddress to = address4("10.9.0.2", 5201);
    CHECK(::connect(fd.get(), &to.any, to.size()) == 0);
    for (size_t done = 0; done < bytes;) {
      const ssize_t wrote = ::write(fd.get(), sent.data() + done, bytes - done);
      CHECK(wrote > 0);
      done += static_cast<size_t>(wrote);
    }
  }
  reader.join();
  CHECK(received == sent);
}

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
