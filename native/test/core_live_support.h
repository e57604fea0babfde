// What the core_live_*_test programs share: live devices in two network namespaces, joined by a veth pair, with static sessions; traffic
// of the system's own tools and of TCP sockets.
#pragma once

#include <sys/socket.h>

#include <thread>

#include "core_support.h"
#include "dataplane/live_device.h"
#include "os_test_support.h"

namespace warren::test {

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

inline void ping(const std::string& arguments) { shell("ping -n -q -W 5 " + arguments + " >/dev/null"); }

inline int listening_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const SocketAddress any = address4("0.0.0.0", 5201);
  const int on = 1;
  CHECK(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  CHECK(::bind(fd, &any.any, any.size()) == 0 && ::listen(fd, 4) == 0);
  return fd;
}

/** Sends `bytes` over a new TCP connection from here to there and checks that they arrive as they are. */
inline void transfer(Tunnel& tunnel, size_t bytes) {
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

}  // namespace warren::test
