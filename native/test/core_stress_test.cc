// Two workers carry packets while a third thread gives every kind of command, at random: for ThreadSanitizer, and for the
// invariants that only show under contention. No counter is used twice under a key, no packet reaches a wrong peer, and
// when all peers are gone nothing is left of them. docs/dataplane.md; DESIGN's invariants of a run.

#include <atomic>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "core_support.h"

using namespace warren;
using namespace warren::test;

namespace {

constexpr uint32_t kPeers = 6;
/** In a message that a relay forwards: nobody's index, and no counter that anybody keeps. */
constexpr uint32_t kForeign = 0xffff'ffff;

SocketAddress relay_address(uint32_t number) { return OnePlane::endpoint_of(100 + number); }

/** Every counter that left under every index, over all threads. */
class CounterBook {
 public:
  void note(uint32_t index, uint64_t counter) {
    const std::lock_guard lock(mutex_);
    CHECK(seen_[index].insert(counter).second);
  }
  size_t size() {
    const std::lock_guard lock(mutex_);
    size_t all = 0;
    for (const auto& [index, counters] : seen_) all += counters.size();
    return all;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<uint32_t, std::unordered_set<uint64_t>> seen_;
};

/** Checks what leaves, and keeps some of it to be received again. Full now and then. */
class StressSink final : public Sink {
 public:
  StressSink(CounterBook& book, uint64_t seed) : book_(book), random_(seed) {}

  SendReport send(std::span<SendRun> runs) noexcept override {
    SendReport report;
    const bool full = random_.one_in(20);
    for (SendRun& run : runs) {
      const Bytes bytes = bytes_of(run);
      const size_t length = bytes.size();
      const size_t step = run.segment_size == 0 ? length : run.segment_size;
      const auto datagrams = static_cast<uint32_t>((length + step - 1) / step);
      run.error = full ? EAGAIN : 0;
      run.forget_source = random_.one_in(50);
      run.datagrams_sent = full ? 0 : datagrams;
      run.datagrams_failed = full ? datagrams : 0;
      (full ? report.datagrams_full : report.datagrams_sent) += datagrams;
      if (full) continue;
      for (Bytes& message : cut(bytes, step)) {
        const bool by_relay = has_relay_type(message.data(), static_cast<uint32_t>(message.size()));
        const Bytes inner(message.begin() + (by_relay ? kRelayHeader : 0), message.end());
        if (load_le32(inner.data()) != 4 || index_of(inner) == kForeign) continue;
        book_.note(index_of(inner), counter_of(inner));
        if (kept.size() < 64) kept.push_back(std::move(message));
      }
    }
    return report;
  }
  bool set_fragmenting(sa_family_t, bool) noexcept override { return true; }
  bool wait_for_room() noexcept override {
    std::this_thread::yield();
    return !random_.one_in(4);
  }
  bool write(std::span<const iovec> pieces) noexcept override {
    const iovec& piece = pieces.back();
    const auto* packet = static_cast<const uint8_t*>(piece.iov_base);
    // What this sink was given is from one peer to itself; an ICMP answer is short of such a payload.
    if (pieces.size() == 1 && packet[9] == 17 && piece.iov_len > 28) CHECK_EQ(packet[piece.iov_len - 1], packet[13]);
    return true;
  }
  bool vnet_header() const noexcept override { return false; }

  std::vector<Bytes> kept;

