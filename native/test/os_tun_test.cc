// TunDevice on real devices: opening, features and fallbacks, adoption, queues, MTU, and packets both ways.
// Super-packets between two devices are in os_tun_pair_test.cc.
#include "os/tun.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <map>

#include "os/link_monitor.h"
#include "os_udp_support.h"
#include "packet/virtio.h"

namespace warren::test {
namespace {

TunDevice opened(const std::string& name, TunOptions options = {}) { return must(TunDevice::open(name, options)); }

bool exists(const std::string& name) { return ::if_nametoindex(name.c_str()) != 0; }

TEST("a run of full packets fits one UDP send") {
  CHECK_EQ(segments_per_run(1420, 32, 64), 45u);
  CHECK_EQ(segments_per_run(1280, 32, 64), 49u);
  CHECK_EQ(segments_per_run(9000, 32, 64), 7u);
  CHECK_EQ(segments_per_run(576, 32, 64), 64u);
  CHECK_EQ(segments_per_run(400, 32, 128), 128u);
  CHECK_EQ(segments_per_run(65535, 32, 64), 1u);
  CHECK_EQ(segments_per_run(0, 0, 64), 64u);
  for (uint32_t mtu = 68; mtu < 65000; mtu += 7) CHECK(segments_per_run(mtu, 32, 128) * (mtu + 32) <= 65507);
}

/** Kernels that lack some of the offloads; what they grant is recorded. */
unsigned lacking = 0;
unsigned granted = 0;
int poor_kernel(int, unsigned flags) {
  if ((flags & lacking) != 0) return -EINVAL;
  if ((flags & ~kTunOffloadChecksum) != 0 && (flags & kTunOffloadChecksum) == 0) return -EINVAL;
  granted = flags;
  return 0;
}

TEST("each offload that a kernel lacks is given up, and no other") {
  const TunFeatures all{true, true, true, true, true};
  constexpr unsigned kUso = kTunOffloadUso4 | kTunOffloadUso6;
  constexpr unsigned kTso = kTunOffloadTso4 | kTunOffloadTso6;
  lacking = 0;
  TunFeatures got = negotiate_offloads(0, all, poor_kernel);
  CHECK(got.csum && got.tso && got.tso_ecn && got.uso);
  CHECK_EQ(granted, kTunOffloadChecksum | kTso | kTunOffloadTsoEcn | kUso);
  lacking = kUso;
  got = negotiate_offloads(0, all, poor_kernel);
  CHECK(got.csum && got.tso && got.tso_ecn && !got.uso);
  CHECK_EQ(granted, kTunOffloadChecksum | kTso | kTunOffloadTsoEcn);
  lacking = kUso | kTunOffloadTsoEcn;
  got = negotiate_offloads(0, all, poor_kernel);
  CHECK(got.csum && got.tso && !got.tso_ecn && !got.uso);
  lacking = kUso | kTunOffloadTsoEcn | kTso;
  got = negotiate_offloads(0, all, poor_kernel);
  CHECK(got.csum && !got.tso && got.vnet_hdr);
  CHECK_EQ(granted, kTunOffloadChecksum);
  lacking = kUso | kTunOffloadTsoEcn | kTso | kTunOffloadChecksum;
  got = negotiate_offloads(0, all, poor_kernel);
  CHECK(!got.csum && got.vnet_hdr);
  CHECK_EQ(granted, 0u);
  lacking = 0;
  got = negotiate_offloads(0, TunFeatures{}, poor_kernel);
  CHECK(!got.csum && !got.tso && !got.uso && !got.tso_ecn);
}

TEST("opening gives the name, the features and the MTU that were asked for, and leaves nothing behind") {
  enter_namespace();
  {
    TunOptions options;
    options.mtu = 1420;
    TunDevice tun = opened("ostun%d", options);
    CHECK_EQ(tun.name(), std::string("ostun0"));
    CHECK_EQ(tun.index(), ::if_nametoindex("ostun0"));
    CHECK(tun.features().vnet_hdr && tun.features().csum && tun.features().tso);
    CHECK_EQ(tun.queue_count(), std::size_t{1});
    CHECK(tun.alive());
    const auto shows = [](const std::string& what) { return shell_output("ip -d link show ostun0").find(what + " ") != std::string::npos; };
    CHECK(shows("mtu 1420"));
    CHECK(shows("gso_max_segs 45"));
    CHECK(shows("persist off"));
    CHECK_EQ(tun.gso_max_segs(), 45u);
    must(tun.set_mtu(9000));
    CHECK(shows("mtu 9000") && shows("gso_max_segs 7"));
    CHECK_EQ(tun.mtu(), 9000u);
    must(tun.follow_mtu(1280));  // somebody else's change
    CHECK(shows("mtu 9000") && shows("gso_max_segs 49"));
    CHECK_EQ(tun.set_mtu(66000).error().code, EINVAL);
    CHECK_EQ(TunDevice::open("ostun0", {}).error().code, EBUSY);
  }
  CHECK(!exists("ostun0"));
  for (const char* name : {"", "sixteen-bytes-on", "a/b", ".", ".."}) CHECK_EQ(TunDevice::open(name, {}).error().code, EINVAL);
}

TEST("deletion is seen, a move to another namespace is none") {
  enter_namespace();
  TunDevice tun = opened("ostun0");
  LinkMonitor monitor = must(LinkMonitor::open(tun.index()));
  OtherNamespace other;
  std::array<LinkEvent, kLinkEventsMax> events{};
  // A process of the other namespace names it to `ip`.
  int ends[2];
  CHECK(::pipe(ends) == 0);
  pid_t holder = 0;
  other.run([&] {
    holder = ::fork();
    if (holder == 0) {
      char byte;
      ::close(ends[1]);
      std::_Exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
  });
  shell("ip link set ostun0 netns " + std::to_string(holder));
  await_ready(monitor.fd());
  CHECK_EQ(monitor.poll(events), std::size_t{1});
  CHECK(events[0].change == LinkChange::deleted);
  CHECK(tun.alive());
  other.run([] { shell("ip link del ostun0"); });
  CHECK(!tun.alive());
  std::array<uint8_t, 64> buffer{};
  CHECK_EQ(tun.read(0, buffer), ssize_t{-EBADFD});
  ::close(ends[1]);
  ::close(ends[0]);
  CHECK(::waitpid(holder, nullptr, 0) == holder);
}

// — adoption —

UniqueFd open_raw(const char* name, int flags) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  CHECK(static_cast<bool>(fd));
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  CHECK(::ioctl(fd.get(), TUNSETIFF, &request) == 0);
  return fd;
}

TEST("a descriptor opened by somebody else is adopted with what it has") {
  enter_namespace();
  for (const bool vnet : {false, true}) {
    TunOptions options;
    options.adopt_fd = open_raw("osgiven", IFF_TUN | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0)).release();
    TunDevice tun = opened("", options);
    CHECK_EQ(tun.name(), std::string("osgiven"));
    CHECK_EQ(tun.mtu(), 1500u);
    CHECK_EQ(tun.features().vnet_hdr, vnet);
    CHECK_EQ(tun.features().tso, vnet);
    CHECK((::fcntl(tun.queue_fd(0), F_GETFL) & O_NONBLOCK) != 0);
    std::array<uint8_t, 64> buffer{};
    CHECK_EQ(tun.read(0, buffer), ssize_t{-EAGAIN});
  }
  CHECK(!exists("osgiven"));
  TunOptions options;
  options.adopt_fd = open_raw("osgiven", IFF_TAP | IFF_NO_PI).release();
  CHECK_EQ(TunDevice::open("", options).error().code, EINVAL);
  CHECK(!exists("osgiven"));  // owned from the call on: closed
  options.adopt_fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  CHECK(!TunDevice::open("", options).ok());
}

// — packets —

struct UdpPacket {
  Bytes bytes;  // IPv4, as read or to be written, without a virtio header
  UdpPacket(const char* from, const char* to, uint16_t port, const Bytes& payload) : bytes(28 + payload.size()) {
    const auto put16 = [this](std::size_t at, std::size_t value) {
      bytes[at] = static_cast<uint8_t>(value >> 8);
      bytes[at + 1] = static_cast<uint8_t>(value);
    };
    bytes[0] = 0x45;
    put16(2, bytes.size());
    bytes[8] = 64;
    bytes[9] = 17;
    CHECK(::inet_pton(AF_INET, from, &bytes[12]) == 1 && ::inet_pton(AF_INET, to, &bytes[16]) == 1);
    put16(10, static_cast<uint16_t>(~sum(0, 20)));
    put16(20, 4000);
    put16(22, port);
    put16(24, 8 + payload.size());
    std::copy(payload.begin(), payload.end(), bytes.begin() + 28);
    put16(26, static_cast<uint16_t>(~sum(12, bytes.size(), 17 + 8 + static_cast<uint32_t>(payload.size()))));
  }
  /** The folded one's complement sum of big-endian words; plain, so as not to share the code under test elsewhere. */
  uint16_t sum(std::size_t from, std::size_t to, uint32_t start = 0) const {
    uint64_t total = start;
    for (std::size_t at = from; at < to; ++at) total += at % 2 == 0 ? uint64_t{bytes[at]} << 8 : bytes[at];
    while (total >> 16 != 0) total = (total & 0xffff) + (total >> 16);
    return static_cast<uint16_t>(total);
  }
  /** UDP with its pseudo-header adds up. */
  bool checksum_is_good() const { return sum(12, bytes.size(), 17 + static_cast<uint32_t>(bytes.size() - 20)) == 0xffff; }
};

void bring_up(const TunDevice& tun) { shell("ip addr add 10.8.0.1/24 dev " + tun.name() + " && ip link set " + tun.name() + " up"); }

/** The next IPv4 packet (IPv6 says of its own accord that it is there), with its virtio header. */
Bytes next_ipv4(const TunDevice& tun, std::size_t queue = 0) {
  const std::size_t skip = tun.features().vnet_hdr ? kVnetHeaderBytes : 0;
  Bytes buffer(kTunReadMax);
  for (;;) {
    await_ready(tun.queue_fd(queue));
    const ssize_t got = tun.read(queue, buffer);
    CHECK(got > static_cast<ssize_t>(skip));
    if (buffer[skip] >> 4 == 4) {
      buffer.resize(static_cast<std::size_t>(got));
      return buffer;
    }
  }
}

TEST("packets are read and written, with the virtio header and without") {
  enter_namespace();
  for (const bool vnet : {true, false}) {
    TunOptions options;
    options.want.vnet_hdr = vnet;
    TunDevice tun = opened("ostun0", options);
    CHECK_EQ(tun.features().vnet_hdr, vnet);
    CHECK_EQ(tun.features().csum, vnet);
    bring_up(tun);
    UdpSockets sockets = must(UdpSockets::bind({}));
    SendScratch scratch = must(SendScratch::create());
    ReceiveBatch batch = must(ReceiveBatch::create(4));

    OwnedRun out(pattern(333, 1), 0, address4("10.8.0.2", 9));
    CHECK_EQ(send_one(sockets, scratch, out).datagrams_sent, 1u);
    Bytes read = next_ipv4(tun);
    UdpPacket packet("10.8.0.1", "10.8.0.2", 9, out.bytes);
    if (vnet) {
      VirtioNetHeader header;
      std::memcpy(static_cast<void*>(&header), read.data(), sizeof header);
      read.erase(read.begin(), read.begin() + sizeof header);
      CHECK_EQ(header.gso_type, kVirtioGsoNone);
      CHECK_EQ(header.flags, kVirtioNeedsChecksum);  // the kernel left the checksum to us
      CHECK_EQ(header.checksum_start, 20);
      CHECK_EQ(header.checksum_offset, 6);
    } else {
      std::copy(read.begin(), read.end(), packet.bytes.begin());
      CHECK(packet.checksum_is_good());
    }
    CHECK_EQ(read.size(), std::size_t{361});
    CHECK(std::equal(out.bytes.begin(), out.bytes.end(), read.begin() + 28));

    const Bytes payload = pattern(444, 2);
    UdpPacket in("10.8.0.2", "10.8.0.1", sockets.port(), payload);
    CHECK(in.checksum_is_good());
    VirtioNetHeader none;
    std::vector<iovec> parts;
    if (vnet) parts.push_back({&none, sizeof none});
    parts.push_back({in.bytes.data(), 28});
    parts.push_back({in.bytes.data() + 28, payload.size()});
    CHECK_EQ(tun.write(0, parts), static_cast<ssize_t>(in.bytes.size() + (vnet ? sizeof none : 0)));
    const Collected got = collect(sockets, AF_INET, 1, batch);
    CHECK(got.datagrams[0] == payload);
    CHECK_EQ(text_of(got.runs[0].source), std::string("10.8.0.2"));

    Bytes nonsense(100, 0);
    const iovec whole{nonsense.data(), nonsense.size()};
    CHECK_EQ(tun.write(0, {&whole, 1}), ssize_t{-EINVAL});
    shell("ip link set ostun0 down");
    CHECK_EQ(tun.write(0, parts), ssize_t{-EIO});
  }
}

TEST("a UDP super-packet written is received as what it consists of") {
  enter_namespace();
  TunDevice tun = opened("ostun0");
  if (!tun.features().uso) return;  // before Linux 6.2 there are none
  bring_up(tun);
  UdpSockets sockets = must(UdpSockets::bind({}));
  ReceiveBatch batch = must(ReceiveBatch::create(16));
  const Bytes payload = pattern(5 * 1000 + 77, 1);
  UdpPacket in("10.8.0.2", "10.8.0.1", sockets.port(), payload);
  // NEEDS_CSUM: the field holds the pseudo-header's sum.
  uint16_t pseudo = in.sum(12, 20, 17 + 8 + static_cast<uint32_t>(payload.size()));
  in.bytes[26] = static_cast<uint8_t>(pseudo >> 8);
  in.bytes[27] = static_cast<uint8_t>(pseudo);
  VirtioNetHeader header;
  header.flags = kVirtioNeedsChecksum;
  header.gso_type = kVirtioGsoUdpL4;
  header.header_length = 28;
  header.gso_size = 1000;
  header.checksum_start = 20;
  header.checksum_offset = 6;
  const iovec parts[] = {{&header, sizeof header}, {in.bytes.data(), in.bytes.size()}};
  CHECK_EQ(tun.write(0, parts), static_cast<ssize_t>(sizeof header + in.bytes.size()));
  CHECK(collect(sockets, AF_INET, 6, batch).datagrams == cut(payload, 1000));
}

TEST("several queues read and write") {
  enter_namespace();
  TunOptions options;
  options.queues = 3;
  TunDevice tun = opened("ostun0", options);
  CHECK_EQ(tun.queue_count(), std::size_t{3});
  CHECK(tun.features().tso);
  bring_up(tun);
  UdpSockets sockets = must(UdpSockets::bind({}));
  ReceiveBatch batch = must(ReceiveBatch::create(4));
  VirtioNetHeader none;
  // Many flows from outside in, by all queues …
  for (std::size_t queue = 0; queue < 3; ++queue) {
    UdpPacket in("10.8.0.2", "10.8.0.1", sockets.port(), pattern(100, static_cast<uint32_t>(queue)));
    const iovec parts[] = {{&none, sizeof none}, {in.bytes.data(), in.bytes.size()}};
    CHECK(tun.write(queue, parts) > 0);
    CHECK(collect(sockets, AF_INET, 1, batch).datagrams[0] == pattern(100, static_cast<uint32_t>(queue)));
  }
  // … and out: the kernel spreads flows, and none is lost.
  SendScratch scratch = must(SendScratch::create());
  constexpr std::size_t kFlows = 64;
  for (uint32_t flow = 0; flow < kFlows; ++flow) {
    OwnedRun out(pattern(50, flow), 0, address4("10.8.0.2", static_cast<uint16_t>(1000 + flow)));
    CHECK_EQ(send_one(sockets, scratch, out).datagrams_sent, 1u);
  }
  std::size_t read = 0;
  std::map<std::size_t, std::size_t> by_queue;
  Bytes buffer(kTunReadMax);
  while (read < kFlows) {
    pollfd waits[3];
    for (std::size_t queue = 0; queue < 3; ++queue) waits[queue] = {tun.queue_fd(queue), POLLIN, 0};
    CHECK(::poll(waits, 3, 10'000) > 0);
    for (std::size_t queue = 0; queue < 3; ++queue) {
      while (tun.read(queue, buffer) > 0) {
        if (buffer[kVnetHeaderBytes] >> 4 != 4) continue;
        ++read;
        ++by_queue[queue];
      }
    }
  }
  CHECK_EQ(read, kFlows);
  CHECK(by_queue.size() > 1);
}

}  // namespace
}  // namespace warren::test
