// What UdpSockets::send does when the kernel, a device or a route refuses: a scripted kernel in the place of sendmmsg.
// The real refusals that can be brought about are in os_udp_test.cc.
#include <netinet/udp.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "os/udp_socket.h"
#include "os_udp_support.h"

namespace warren::test {
namespace {

/** One message as the kernel would see it. */
struct Seen {
  SocketAddress destination;
  Bytes bytes;
  uint32_t segment_size = 0;
  bool sourced = false;

  std::size_t datagrams() const { return segment_size == 0 ? 1 : (bytes.size() + segment_size - 1) / segment_size; }
};

/** The scripted kernel. `judge` gives 0 or the errno for one message; what it takes is cut as the kernel would. */
struct Kernel {
  std::function<int(const Seen&)> judge = [](const Seen&) { return 0; };
  std::vector<Seen> messages;
  std::map<uint16_t, std::vector<Bytes>> delivered;
  /** Messages taken by one call at most. */
  unsigned at_once = 1024;
  uint32_t calls = 0;
};
Kernel kernel;

Seen look(const msghdr& header) {
  Seen seen;
  CHECK(header.msg_namelen == sizeof(sockaddr_in) || header.msg_namelen == sizeof(sockaddr_in6));
  std::memcpy(static_cast<void*>(&seen.destination), header.msg_name, header.msg_namelen);
  CHECK(header.msg_iovlen <= 1024);
  for (std::size_t i = 0; i < header.msg_iovlen; ++i) {
    const auto* from = static_cast<const uint8_t*>(header.msg_iov[i].iov_base);
    seen.bytes.insert(seen.bytes.end(), from, from + header.msg_iov[i].iov_len);
  }
  msghdr copy = header;
  for (cmsghdr* control = CMSG_FIRSTHDR(&copy); control != nullptr; control = CMSG_NXTHDR(&copy, control)) {
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_SEGMENT) {
      uint16_t size = 0;
      std::memcpy(&size, CMSG_DATA(control), sizeof size);
      seen.segment_size = size;
    }
    if (control->cmsg_type == IP_PKTINFO || control->cmsg_type == IPV6_PKTINFO) seen.sourced = true;
  }
  return seen;
}

int scripted_sendmmsg(int, mmsghdr* messages, unsigned count, int) {
  ++kernel.calls;
  unsigned taken = 0;
  for (; taken < count && taken < kernel.at_once; ++taken) {
    const Seen seen = look(messages[taken].msg_hdr);
    // What every kernel refuses.
    CHECK(seen.bytes.size() <= kUdpPayloadMax);
    if (const int error = kernel.judge(seen); error != 0) {
      if (taken > 0) break;
      errno = error;
      return -1;
    }
    kernel.messages.push_back(seen);
    for (Bytes& datagram : cut(seen.bytes, seen.segment_size == 0 ? kUdpPayloadMax : seen.segment_size))
      kernel.delivered[seen.destination.port()].push_back(std::move(datagram));
    if (seen.bytes.empty()) kernel.delivered[seen.destination.port()].emplace_back();
  }
  return static_cast<int>(taken);
}

struct Bench {
  UdpSockets sockets;
  SendScratch scratch;
  Bench() : sockets(must(UdpSockets::bind({}))), scratch(must(SendScratch::create(scripted_sendmmsg))) { kernel = Kernel{}; }
};

LocalSource source4() {
  LocalSource source;
  source.family = AF_INET;
  source.address[0] = 192;
  return source;
}

const SocketAddress kFirst = address4("192.0.2.1", 1);
const SocketAddress kSecond = address4("192.0.2.2", 2);

TEST("EIO: no more segmentation on that socket, and nothing is lost") {
  enter_namespace();
  Bench bench;
  kernel.judge = [](const Seen& seen) { return seen.segment_size != 0 ? EIO : 0; };
  OwnedRun run(pattern(100 * 500 + 3, 1), 500, kFirst);
  OwnedRun other(pattern(2000, 2), 1000, kSecond);
  SendRun runs[] = {run.run, other.run};
  const SendReport report = bench.sockets.send(bench.scratch, runs);
  CHECK_EQ(report.datagrams_sent, 103u);
  CHECK_EQ(runs[0].datagrams_sent, 101u);
  CHECK_EQ(runs[0].error, 0);
  CHECK(kernel.delivered[1] == cut(run.bytes, 500));
  CHECK(kernel.delivered[2] == cut(other.bytes, 1000));
  // The other family's device may well be able to.
  CHECK(bench.sockets.gso());
  kernel.calls = 0;
  send_one(bench.sockets, bench.scratch, run);
  CHECK_EQ(kernel.calls, 1u);  // asked once per socket, not once per run
  OwnedRun v6(pattern(2000, 2), 1000, address6("2001:db8::1", 3));
  send_one(bench.sockets, bench.scratch, v6);
  CHECK(!bench.sockets.gso());
}

// Before Linux 6.9 nothing is to be found out, and the same must hold.
TEST("a kernel of 64 segments that passed for one of 128 is found out once") {
  enter_namespace();
  Bench bench;
  kernel.judge = [](const Seen& seen) { return seen.segment_size != 0 && seen.datagrams() > 64 ? EINVAL : 0; };
  OwnedRun run(pattern(200 * 10, 1), 10, kFirst);
  run.run.source = source4();
  CHECK_EQ(send_one(bench.sockets, bench.scratch, run).datagrams_sent, 200u);
  CHECK(kernel.delivered[1] == cut(run.bytes, 10));
  CHECK(!run.run.forget_source);
  CHECK_EQ(bench.sockets.max_segments(), 64u);
  kernel.messages.clear();
  send_one(bench.sockets, bench.scratch, run);
  CHECK_EQ(kernel.messages.size(), std::size_t{4});
}

TEST("segments beyond the path's MTU go singly, that run only, with their source") {
  enter_namespace();
  for (const int error : {EMSGSIZE, EINVAL}) {
    Bench bench;
    kernel.judge = [error](const Seen& seen) { return seen.segment_size > 1472 ? error : 0; };
    OwnedRun jumbo(pattern(5 * 4000 + 9, 1), 4000, kFirst);
    jumbo.run.source = source4();
    OwnedRun fits(pattern(5 * 1400, 2), 1400, kFirst);
    SendRun runs[] = {fits.run, jumbo.run, fits.run};
    CHECK_EQ(bench.sockets.send(bench.scratch, runs).datagrams_sent, 16u);
    CHECK(!runs[1].forget_source);
    CHECK_EQ(kernel.messages.size(), std::size_t{8});
    CHECK(kernel.messages[1].sourced);
    CHECK(bench.sockets.gso());
    CHECK(kernel.delivered[1][5] == cut(jumbo.bytes, 4000)[0]);
    CHECK(kernel.delivered[1][11] == cut(fits.bytes, 1400)[0]);
  }
}

TEST("a source that is gone is left out, whatever the kernel calls it, and the caller learns of it") {
  enter_namespace();
  for (const int error : {EINVAL, ENETUNREACH, EADDRNOTAVAIL, ENODEV}) {
    Bench bench;
    const uint32_t segments = bench.sockets.max_segments();
    kernel.judge = [error](const Seen& seen) { return seen.sourced ? error : 0; };
    OwnedRun run(pattern(100 * 1400, 1), 1400, kFirst);  // three messages
    run.run.source = source4();
    OwnedRun without(pattern(100, 2), 0, kSecond);
    SendRun runs[] = {run.run, without.run};
    CHECK_EQ(bench.sockets.send(bench.scratch, runs).datagrams_sent, 101u);
    CHECK(runs[0].forget_source);
    CHECK_EQ(runs[0].error, 0);
    CHECK(!runs[1].forget_source);
    CHECK(kernel.delivered[1] == cut(run.bytes, 1400));
    CHECK_EQ(bench.sockets.max_segments(), segments);
    // EINVAL might be the segmentation as well: one message of 46 goes singly to find out, the others do not.
    CHECK_EQ(kernel.messages.size(), std::size_t{error == EINVAL ? 46u + 2 + 1 : 3u + 1});
  }
}

TEST("a stale error is overlooked once; one that stays is told for its run alone") {
  enter_namespace();
  for (const int error : {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPROTO}) {
    Bench bench;
    int left = 1;
    kernel.judge = [&left, error](const Seen&) { return left-- > 0 ? error : 0; };
    OwnedRun run(pattern(100, 1), 0, kFirst);
    CHECK_EQ(send_one(bench.sockets, bench.scratch, run).datagrams_sent, 1u);
    CHECK_EQ(run.run.error, 0);

    kernel.judge = [error](const Seen& seen) { return seen.destination.port() == 1 ? error : 0; };
    kernel.delivered.clear();
    OwnedRun other(pattern(50, 2), 0, kSecond);
    SendRun runs[] = {other.run, run.run, other.run};
    const SendReport report = bench.sockets.send(bench.scratch, runs);
    CHECK_EQ(report.datagrams_sent, 2u);
    CHECK_EQ(report.datagrams_failed, 1u);
    CHECK_EQ(report.calls, 4u);
    CHECK_EQ(runs[1].error, error);
    CHECK_EQ(kernel.delivered[2].size(), std::size_t{2});
  }
}

TEST("a full buffer ends the batch without asking again; ENOBUFS costs one message") {
  enter_namespace();
  Bench bench;
  int room = 3;
  kernel.judge = [&room](const Seen&) { return room-- > 0 ? 0 : EAGAIN; };
  std::deque<OwnedRun> owned;
  std::vector<SendRun> runs;
  for (uint32_t i = 0; i < 10; ++i) runs.push_back(owned.emplace_back(pattern(3000, i), 1000, kFirst).run);
  SendReport report = bench.sockets.send(bench.scratch, runs);
  CHECK_EQ(report.datagrams_sent, 9u);
  CHECK_EQ(report.datagrams_full, 21u);
  CHECK_EQ(report.full_family, AF_INET);
  CHECK_EQ(report.datagrams_failed, 0u);
  CHECK_EQ(report.calls, 2u);
  CHECK_EQ(runs[2].error, 0);
  CHECK_EQ(runs[3].error, EAGAIN);
  CHECK_EQ(runs[9].datagrams_failed, 3u);

  int number = 0;
  kernel.judge = [&number](const Seen&) { return number++ == 4 ? ENOBUFS : 0; };
  kernel.at_once = 1;
  report = bench.sockets.send(bench.scratch, runs);
  CHECK_EQ(report.datagrams_sent, 27u);
  CHECK_EQ(report.datagrams_full, 3u);
  CHECK_EQ(runs[4].error, ENOBUFS);
}

TEST("an interrupted call is made again") {
  enter_namespace();
  Bench bench;
  int left = 5;
  kernel.judge = [&left](const Seen&) { return left-- > 0 ? EINTR : 0; };
  OwnedRun run(pattern(100, 1), 0, kFirst);
  CHECK_EQ(send_one(bench.sockets, bench.scratch, run).datagrams_sent, 1u);
}

TEST("a run in too many parts is refused, and the others are not") {
  enter_namespace();
  Bench bench;
  OwnedRun scattered(pattern(3000, 1), 0, kFirst);
  scattered.vectors.clear();
  for (uint8_t& byte : scattered.bytes) scattered.vectors.push_back({&byte, 1});
  scattered.run.parts = scattered.vectors;
  OwnedRun other(pattern(50, 2), 0, kSecond);
  SendRun runs[] = {scattered.run, other.run, scattered.run};
  runs[2].segment_size = 1000;  // fits when cut: 1,000 parts to a datagram, but not as one message
  const SendReport report = bench.sockets.send(bench.scratch, runs);
  CHECK_EQ(runs[0].error, EINVAL);
  CHECK_EQ(runs[1].error, 0);
  CHECK_EQ(kernel.delivered[2].size(), std::size_t{1});
  CHECK_EQ(report.datagrams_sent + report.datagrams_failed, 5u);
}

// Random runs against a kernel that refuses at random: every datagram is delivered once or counted as failed, whole and in order.
TEST("whatever the kernel refuses, every datagram is sent once in order or counted") {
  enter_namespace();
  Random random(20260301);
  constexpr int kErrors[] = {EIO, EINVAL, EMSGSIZE, ENETUNREACH, ENODEV, EADDRNOTAVAIL, ECONNREFUSED, ENOBUFS, EAGAIN, EPERM, EINTR};
  for (int round = 0; round < 100; ++round) {
    Bench bench;
    const uint32_t rarity = 2 + random.below(40);
    kernel.at_once = 1 + random.below(130);
    kernel.judge = [&random, rarity, &kErrors](const Seen&) { return random.one_in(rarity) ? kErrors[random.below(std::size(kErrors))] : 0; };
    std::deque<OwnedRun> owned;
    std::vector<SendRun> runs;
    std::map<uint16_t, std::vector<Bytes>> expected;
    std::size_t datagrams = 0;
    for (uint32_t i = 0, count = 1 + random.below(200); i < count; ++i) {
      const auto port = static_cast<uint16_t>(1 + random.below(6));
      const uint32_t segment = random.one_in(3) ? 0 : 16 + random.below(1500);
      const std::size_t length = segment == 0 ? random.below(1500) : random.below(segment * (random.one_in(8) ? 140 : 5));
      OwnedRun& run = owned.emplace_back(pattern(length, i), segment, port % 2 == 0 ? address6("2001:db8::1", port) : address4("192.0.2.1", port));
      if (random.one_in(2)) {  // in parts, some of them empty
        run.vectors.clear();
        for (std::size_t at = 0; at < length;) {
          const std::size_t here = random.one_in(5) ? 0 : std::min<std::size_t>(1 + random.below(4000), length - at);
          run.vectors.push_back({run.bytes.data() + at, here});
          at += here;
        }
        run.run.parts = run.vectors;
      }
      if (random.one_in(2)) run.run.source = source4();
      std::vector<Bytes> cuts = cut(run.bytes, segment == 0 ? kUdpPayloadMax : segment);
      if (cuts.empty()) cuts.emplace_back();
      datagrams += cuts.size();
      for (Bytes& bytes : cuts) expected[port].push_back(std::move(bytes));
      runs.push_back(run.run);
    }
    const SendReport report = bench.sockets.send(bench.scratch, runs);
    CHECK_EQ(std::size_t{report.datagrams_sent} + report.datagrams_full + report.datagrams_failed, datagrams);
    std::size_t sent = 0;
    for (const SendRun& run : runs) {
      sent += run.datagrams_sent;
      CHECK_EQ(run.datagrams_failed == 0, run.error == 0);
    }
    CHECK_EQ(sent, std::size_t{report.datagrams_sent});
    // What arrived is the beginning of each run, in order.
    std::map<uint16_t, std::vector<Bytes>> left;
    for (const SendRun& run : runs) {
      auto& from = expected[run.destination.port()];
      const auto end = from.begin() + run.datagrams_sent;
      left[run.destination.port()].insert(left[run.destination.port()].end(), from.begin(), end);
      from.erase(from.begin(), end + run.datagrams_failed);
    }
    std::erase_if(left, [](const auto& entry) { return entry.second.empty(); });
    CHECK(kernel.delivered == left);
  }
}

}  // namespace
}  // namespace warren::test
