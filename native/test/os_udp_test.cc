// UdpSockets over loopback and a veth pair: binding, both families, GSO and GRO, limits, sticky sources, fragmentation.
#include "os/udp_socket.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <set>

#include "os_udp_support.h"

namespace warren::test {
namespace {

UdpSockets bound(UdpOptions options = {}) { return must(UdpSockets::bind(options)); }

TEST("port 0 gives one port for both families") {
  enter_namespace();
  std::set<uint16_t> ports;
  for (int i = 0; i < 20; ++i) {
    UdpSockets sockets = bound();
    SocketAddress of6;
    socklen_t size = sizeof of6;
    CHECK(::getsockname(sockets.fd6(), &of6.any, &size) == 0);
    CHECK(sockets.port() != 0);
    CHECK_EQ(of6.port(), sockets.port());
    ports.insert(sockets.port());
  }
  CHECK(ports.size() > 1);
}

TEST("a random port that is taken for IPv6 is not insisted on: another is found for both") {
  enter_namespace();
  const OtherNamespace other;
  other.run([] {
    // Two ports to choose from, one of which IPv6 cannot have.
    CHECK(write_file("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001"));
    const UniqueFd taken(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const int only = 1;
    CHECK(::setsockopt(taken.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0);
    const SocketAddress held = address6("::", 40000);
    CHECK(::bind(taken.get(), &held.any, held.size()) == 0);
    for (int i = 0; i < 8; ++i) {
      UdpSockets sockets = bound();
      CHECK_EQ(sockets.port(), 40001);
      CHECK(sockets.fd4() >= 0 && sockets.fd6() >= 0);
    }
  });
}

TEST("a taken port is EADDRINUSE") {
  enter_namespace();
  const UdpSockets first = bound();
  UdpOptions same;
  same.port = first.port();
  CHECK_EQ(UdpSockets::bind(same).error().code, EADDRINUSE);

  // Taken for IPv6 only: nothing of IPv4 may stay bound.
  const UniqueFd only6(::socket(AF_INET6, SOCK_DGRAM, 0));
  const int on = 1;
  CHECK(::setsockopt(only6.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
  const SocketAddress any6 = address6("::", 0);
  CHECK(::bind(only6.get(), &any6.any, any6.size()) == 0);
  SocketAddress got;
  socklen_t size = sizeof got;
  CHECK(::getsockname(only6.get(), &got.any, &size) == 0);
  same.port = got.port();
  CHECK_EQ(UdpSockets::bind(same).error().code, EADDRINUSE);
  const UniqueFd probe(::socket(AF_INET, SOCK_DGRAM, 0));
  const SocketAddress any4 = address4("0.0.0.0", same.port);
  CHECK(::bind(probe.get(), &any4.any, any4.size()) == 0);
}

TEST("further queues share the port, strangers do not") {
  enter_namespace();
  UdpOptions options;
  options.reuse_port = true;
  const UdpSockets first = bound(options);
  UdpOptions further = options;
  further.port = first.port();
  further.join = true;
  const UdpSockets second = bound(further);
  CHECK_EQ(second.port(), first.port());
  // Another interface's first queue does not slip into the group.
  UdpOptions stranger = options;
  stranger.port = first.port();
  CHECK_EQ(UdpSockets::bind(stranger).error().code, EADDRINUSE);
}

TEST("without IPv6 it goes on with IPv4") {
  enter_namespace();
  in_child([] {
    // socket(AF_INET6, …) → EAFNOSUPPORT, as on a kernel without IPv6.
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{6, filter};
    CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    UdpSockets sockets = bound();
    CHECK(sockets.fd4() >= 0 && sockets.port() != 0);
    CHECK_EQ(sockets.fd6(), -1);
    SendScratch scratch = must(SendScratch::create());
    OwnedRun to6(pattern(3000, 1), 1000, address6("::1", sockets.port()));
    const SendReport report = send_one(sockets, scratch, to6);
    CHECK_EQ(to6.run.error, EAFNOSUPPORT);
    CHECK_EQ(report.datagrams_failed, 3u);
    ReceiveBatch batch = must(ReceiveBatch::create(1));
    CHECK_EQ(sockets.receive(AF_INET6, batch), 0);
  });
}

TEST("with IPv6 switched off it goes on with IPv4") {
  enter_namespace();
  const OtherNamespace other;
  other.run([] {
    CHECK(write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"));
    UdpSockets from = bound();
    UdpSockets to = bound();
    SendScratch scratch = must(SendScratch::create());
    ReceiveBatch batch = must(ReceiveBatch::create(1));
    OwnedRun out(pattern(100, 1), 0, address4("127.0.0.1", to.port()));
    CHECK_EQ(send_one(from, scratch, out).datagrams_sent, 1u);
    CHECK(collect(to, AF_INET, 1, batch).datagrams[0] == out.bytes);
  });
}

TEST("mark and buffers arrive in the kernel") {
  enter_namespace();
  UdpOptions options;
  options.fwmark = 51820;
  UdpSockets sockets = bound(options);
  const auto mark_of = [](int fd) {
    uint32_t mark = 0;
    socklen_t size = sizeof mark;
    CHECK(::getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size) == 0);
    return mark;
  };
  CHECK_EQ(mark_of(sockets.fd4()), 51820u);
  CHECK_EQ(mark_of(sockets.fd6()), 51820u);
  must(sockets.set_fwmark(7));
  CHECK_EQ(mark_of(sockets.fd6()), 7u);
  CHECK(sockets.receive_buffer_bytes() > 0 && sockets.send_buffer_bytes() > 0);
  // Where the process may force them, the buffers are what was asked for.
  int forced = 1 << 20;
  if (::setsockopt(sockets.fd4(), SOL_SOCKET, SO_RCVBUFFORCE, &forced, sizeof forced) == 0) {
    UdpSockets fresh = bound();
    CHECK(fresh.receive_buffer_bytes() >= 7u << 20);
    CHECK(fresh.send_buffer_bytes() >= 7u << 20);
  }
}

TEST("both families carry addresses and TOS") {
  enter_namespace();
  UdpSockets from = bound();
  UdpSockets to = bound();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create());
  for (const SocketAddress& destination : {address4("127.0.0.1", to.port()), address6("::1", to.port())}) {
    for (const std::size_t length : {std::size_t{148}, std::size_t{0}, std::size_t{65507}}) {
      OwnedRun sent(pattern(length, 7), 0, destination);
      sent.run.tos = 0x88 | 2;
      const SendReport report = send_one(from, scratch, sent);
      CHECK_EQ(report.datagrams_sent, 1u);
      CHECK_EQ(report.bytes_sent, uint64_t{length});
      CHECK_EQ(sent.run.error, 0);
      const Collected got = collect(to, destination.family(), 1, batch);
      CHECK(got.datagrams[0] == sent.bytes);
      const ReceivedRun& run = got.runs[0];
      CHECK_EQ(run.source.port(), from.port());
      CHECK_EQ(text_of(run.source), text_of(destination));
      CHECK_EQ(text_of(run.local), text_of(destination));
      CHECK(run.local.interface_index != 0);
      CHECK_EQ(run.tos, 0x88 | 2);
    }
  }
}

TEST("a GSO run is received whole, or singly without GRO") {
  enter_namespace();
  UdpSockets from = bound();
  UdpOptions without_gro;
  without_gro.gro = false;
  UdpOptions without_gso;
  without_gso.gso = false;
  UdpSockets plain_from = bound(without_gso);
  CHECK(from.gso());
  CHECK(!plain_from.gso());
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create());
  for (const bool v6 : {false, true}) {
    UdpSockets whole = bound();
    UdpSockets singly = bound(without_gro);
    CHECK(whole.gro() && !singly.gro());
    for (UdpSockets* to : {&whole, &singly}) {
      for (UdpSockets* sender : {&from, &plain_from}) {
        OwnedRun sent(pattern(10 * 1452 + 100, 3), 1452, v6 ? address6("::1", to->port()) : address4("127.0.0.1", to->port()));
        const SendReport report = send_one(*sender, scratch, sent);
        CHECK_EQ(report.calls, 1u);
        CHECK_EQ(report.datagrams_sent, 11u);
        CHECK_EQ(sent.run.datagrams_sent, 11u);
        const Collected got = collect(*to, v6 ? AF_INET6 : AF_INET, 11, batch);
        CHECK(got.datagrams == cut(sent.bytes, 1452));
        CHECK_EQ(got.runs.size(), to == &whole && sender == &from ? 1u : 11u);
        if (got.runs.size() == 1) CHECK_EQ(got.runs[0].segment_size, 1452u);
      }
    }
  }
}

TEST("65,507 bytes and the kernel's segments split a run") {
  enter_namespace();
  UdpSockets from = bound();
  UdpSockets to = bound();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create());
  const SocketAddress destination = address4("127.0.0.1", to.port());

  // 46 × 1,452 = 66,792 bytes: more than one datagram's 65,507.
  OwnedRun large(pattern(46 * 1452, 1), 1452, destination);
  CHECK_EQ(send_one(from, scratch, large).datagrams_sent, 46u);
  Collected got = collect(to, AF_INET, 46, batch);
  CHECK(got.datagrams == cut(large.bytes, 1452));
  CHECK_EQ(got.runs.size(), 2u);
  CHECK_EQ(got.runs[0].length, 45u * 1452);

  // Small ones: the kernel's number of segments is the limit.
  OwnedRun small(pattern(300 * 8, 2), 8, destination);
  CHECK_EQ(send_one(from, scratch, small).datagrams_sent, 300u);
  got = collect(to, AF_INET, 300, batch);
  CHECK(got.datagrams == cut(small.bytes, 8));
  CHECK_EQ(got.runs.size(), std::size_t{(300 + from.max_segments() - 1) / from.max_segments()});

  // What does not fit any datagram is told, and the rest of the call is sent.
  OwnedRun before(pattern(10, 3), 0, destination);
  OwnedRun oversized(pattern(65508, 4), 0, destination);
  OwnedRun after(pattern(20, 5), 0, destination);
  SendRun runs[] = {before.run, oversized.run, after.run};
  const SendReport report = from.send(scratch, runs);
  CHECK_EQ(report.datagrams_sent, 2u);
  CHECK_EQ(report.datagrams_failed, 1u);
  CHECK_EQ(runs[1].error, EMSGSIZE);
  CHECK_EQ(runs[0].error, 0);
  got = collect(to, AF_INET, 2, batch);
  CHECK(got.datagrams[0] == before.bytes && got.datagrams[1] == after.bytes);
}

TEST("400 runs in parts keep their order") {
  enter_namespace();
  UdpSockets from = bound();
  UdpSockets to = bound();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create(8));
  std::vector<std::unique_ptr<OwnedRun>> owned;
  std::vector<SendRun> runs;
  std::vector<Bytes> expected4;
  std::vector<Bytes> expected6;
  for (uint32_t i = 0; i < 400; ++i) {
    const bool v6 = i % 3 == 1;
    // Each in parts that do not end where datagrams do.
    auto run = std::make_unique<OwnedRun>(pattern(100 + i % 7 * 150, i), 200, v6 ? address6("::1", to.port()) : address4("127.0.0.1", to.port()));
    run->vectors.clear();
    for (std::size_t at = 0; at < run->bytes.size(); at += 64) run->vectors.push_back({run->bytes.data() + at, std::min<std::size_t>(64, run->bytes.size() - at)});
    run->run.parts = run->vectors;
    for (Bytes& datagram : cut(run->bytes, 200)) (v6 ? expected6 : expected4).push_back(std::move(datagram));
    runs.push_back(run->run);
    owned.push_back(std::move(run));
  }
  const SendReport report = from.send(scratch, runs);
  CHECK_EQ(std::size_t{report.datagrams_sent}, expected4.size() + expected6.size());
  CHECK(collect(to, AF_INET, expected4.size(), batch).datagrams == expected4);
  CHECK(collect(to, AF_INET6, expected6.size(), batch).datagrams == expected6);
}

TEST("what does not fit a buffer is dropped and counted") {
  enter_namespace();
  UdpSockets from = bound();
  UdpSockets to = bound();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create(4, 2048));
  const SocketAddress destination = address4("127.0.0.1", to.port());
  OwnedRun run(pattern(4 * 1000, 1), 1000, destination);  // GRO gives 4,000 bytes at once
  OwnedRun fits(pattern(1000, 2), 0, destination);
  send_one(from, scratch, run);
  send_one(from, scratch, fits);
  const Collected got = collect(to, AF_INET, 1, batch);
  CHECK(got.datagrams[0] == fits.bytes);
  CHECK_EQ(batch.truncated(), uint64_t{1});
}

// — a veth pair: we are 10.9.0.1 / fd09::1, the other side has two addresses of each family, …3 being chosen only when asked for —

struct Wire {
  OtherNamespace other;
  Wire() {
    other.run([] { shell("ip link add osb type veth peer name osa netns " + std::to_string(::getpid())); });
    shell("ip addr add 10.9.0.1/24 dev osa && ip addr add fd09::1/64 dev osa nodad && ip link set osa up");
    other.run([] {
      shell(
          "ip addr add 10.9.0.2/24 dev osb && ip addr add 10.9.0.3/24 dev osb && ip addr add fd09::2/64 dev osb nodad && "
          "ip addr add fd09::3/64 dev osb nodad preferred_lft 0 && ip link set osb up");
    });
  }
  Wire(const Wire&) = delete;
  ~Wire() { shell("ip link del osa"); }
  UdpSockets bind_there() const {
    UdpSockets sockets;
    other.run([&] { sockets = bound(); });
    return sockets;
  }
};

int errno_seen = 0;
int recording_sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  const int sent = ::sendmmsg(fd, messages, count, flags);
  if (sent < 0) errno_seen = errno;
  return sent;
}

