// Two TUN devices in two namespaces, what is read from one being written to the other: they carry TCP and UDP, in
// super-packets where they were asked for and without them where not.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "os/clock.h"
#include "os/tun.h"
#include "os_udp_support.h"
#include "packet/virtio.h"

namespace warren::test {
namespace {

struct Carried {
  std::array<std::atomic<uint32_t>, 8> by_gso_type{};
  std::atomic<uint32_t> largest{0};
  std::atomic<uint32_t> most_segments{0};
  std::atomic<uint32_t> write_errors{0};
};

class BackToBack {
 public:
  explicit BackToBack(const TunOptions& options) : tun_(must(TunDevice::open("ostun0", options))), stop_(must(WakeEvent::create())) {
    shell("ip addr add 10.8.0.1/24 dev ostun0 && ip addr add fd08::1/64 dev ostun0 nodad && ip link set ostun0 up");
    other_.run([&] {
      far_ = std::make_unique<TunDevice>(must(TunDevice::open("ostun0", options)));
      shell("ip addr add 10.8.0.2/24 dev ostun0 && ip addr add fd08::2/64 dev ostun0 nodad && ip link set ostun0 up");
    });
    carrier_ = std::thread([this] { carry(); });
  }
  ~BackToBack() {
    stop_.signal();
    carrier_.join();
  }
  BackToBack(const BackToBack&) = delete;
  const OtherNamespace& other() const { return other_; }
  const TunDevice& tun() const { return tun_; }
  Carried carried;

 private:
  void carry() {
    Bytes buffer(kTunReadMax);
    for (;;) {
      pollfd waits[] = {{tun_.queue_fd(0), POLLIN, 0}, {far_->queue_fd(0), POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
      CHECK(::poll(waits, 3, -1) > 0);
      if ((waits[2].revents & POLLIN) != 0) return;
      pass(tun_, *far_, buffer);
      pass(*far_, tun_, buffer);
    }
  }
  void pass(const TunDevice& from, const TunDevice& to, Bytes& buffer) {
    for (ssize_t got; (got = from.read(0, buffer)) > 0;) {
      const auto length = static_cast<uint32_t>(got - (from.features().vnet_hdr ? ssize_t{kVnetHeaderBytes} : 0));
      carried.largest = std::max<uint32_t>(carried.largest, length);
      if (from.features().vnet_hdr) {
        VirtioNetHeader header;
        std::memcpy(static_cast<void*>(&header), buffer.data(), sizeof header);
        ++carried.by_gso_type[header.gso_type & 7];
        if (header.gso_size > 0) carried.most_segments = std::max<uint32_t>(carried.most_segments, (length - header.header_length + header.gso_size - 1) / header.gso_size);
      }
      const iovec whole{buffer.data(), static_cast<std::size_t>(got)};
      if (to.write(0, {&whole, 1}) != got) ++carried.write_errors;
    }
  }

  OtherNamespace other_;
  TunDevice tun_;
  std::unique_ptr<TunDevice> far_;
  WakeEvent stop_;
  std::thread carrier_;
};

/** One TCP connection through the pair; every byte must arrive. */
void transfer(const BackToBack& pair, bool v6, const Bytes& content) {
  UniqueFd listener;
  SocketAddress server = v6 ? address6("fd08::2", 7000) : address4("10.8.0.2", 7000);
  pair.other().run([&] {
    listener.reset(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    CHECK(::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    CHECK(::bind(listener.get(), &server.any, server.size()) == 0 && ::listen(listener.get(), 1) == 0);
  });
  Bytes received;
  std::thread receiver([&] {
    await_ready(listener.get());
    const UniqueFd connection(::accept(listener.get(), nullptr, nullptr));
    Bytes buffer(1 << 16);
    for (;;) {
      await_ready(connection.get());
      const ssize_t got = ::read(connection.get(), buffer.data(), buffer.size());
      CHECK(got >= 0);
      if (got == 0) break;
      received.insert(received.end(), buffer.begin(), buffer.begin() + got);
    }
  });
  {
    const UniqueFd client(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::connect(client.get(), &server.any, server.size()) == 0);
    for (std::size_t at = 0; at < content.size();) {
      const ssize_t put = ::send(client.get(), content.data() + at, content.size() - at, MSG_NOSIGNAL);
      CHECK(put > 0);
      at += static_cast<std::size_t>(put);
    }
  }
  receiver.join();
  CHECK(received == content);
}

TEST("TCP goes in super-packets of at most gso_max_segs, and arrives") {
  enter_namespace();
  TunOptions options;
  options.mtu = 1420;
  BackToBack pair(options);
  const Bytes content = pattern(3 << 20, 1);
  for (const bool v6 : {false, true}) {
    pair.carried.most_segments = 0;
    transfer(pair, v6, content);
    CHECK(pair.carried.by_gso_type[v6 ? kVirtioGsoTcpv6 : kVirtioGsoTcpv4] > 0);
    CHECK(pair.carried.most_segments > 20);
    CHECK(pair.carried.most_segments <= 45);
  }
  CHECK(pair.carried.largest > 30000);
  CHECK_EQ(pair.carried.write_errors.load(), 0u);
}

TEST("without TSO, checksums or the virtio header the kernel does the work itself") {
  enter_namespace();
  const TunFeatures wants[] = {{true, true, false, false, false}, {true, false, false, false, false}, {false, false, false, false, false}};
  for (const TunFeatures& want : wants) {
    TunOptions options;
    options.mtu = 1420;
    options.want = want;
    BackToBack pair(options);
    CHECK_EQ(pair.tun().features().csum, want.csum);
    transfer(pair, false, pattern(200'000, 1));
    transfer(pair, true, pattern(200'000, 2));
    CHECK(pair.carried.largest <= 1420);
    CHECK_EQ(pair.carried.write_errors.load(), 0u);
  }
}

TEST("UDP goes in super-packets where the kernel has them, and singly where not") {
  enter_namespace();
  for (const bool want : {true, false}) {
    TunOptions options;
    options.mtu = 1420;
    options.want.uso = want;
    BackToBack pair(options);
    if (!want) CHECK(!pair.tun().features().uso);
    UdpSockets here = must(UdpSockets::bind({}));
    UdpSockets there;
    pair.other().run([&] { there = must(UdpSockets::bind({})); });
    SendScratch scratch = must(SendScratch::create());
    ReceiveBatch batch = must(ReceiveBatch::create());
    for (const bool v6 : {false, true}) {
      OwnedRun out(pattern(30 * 1200, 1), 1200, v6 ? address6("fd08::2", there.port()) : address4("10.8.0.2", there.port()));
      CHECK_EQ(send_one(here, scratch, out).datagrams_sent, 30u);
      CHECK(collect(there, v6 ? AF_INET6 : AF_INET, 30, batch).datagrams == cut(out.bytes, 1200));
    }
    CHECK_EQ(pair.carried.by_gso_type[kVirtioGsoUdpL4] > 0, pair.tun().features().uso);
  }
}

}  // namespace
}  // namespace warren::test
