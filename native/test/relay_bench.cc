// Prints what a relay forwards: the plane alone with a sink that does nothing, then a live device between a source and a sink in namespaces
// of their own (needs root), and the memory of ten thousand users. Not a test: machines differ, and so do their neighbours.
//
//   source (process, namespace) —veth→ relay (one worker thread) —veth→ sink (process, namespace)

#include <sys/resource.h>
#include <sys/wait.h>
#include <dirent.h>
#include <malloc.h>

#include <chrono>
#include <cstdio>

#include "core_live_support.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

constexpr double kSeconds = 3;
/** A packet of 64 bytes inside: 64 + 32 sealed; and the largest of an MTU of 1,420. */
constexpr uint32_t kMessages[] = {96, 1452};
const RelayLimits kUnlimited{kNever, kNever};

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Bytes datagram_to(uint8_t slot, uint32_t message) {
  Bytes inner(message, 3);
  store_le32(inner.data(), 4);
  return relayed(slot, inner);
}

void set_slot(Plane& plane, uint32_t peer, uint8_t number, const RelayLimits& limits, double now) {
  plane.set_relay_slot(peer, relay_slot(number).data(), limits, now);
}

// — the plane alone —

class NullSink final : public Sink {
 public:
  SendReport send(std::span<SendRun> runs) noexcept override {
    SendReport report;
    report.calls = 1;
    report.datagrams_sent = static_cast<uint32_t>(runs.size());
    return report;
  }
  bool wait_for_room() noexcept override { return false; }
  bool set_fragmenting(sa_family_t, bool) noexcept override { return true; }
  bool write(std::span<const iovec>) noexcept override { return true; }
  bool vnet_header() const noexcept override { return false; }
};

void bench_plane(uint32_t per_run) {
  NullSink sink;
  CountingWaker waker;
  Context context(sink, make_aead(), nullptr);
  Plane plane(PlaneOptions{}, waker, context);
  plane.lock().lock();
  plane.set_bound(true);
  plane.lock().unlock();
  for (uint8_t peer = 0; peer < 2; ++peer) {
    plane.set_endpoint(plane.add_peer(true), OnePlane::endpoint_of(peer));
    set_slot(plane, peer, static_cast<uint8_t>(peer + 1), RelayLimits{1e12, 1e12}, 0);
  }
  constexpr uint32_t kRuns = 16;
  const Bytes one = datagram_to(2, 96);
  Bytes bytes;
  for (uint32_t i = 0; i < per_run; ++i) bytes.insert(bytes.end(), one.begin(), one.end());
  std::vector<Bytes> memory(kRuns, bytes);
  std::vector<ReceivedRun> runs(kRuns);
  double best = 1e18;
  for (int round = 0; round < 2000; ++round) {
    for (uint32_t i = 0; i < kRuns; ++i) {
      memory[i] = bytes;
      runs[i].data = memory[i].data();
      runs[i].length = static_cast<uint32_t>(bytes.size());
      runs[i].segment_size = static_cast<uint32_t>(one.size());
      runs[i].source = OnePlane::endpoint_of(0);
    }
    const double from = seconds_now();
    plane.begin_batch(context, round + 1.0);
    plane.inbound(context, runs);
    plane.end_batch(context);
    best = std::min(best, seconds_now() - from);
  }
  std::printf("plane alone, received runs of %u: %.1f ns each\n", per_run, best / (kRuns * per_run) * 1e9);
}