 private:
  CounterBook& book_;
  Random random_;
};

std::unique_ptr<Context> stress_context(StressSink& sink) {
  return std::make_unique<Context>(sink, make_aead(), nullptr);
}

uint32_t index_of_inner(const Bytes& datagram) { return load_le32(datagram.data() + kRelayHeader + 4); }

/** Something for this plane to forward, to one of its users perhaps. */
Bytes foreign(Random& random) {
  Bytes inner(32 + random.below(100), 3);
  store_le32(inner.data(), 4);
  store_le32(inner.data() + 4, kForeign);
  return relayed(static_cast<uint8_t>(random.below(kPeers)), inner);
}

void work(Plane& plane, Context& context, StressSink& sink, Random random, const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    plane.begin_batch(context, 1000);
    for (uint32_t i = random.below(12); i > 0; --i) {
      const Bytes packet = packet_of(random.below(kPeers), random.one_in(3) ? 200 : random.below(400));
      plane.outbound(context, VirtioNetHeader{}, packet);
    }
    plane.end_batch(context);

    std::vector<Bytes> messages;
    messages.swap(sink.kept);
    for (uint32_t i = random.below(20); i > 0; --i) messages.push_back(foreign(random));
    std::vector<ReceivedRun> runs;
    for (Bytes& message : messages) {
      if (random.one_in(40)) message[20] ^= 1;
      ReceivedRun run;
      run.data = message.data();
      run.length = run.segment_size = static_cast<uint32_t>(message.size());
      const bool from_relay = load_le32(message.data()) == kRelayMessageType && index_of_inner(message) != kForeign;
      run.source = from_relay ? relay_address(1 + random.below(2)) : OnePlane::endpoint_of(random.below(8));
      run.local.family = AF_INET;
      run.local.address[0] = static_cast<uint8_t>(random.below(4));
      runs.push_back(run);
    }
    plane.begin_batch(context, 1000);
    plane.inbound(context, runs);
    plane.end_batch(context);
  }
}

/** The JavaScript thread: every command, in any order that keeps the rules of use. */
class Commander {
 public:
  Commander(Plane& plane, uint64_t seed) : plane_(plane), random_(seed) {
    for (uint32_t i = 0; i < kPeers; ++i) add();
  }

  void one() {
    const uint32_t slot = random_.below(kPeers);
    switch (random_.below(24)) {
      case 0: return replace(slot);
      case 1:
      case 2: return install(slot, true);
      case 3:
      case 4: return install(slot, false);
      case 5: return plane_.set_endpoint(slot, somewhere());
      case 6: return plane_.clear_source(slot);
      case 7: return plane_.rearm(slot, static_cast<uint8_t>(random_.below(32)), 1000);
      case 8: return (void)plane_.flush_staged(slot, 1000);
      case 9: return (void)plane_.drop_staged(slot, random_.one_in(2), 1000);
      case 10: return (void)plane_.send_keepalive(slot, 1000);
      case 11: return (void)plane_.can_send(slot, 1000);
      case 12: return random_.one_in(4) ? plane_.clear_keypairs(slot) : plane_.expire_sending(slot);
      case 13: return handshake(slot);
      case 14: return move_prefix(slot);
      case 15: return expect(slot);
      case 16: return (void)plane_.endpoint(slot);
      case 17: return plane_.set_relay(1 + random_.below(2), random_.one_in(6) ? SocketAddress{} : relay_address(1 + random_.below(2)));
      case 18:
      case 19: return user(slot);
      case 20: return plane_.set_path_mtu(slot, random_.one_in(2) ? 0 : 576 + random_.below(200));
      case 21: return (void)plane_.send_frame_to(slot, Bytes(1 + random_.below(90), 0), somewhere(), random_.one_in(2), 1000);
      case 22: return (void)plane_.relay_users();
      default: return poll();
    }
  }

  void finish() {
    for (uint32_t slot = 0; slot < kPeers; ++slot) plane_.remove_peer(slot, 1000);
  }