TEST("answers come from the address that was addressed, until it is gone") {
  enter_namespace();
  const Wire wire;
  UdpSockets here = bound();
  UdpSockets there = wire.bind_there();
  errno_seen = 0;
  SendScratch scratch = must(SendScratch::create(recording_sendmmsg));
  ReceiveBatch batch = must(ReceiveBatch::create());
  for (const bool v6 : {false, true}) {
    const sa_family_t family = v6 ? AF_INET6 : AF_INET;
    const std::string second = v6 ? "fd09::3" : "10.9.0.3";
    OwnedRun question(pattern(5 * 1400, 1), 1400, v6 ? address6("fd09::3", there.port()) : address4("10.9.0.3", there.port()));
    CHECK_EQ(send_one(here, scratch, question).datagrams_sent, 5u);
    const Collected asked = collect(there, family, 5, batch);
    CHECK(asked.datagrams == cut(question.bytes, 1400));
    CHECK_EQ(text_of(asked.runs[0].local), second);

    OwnedRun answer(pattern(5 * 1400, 2), 1400, asked.runs[0].source);
    answer.run.source = asked.runs[0].local;
    CHECK_EQ(send_one(there, scratch, answer).datagrams_sent, 5u);
    CHECK(!answer.run.forget_source);
    CHECK_EQ(text_of(collect(here, family, 5, batch).runs[0].source), second);

    // Without it the kernel would choose otherwise, and once the address is gone it has to.
    answer.run.source = LocalSource{};
    send_one(there, scratch, answer);
    CHECK(text_of(collect(here, family, 5, batch).runs[0].source) != second);
    wire.other.run([&] { shell(v6 ? "ip addr del fd09::3/64 dev osb" : "ip addr del 10.9.0.3/24 dev osb"); });
    for (const uint32_t segment : {1400u, 0u}) {
      OwnedRun late(pattern(segment == 0 ? 100 : 3 * 1400, 3), segment, asked.runs[0].source);
      late.run.source = asked.runs[0].local;
      errno_seen = 0;
      const std::size_t expected = segment == 0 ? 1 : 3;
      CHECK_EQ(std::size_t{send_one(there, scratch, late).datagrams_sent}, expected);
      CHECK_EQ(errno_seen, v6 ? EINVAL : ENETUNREACH);
      CHECK(late.run.forget_source);
      CHECK_EQ(late.run.error, 0);
      const Collected got = collect(here, family, expected, batch);
      CHECK(got.datagrams == cut(late.bytes, segment == 0 ? 100 : 1400));
      CHECK_EQ(text_of(got.runs[0].source), std::string(v6 ? "fd09::2" : "10.9.0.2"));
    }
  }
}