/** A super-packet from the TUN to sealed messages, with and without the header of relayed ones. */
void bench_sealing(uint32_t payload, bool by_relay) {
  NullSink sink;
  CountingWaker waker;
  Context context(sink, make_aead(), nullptr);
  Plane plane(PlaneOptions{}, waker, context);
  plane.lock().lock();
  plane.set_bound(true);
  plane.lock().unlock();
  const uint32_t peer = plane.add_peer(true);
  const uint8_t any[16] = {};
  CHECK(plane.insert_allowed_ip(peer, Family::ipv4, any, 0));
  CHECK(plane.install_keypair(peer, SelfSession(1, true).config));
  plane.set_relay(1, OnePlane::endpoint_of(9));
  plane.set_endpoint(peer, by_relay ? relayed_at(1, 1) : OnePlane::endpoint_of(1));
  constexpr uint32_t kSegments = 44;
  Bytes super;
  const VirtioNetHeader header = build_super(FlowSpec{}, Bytes(kSegments * payload, 1), static_cast<uint16_t>(payload), super);
  double best = 1e18;
  for (int round = 0; round < 5000; ++round) {
    const double from = seconds_now();
    plane.begin_batch(context, round + 1.0);
    plane.outbound(context, header, super);
    plane.end_batch(context);
    best = std::min(best, seconds_now() - from);
  }
  std::printf("sealing %u x %4u B %s: %.1f ns each\n", kSegments, payload, by_relay ? "by a relay" : "directly  ", best / kSegments * 1e9);
}

// — the live device —

/** CPU seconds of the worker thread so far. */
double worker_seconds() {
  double seconds = 0;
  DIR* const tasks = ::opendir("/proc/self/task");
  CHECK(tasks != nullptr);
  while (const dirent* task = ::readdir(tasks)) {
    const std::string path = std::string("/proc/self/task/") + task->d_name;
    FILE* const name = std::fopen((path + "/comm").c_str(), "r");
    if (name == nullptr) continue;
    char text[32] = {};
    const bool worker = std::fgets(text, sizeof text, name) != nullptr && std::strncmp(text, "warren-0", 8) == 0;
    std::fclose(name);
    if (!worker) continue;
    FILE* const stat = std::fopen((path + "/schedstat").c_str(), "r");
    unsigned long long nanoseconds = 0;
    if (stat != nullptr && std::fscanf(stat, "%llu", &nanoseconds) == 1) seconds = static_cast<double>(nanoseconds) / 1e9;
    if (stat != nullptr) std::fclose(stat);
  }
  ::closedir(tasks);
  return seconds;
}

/** A process in the namespace that runs until it is killed. */
pid_t child_in(const OtherNamespace& other, const std::function<void()>& body) {
  pid_t child = -1;
  other.run([&] {
    child = ::fork();
    if (child == 0) {
      body();
      std::_Exit(0);
    }
  });
  CHECK(child > 0);
  return child;
}