 private:
  void add() {
    const uint32_t slot = plane_.add_peer(!random_.one_in(3));
    CHECK(slot < kPeers);
    own_prefix(slot);
    plane_.set_endpoint(slot, OnePlane::endpoint_of(slot));
    install(slot, true);
  }
  void own_prefix(uint32_t slot) {
    const uint8_t prefix[4] = {10, static_cast<uint8_t>(slot), 0, 0};
    CHECK(plane_.insert_allowed_ip(slot, Family::ipv4, prefix, 16));
  }
  SocketAddress somewhere() {
    if (random_.one_in(6)) return SocketAddress{};
    if (random_.one_in(3)) return relayed_at(1 + random_.below(2), static_cast<uint8_t>(random_.below(4)));
    return OnePlane::endpoint_of(random_.below(8));
  }
  void user(uint32_t slot) {
    const auto name = relay_slot(static_cast<uint8_t>(random_.below(kPeers)));
    const RelayLimits limits{random_.one_in(2) ? kNever : 1000, 10'000};
    plane_.set_relay_slot(slot, random_.one_in(5) ? nullptr : name.data(), limits, 1000);
  }
  void replace(uint32_t slot) {
    plane_.remove_peer(slot, 1000);
    add();
  }
  void install(uint32_t slot, bool initiator) {
    const SelfSession session(++index_, initiator);
    if (random_.one_in(2)) CHECK(plane_.expect_index(index_, slot));
    CHECK(plane_.install_keypair(slot, session.config));
  }
  void handshake(uint32_t slot) {
    const Bytes message(148, 1);
    plane_.send_handshake(slot, message, 1000);
    CHECK(plane_.send_to(OnePlane::endpoint_of(slot), message));
  }
  void move_prefix(uint32_t slot) {
    const uint8_t prefix[4] = {10, static_cast<uint8_t>(slot), 0, 1};
    CHECK(plane_.insert_allowed_ip((slot + 1) % kPeers, Family::ipv4, prefix, 32));
    plane_.remove_allowed_ip((slot + 1) % kPeers, Family::ipv4, prefix, 32);
  }
  void expect(uint32_t slot) {
    CHECK(plane_.expect_index(++index_, slot));
    if (random_.one_in(2)) plane_.forget_index(index_);
  }
  void poll() {
    Descriptor descriptors[kPollMax];
    const uint32_t count = plane_.poll(1000, descriptors);
    for (uint32_t i = 0; i < count; ++i) CHECK(descriptors[i].peer < kPeers || descriptors[i].peer == kNoPeer);
    CHECK(plane_.control().release(count));
    // Read as JavaScript reads them: without any lock.
    for (uint32_t slot = 0; slot < kPeers; ++slot) CHECK(plane_.records().record(slot).get(RecordField::tx_bytes) >= 0);
  }

  Plane& plane_;
  Random random_;
  uint32_t index_ = 0;
};

}  // namespace

TEST("two workers and every command at once break no invariant") {
  CounterBook book;
  CountingWaker waker;
  StressSink command_sink(book, 1);
  const auto commands = stress_context(command_sink);
  Plane plane(PlaneOptions{}, waker, *commands);
  plane.lock().lock();
  plane.set_bound(true);
  plane.lock().unlock();
  Commander commander(plane, 2);

  std::vector<std::unique_ptr<StressSink>> sinks;
  std::vector<std::unique_ptr<Context>> contexts;
  for (uint64_t i = 0; i < 2; ++i) {
    sinks.push_back(std::make_unique<StressSink>(book, 10 + i));
    contexts.push_back(stress_context(*sinks.back()));
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  for (size_t i = 0; i < 2; ++i) {
    workers.emplace_back([&, i, random = Random(20 + i)] { work(plane, *contexts[i], *sinks[i], random, stop); });
  }
  // Until enough has happened on every side, however the threads are scheduled.
  const auto sum = [&](Total which) {
    uint64_t packets = 0;
    for (const auto& context : contexts) packets += context->counters.get(which);
    return packets;
  };
  uint32_t given = 0;
  while (given < 20'000 || sum(Total::tunPacketsOut) < 5'000 || sum(Total::relayPackets) < 500) {
    commander.one();
    ++given;
  }
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& worker : workers) worker.join();
  commander.finish();
  const PlaneUsage usage = plane.usage();
  CHECK_EQ(usage.keypairs, size_t{0});
  CHECK_EQ(usage.indexes, size_t{0});
  CHECK_EQ(usage.prefixes, size_t{0});
  CHECK_EQ(usage.staging_blocks, size_t{0});
  CHECK_EQ(plane.relay_users(), size_t{0});
  CHECK(book.size() > 5'000);
  CHECK(waker.count.load() > 0);
}