TEST("link-local sources and scopes") {
  enter_namespace();
  const Wire wire;
  UdpSockets here = bound();
  UdpSockets there = wire.bind_there();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create());
  shell("ip addr add fe80::a/64 dev osa nodad");
  wire.other.run([] { shell("ip addr add fe80::b/64 dev osb nodad"); });
  const auto index_here = static_cast<uint32_t>(std::stoul(shell_output("ip -o link show osa")));
  OwnedRun question(pattern(100, 1), 0, address6("fe80::b", there.port(), index_here));
  CHECK_EQ(send_one(here, scratch, question).datagrams_sent, 1u);
  const Collected asked = collect(there, AF_INET6, 1, batch);
  CHECK(asked.runs[0].source.scope_id() != 0);
  OwnedRun answer(pattern(100, 2), 0, asked.runs[0].source);
  answer.run.source = asked.runs[0].local;
  CHECK_EQ(send_one(there, scratch, answer).datagrams_sent, 1u);
  CHECK(!answer.run.forget_source);
  CHECK_EQ(text_of(collect(here, AF_INET6, 1, batch).runs[0].source), std::string("fe80::b"));

  // From a global address to a link-local one: the answer's interface follows from nothing but its source.
  question.run.source.family = AF_INET6;
  CHECK(::inet_pton(AF_INET6, "fd09::1", question.run.source.address) == 1);
  CHECK_EQ(send_one(here, scratch, question).datagrams_sent, 1u);
  const Collected again = collect(there, AF_INET6, 1, batch);
  CHECK_EQ(text_of(again.runs[0].source), std::string("fd09::1"));
  OwnedRun back(pattern(100, 3), 0, again.runs[0].source);
  back.run.source = again.runs[0].local;
  CHECK_EQ(send_one(there, scratch, back).datagrams_sent, 1u);
  CHECK(!back.run.forget_source);
  CHECK_EQ(text_of(collect(here, AF_INET6, 1, batch).runs[0].source), std::string("fe80::b"));
}