void end(pid_t child) {
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

void blast(uint16_t from_port, uint16_t to_port, uint32_t message, uint32_t per_run) {
  UdpOptions options;
  options.port = from_port;
  UdpSockets sockets = must(UdpSockets::bind(options));
  SendScratch scratch = must(SendScratch::create());
  const Bytes one = datagram_to(2, message);
  Bytes bytes;
  for (uint32_t i = 0; i < per_run; ++i) bytes.insert(bytes.end(), one.begin(), one.end());
  iovec part{bytes.data(), bytes.size()};
  std::vector<SendRun> runs(per_run == 1 ? 64 : 4);
  for (SendRun& run : runs) {
    run.parts = {&part, 1};
    run.segment_size = per_run == 1 ? 0 : static_cast<uint32_t>(one.size());
    run.destination = address4("198.18.1.1", to_port);
  }
  for (;;) {
    const SendReport report = sockets.send(scratch, runs);
    if (report.datagrams_full == 0) continue;
    pollfd full{sockets.fd4(), POLLOUT, 0};
    ::poll(&full, 1, 10);
  }
}

void drain(uint16_t port) {
  UdpOptions options;
  options.port = port;
  UdpSockets sockets = must(UdpSockets::bind(options));
  ReceiveBatch batch = must(ReceiveBatch::create(32));
  for (;;) {
    pollfd wait{sockets.fd4(), POLLIN, 0};
    ::poll(&wait, 1, -1);
    while (sockets.receive(AF_INET, batch) > 0) {
    }
  }
}

void bench_live(uint32_t message, uint32_t per_run) {
  OtherNamespace source;
  OtherNamespace destination;
  source.run([] { shell("ip link add vs type veth peer name vr1 netns " + std::to_string(::getpid())); });
  destination.run([] { shell("ip link add vd type veth peer name vr2 netns " + std::to_string(::getpid())); });
  shell("ip addr add 198.18.1.1/24 dev vr1 && ip link set vr1 up && ip addr add 198.18.2.1/24 dev vr2 && ip link set vr2 up");
  source.run([] { shell("ip addr add 198.18.1.2/24 dev vs && ip link set vs up"); });
  destination.run([] { shell("ip addr add 198.18.2.2/24 dev vd && ip link set vd up"); });
  EventWaker waker;
  LiveOptions options;
  options.tun = false;
  const auto device = must(LiveDevice::open(std::move(options), waker));
  const uint16_t port = device->bind(0, 0).port;
  Plane& plane = device->plane();
  plane.set_endpoint(plane.add_peer(true), address4("198.18.1.2", 7001));
  plane.set_endpoint(plane.add_peer(true), address4("198.18.2.2", 7002));
  set_slot(plane, 0, 1, kUnlimited, device->now());
  set_slot(plane, 1, 2, kUnlimited, device->now());
  const pid_t sink = child_in(destination, [] { drain(7002); });
  const pid_t sender = child_in(source, [&] { blast(7001, port, message, per_run); });
  while (device->sum(Total::relayPackets) < 10'000) std::this_thread::yield();
  const auto packets = [&] { return static_cast<double>(device->sum(Total::udpDatagramsOut)); };
  const double before = packets();
  const double cpu = worker_seconds();
  const double from = seconds_now();
  std::this_thread::sleep_for(std::chrono::duration<double>(kSeconds));
  const double forwarded = packets() - before;
  const double used = worker_seconds() - cpu;
  const double passed = seconds_now() - from;
  std::printf("live, messages of %4u in runs of %2u: %.0f packets/s (%.2f Gbit/s of messages), %.0f per CPU second of the worker, %.2f us each; lost to a full buffer %.0f\n",
              message, per_run, forwarded / passed, forwarded * message * 8 / passed / 1e9, forwarded / used,
              used / forwarded * 1e6, static_cast<double>(device->sum(Drop::outSocketFull)));
  end(sender);
  end(sink);
  shell("ip link del vr1 && ip link del vr2");
}

// — memory —

double resident_mb() {
  FILE* const file = std::fopen("/proc/self/statm", "r");
  unsigned long size = 0;
  unsigned long resident = 0;
  CHECK(file != nullptr && std::fscanf(file, "%lu %lu", &size, &resident) == 2);
  std::fclose(file);
  return static_cast<double>(resident) * 4096 / 1e6;
}

void bench_memory() {
  constexpr uint32_t kUsers = 10'000;
  EventWaker waker;
  LiveOptions options;
  options.tun = false;
  const double empty = resident_mb();
  const auto device = must(LiveDevice::open(std::move(options), waker));
  CHECK_EQ(device->bind(0, 0).error, 0);
  Plane& plane = device->plane();
  const double opened = resident_mb();
  for (uint32_t i = 0; i < kUsers; ++i) {
    const uint32_t peer = plane.add_peer(true);
    const uint8_t address[4] = {198, 19, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)};
    plane.set_endpoint(peer, SocketAddress::from_ipv4(address, 7));
    uint8_t slot[kRelaySlotBytes] = {1};
    store_le32(slot + 4, i);
    plane.set_relay_slot(peer, slot, kUnlimited, device->now());
  }
  const double users = resident_mb();
  // Each with the two sessions that a peer has around a rekey.
  for (uint32_t i = 0; i < 2 * kUsers; ++i) CHECK(plane.install_keypair(i % kUsers, SelfSession(1 + i, true).config));
  const double sessions = resident_mb();
  std::printf("memory: device %.1f MB, %u users %.1f MB more, with two sessions each %.1f MB more\n", opened - empty, kUsers,
              users - opened, sessions - users);
}

}  // namespace

TEST("relay") {
  enter_namespace();
  bench_memory();
  for (const uint32_t per_run : {1u, 64u}) bench_plane(per_run);
  for (const uint32_t payload : {24u, 1340u}) {
    for (const bool by_relay : {false, true}) bench_sealing(payload, by_relay);
  }
  for (const uint32_t message : kMessages) {
    for (const uint32_t per_run : {1u, message == 96 ? 64u : 44u}) bench_live(message, per_run);
  }
}
