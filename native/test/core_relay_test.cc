// A relay's sends: one for what a run brought to one user, made of the bytes where they were received; several runs to one user together;
// order, room, sources that are gone, and ten thousand users. Rules for single datagrams: test/conformance.

#include <algorithm>
#include <map>

#include "core_support.h"

using namespace warren;
using namespace warren::test;

namespace {

const RelayLimits kUnlimited{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};

/** Users 0 … count − 1 with slots that end in 1 … count, at 192.0.2.1 … count. */
struct Relay : OnePlane {
  explicit Relay(uint32_t users = 3) {
    for (uint32_t user = 0; user < users; ++user) {
      CHECK_EQ(plane.add_peer(true), user);
      plane.set_endpoint(user, endpoint_of(user));
      set_slot(user, kUnlimited);
    }
  }
  void set_slot(uint32_t user, const RelayLimits& limits) {
    plane.set_relay_slot(user, relay_slot(slot_of(user)).data(), limits, now);
  }
  static uint8_t slot_of(uint32_t user) { return static_cast<uint8_t>(user + 1); }
};

/** A WireGuard message as far as one sees from outside, numbered. */
Bytes message(uint32_t length, uint32_t number = 0) {
  Bytes bytes(length, 0x55);
  store_le32(bytes.data(), 4);
  store_le32(bytes.data() + 8, number);
  return bytes;
}

Bytes run_to(uint32_t user, uint32_t count, uint32_t length, uint32_t first = 0) {
  Bytes run;
  for (uint32_t i = 0; i < count; ++i) {
    const Bytes datagram = relayed(Relay::slot_of(user), message(length, first + i));
    run.insert(run.end(), datagram.begin(), datagram.end());
  }
  return run;
}

SentRun from(uint32_t user, Bytes bytes, uint32_t segment) {
  return {std::move(bytes), segment, OnePlane::endpoint_of(user), {}, 0};
}

}  // namespace

TEST("what one run brings to one user leaves as one send, from where it was received") {
  Relay relay;
  const uint32_t segment = kRelayHeader + 96;
  Bytes bytes = run_to(1, 40, 96);
  bytes.resize(bytes.size() - 16);  // the last one is shorter
  ReceivedRun run;
  run.data = bytes.data();
  run.length = static_cast<uint32_t>(bytes.size());
  run.segment_size = segment;
  run.source = OnePlane::endpoint_of(0);
  relay.plane.begin_batch(*relay.context, relay.now);
  relay.plane.inbound(*relay.context, {&run, 1});
  relay.plane.end_batch(*relay.context);
  CHECK_EQ(relay.sink.sent.size(), size_t{1});
  CHECK_EQ(relay.sink.pieces[0].size(), size_t{1});
  CHECK(relay.sink.pieces[0][0].iov_base == bytes.data());
  CHECK(relay.sink.sent[0].destination == OnePlane::endpoint_of(1));
  CHECK_EQ(relay.sink.sent[0].segment_size, segment);
  Bytes expected = run_to(0, 40, 96);
  expected.resize(bytes.size());
  CHECK_EQ(relay.sink.sent[0].bytes, expected);
  CHECK_EQ(relay.record(0, RecordField::relay_rx_packets), 40.0);
  CHECK_EQ(relay.record(1, RecordField::relay_tx_bytes), static_cast<double>(bytes.size()));
}

TEST("several runs to one user are one send until a shorter datagram, another length, user or mark comes") {
  Relay relay;
  const uint32_t segment = kRelayHeader + 96;
  std::vector<SentRun> runs;
  for (uint32_t i = 0; i < 5; ++i) runs.push_back(from(0, run_to(1, 1, 96, i), 0));
  runs.push_back(from(0, run_to(1, 3, 96, 5), segment));
  runs.push_back(from(0, run_to(1, 1, 80, 8), 0));
  runs.push_back(from(0, run_to(1, 1, 80, 9), 0));
  runs.push_back(from(0, run_to(1, 1, 96, 10), 0));
  runs.push_back(from(0, run_to(2, 1, 96, 11), 0));
  runs.push_back(from(0, run_to(1, 1, 96, 12), 0));
  relay.inbound(runs);
  std::vector<size_t> datagrams;
  for (const SentRun& run : relay.sink.sent) datagrams.push_back(run.segment_size == 0 ? 1 : cut(run.bytes, run.segment_size).size());
  CHECK(datagrams == (std::vector<size_t>{9, 1, 1, 1, 1}));
  CHECK_EQ(relay.sink.pieces[0].size(), size_t{7});
  const std::vector<Bytes> all = relay.sink.datagrams();
  for (uint32_t i = 0; i < all.size(); ++i) CHECK_EQ(load_le32(all[i].data() + kRelayHeader + 8), i);
  CHECK_EQ(relay.context->counters.get(Total::udpSendCalls), uint64_t{1});
}

TEST("two users who send to the same one at once do not mix up their slots") {
  Relay relay;
  relay.inbound({from(0, run_to(2, 4, 96), kRelayHeader + 96), from(1, run_to(2, 4, 96), kRelayHeader + 96)});
  const std::vector<Bytes> all = relay.sink.datagrams();
  CHECK_EQ(all.size(), size_t{8});
  for (size_t i = 0; i < all.size(); ++i) CHECK_EQ(all[i][kRelayHeader - 1], Relay::slot_of(i < 4 ? 0 : 1));
}