TEST("segments beyond the MTU are fragmented unless forbidden") {
  enter_namespace();
  const Wire wire;
  UdpSockets here = bound();
  UdpSockets there = wire.bind_there();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create());
  for (const bool v6 : {false, true}) {
    const sa_family_t family = v6 ? AF_INET6 : AF_INET;
    const SocketAddress destination = v6 ? address6("fd09::2", there.port()) : address4("10.9.0.2", there.port());
    OwnedRun jumbo(pattern(5 * 4000 + 17, 1), 4000, destination);
    CHECK_EQ(send_one(here, scratch, jumbo).datagrams_sent, 6u);
    CHECK(collect(there, family, 6, batch).datagrams == cut(jumbo.bytes, 4000));
    CHECK(here.gso());

    must(here.set_fragmenting(family, false));
    OwnedRun probe(pattern(1600, 2), 0, destination);
    send_one(here, scratch, probe);
    CHECK_EQ(probe.run.error, EMSGSIZE);
    CHECK_EQ(probe.run.datagrams_failed, 1u);
    OwnedRun small(pattern(1400, 3), 0, destination);
    CHECK_EQ(send_one(here, scratch, small).datagrams_sent, 1u);
    CHECK(collect(there, family, 1, batch).datagrams[0] == small.bytes);
    must(here.set_fragmenting(family, true));
    CHECK_EQ(send_one(here, scratch, probe).datagrams_sent, 1u);
    CHECK(collect(there, family, 1, batch).datagrams[0] == probe.bytes);
  }
}

TEST("nobody there is told and nothing else suffers") {
  enter_namespace();
  UdpSockets from = bound();
  UdpSockets to = bound();
  SendScratch scratch = must(SendScratch::create());
  ReceiveBatch batch = must(ReceiveBatch::create());
  OwnedRun nowhere(pattern(100, 1), 0, address4("203.0.113.1", 9));  // this namespace has no route to it
  OwnedRun here(pattern(100, 2), 0, address4("127.0.0.1", to.port()));
  SendRun runs[] = {nowhere.run, here.run};
  CHECK_EQ(from.send(scratch, runs).datagrams_sent, 1u);
  CHECK_EQ(runs[0].error, ENETUNREACH);
  CHECK_EQ(runs[1].error, 0);
  CHECK(collect(to, AF_INET, 1, batch).datagrams[0] == here.bytes);
}

}  // namespace
}  // namespace warren::test