TEST("whatever the mixture of users, lengths and rubbish, each user gets what is for it, whole and in order") {
  constexpr uint32_t kUsers = 200;
  Relay relay(kUsers);
  Random random(81);
  uint32_t number = 0;
  for (int round = 0; round < 60; ++round) {
    std::map<uint32_t, std::vector<uint32_t>> expected;
    std::vector<SentRun> runs;
    uint64_t rubbish = 0;
    const uint64_t refused = relay.drops(Drop::relayBadInner) + relay.drops(Drop::relayNoSlot);
    for (uint32_t r = 1 + random.below(30); r > 0; --r) {
      const uint32_t sender = random.below(kUsers);
      const uint32_t length = 32 + random.below(200);
      Bytes run;
      const uint32_t count = 1 + random.below(40);
      for (uint32_t i = 0; i < count; ++i) {
        const uint32_t receiver = random.one_in(3) ? random.below(kUsers) : sender == 0 ? 1 : 0;
        Bytes datagram = relayed(Relay::slot_of(receiver), message(length, ++number));
        if (random.one_in(9)) datagram[kRelayHeader] = 5;
        if (datagram[kRelayHeader] == 5 || receiver == sender) {
          ++rubbish;
        } else {
          expected[receiver].push_back(number);
        }
        run.insert(run.end(), datagram.begin(), datagram.end());
      }
      runs.push_back(from(sender, std::move(run), kRelayHeader + length));
    }
    relay.inbound(std::move(runs));
    CHECK_EQ(relay.drops(Drop::relayBadInner) + relay.drops(Drop::relayNoSlot) - refused, rubbish);
    std::map<uint32_t, std::vector<uint32_t>> got;
    for (const SentRun& run : relay.sink.sent) {
      const uint32_t receiver = run.destination.bytes()[3] - 1u;
      for (const Bytes& datagram : cut(run.bytes, run.segment_size == 0 ? run.bytes.size() : run.segment_size)) {
        got[receiver].push_back(load_le32(datagram.data() + kRelayHeader + 8));
      }
    }
    CHECK(got == expected);
    relay.sink.sent.clear();
    relay.sink.pieces.clear();
  }
}

TEST("what the send buffer does not take is lost and counted, and nobody waits") {
  Relay relay;
  relay.sink.room = 10;
  relay.inbound({from(0, run_to(1, 40, 96), kRelayHeader + 96)});
  CHECK_EQ(relay.sink.waits, 0u);
  CHECK_EQ(relay.drops(Drop::outSocketFull), uint64_t{30});
  CHECK_EQ(relay.context->counters.get(Total::udpDatagramsOut), uint64_t{10});
  CHECK(relay.poll().empty());
}

TEST("the limit falls in the middle of a run") {
  Relay relay;
  relay.set_slot(0, RelayLimits{1000, 5 * 108});
  relay.inbound({from(0, run_to(1, 40, 96), 108)});
  CHECK_EQ(relay.sink.datagrams().size(), size_t{5});
  CHECK_EQ(relay.drops(Drop::relayLimited), uint64_t{35});
  relay.now += 216;
  relay.inbound({from(0, run_to(1, 40, 96), 108)});
  CHECK_EQ(relay.sink.datagrams().size(), size_t{7});
}

TEST("an address of ours that is gone is forgotten for the user it was for") {
  Relay relay;
  relay.install(1, 5);
  const Bytes keepalive = [&] {
    CHECK(relay.plane.send_keepalive(1, relay.now));
    return relay.sink.sent[0].bytes;
  }();
  relay.sink.sent.clear();
  ReceivedRun run;
  Bytes copy = keepalive;
  run.data = copy.data();
  run.length = run.segment_size = static_cast<uint32_t>(copy.size());
  run.source = OnePlane::endpoint_of(1);
  run.local.family = AF_INET;
  run.local.address[0] = 10;
  relay.plane.begin_batch(*relay.context, relay.now);
  relay.plane.inbound(*relay.context, {&run, 1});
  relay.plane.end_batch(*relay.context);
  relay.sink.forget_source = true;
  for (const sa_family_t family : {AF_INET, AF_UNSPEC}) {
    relay.inbound({from(0, run_to(1, 1, 96), 0)});
    CHECK_EQ(relay.sink.sent.back().source.family, family);
  }
}

TEST("the ECN mark that a datagram came with goes on, and its DSCP does not") {
  Relay relay;
  for (const uint8_t tos : {uint8_t{0xba}, uint8_t{0xbb}, uint8_t{0xb8}}) {
    relay.inbound({from(0, run_to(1, 1, 96), 0)}, nullptr, tos);
    CHECK_EQ(relay.sink.sent.back().tos, tos & 3);
  }
}

TEST("ten thousand users come and go and leave nothing") {
  CountingWaker waker;
  TestSink sink;
  const auto context = make_context(sink);
  Plane plane(PlaneOptions{}, waker, *context);
  const auto endpoint_of = [](uint32_t user) {
    const uint8_t address[4] = {10, 1, static_cast<uint8_t>(user >> 8), static_cast<uint8_t>(user)};
    return SocketAddress::from_ipv4(address, 51820);
  };
  for (int round = 0; round < 2; ++round) {
    for (uint32_t user = 0; user < 10'000; ++user) {
      CHECK_EQ(plane.add_peer(true), user);
      plane.set_endpoint(user, endpoint_of(user));
      uint8_t slot[8] = {1};
      store_le32(slot + 4, user);
      plane.set_relay_slot(user, slot, kUnlimited, 1000);
    }
    CHECK_EQ(plane.relay_users(), size_t{10'000});
    for (uint32_t user = 0; user < 10'000; ++user) plane.remove_peer(user, 1000);
    CHECK_EQ(plane.relay_users(), size_t{0});
  }
}
