// What relays mean to runs: headers in front of each message of a run that leaves as one send, received runs with such headers opened in
// place and merged as ever, and a relay's sends, made of what it received and where it received it. Rules for single
// datagrams: test/conformance.

#include <algorithm>

#include "core_support.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

const SocketAddress kRelayAddress = address4("203.0.113.50", 3478);

/** A plane with one peer that talks to itself by a relay. */
struct ByRelay : OnePlane {
  explicit ByRelay(bool coalesce = false) : OnePlane(coalesce) {
    plane.set_relay(1, kRelayAddress);
    peer = add_peer(false);
    install(peer, 1);
    plane.set_endpoint(peer, relayed_at(1, 9));
  }
  uint32_t peer;
};

std::vector<Bytes> packets_of(uint32_t peer, uint32_t count, uint32_t payload) {
  return std::vector<Bytes>(count, packet_of(peer, payload));
}

/** Every datagram has its header; what is behind it opens, all in order. */
void check_returns(OnePlane& one, size_t packets) {
  std::vector<SentRun> runs = std::move(one.sink.sent);
  one.sink.sent.clear();
  one.sink.written.clear();
  one.inbound(std::move(runs));
  CHECK_EQ(one.sink.written.size(), packets);
}

}  // namespace

TEST("a run by a relay is one send of one piece, each message with its header") {
  ByRelay one;
  one.outbound(packets_of(one.peer, 40, 1200));
  CHECK_EQ(one.sink.sent.size(), size_t{1});
  const SentRun& run = one.sink.sent[0];
  CHECK(run.destination == kRelayAddress);
  CHECK_EQ(run.segment_size, kRelayHeader + 1232 + kMessageOverhead);
  CHECK_EQ(one.sink.pieces[0].size(), size_t{1});
  for (const Bytes& datagram : cut(run.bytes, run.segment_size)) {
    CHECK_EQ(Bytes(datagram.begin(), datagram.begin() + kRelayHeader), relayed(9, {}));
  }
  CHECK_EQ(one.record(one.peer, RecordField::tx_bytes), 40.0 * (1232 + kMessageOverhead));
  check_returns(one, 40);
}

TEST("lengths, ECN marks and peers that change close runs by a relay as they do others") {
  ByRelay one;
  const uint32_t direct = one.add_peer();
  one.install(direct, 2);
  std::vector<Bytes> packets;
  for (const uint32_t payload : {500u, 500u, 100u, 900u}) packets.push_back(packet_of(one.peer, payload));
  packets.push_back(packet_of(direct, 900));
  packets.push_back(packet_of(one.peer, 900));
  packets.push_back(packet_of(one.peer, 900, 2));
  one.outbound(packets);
  std::vector<size_t> lengths;
  for (const SentRun& run : one.sink.sent) lengths.push_back(run.bytes.size());
  const size_t large = 928 + kMessageOverhead;
  CHECK_EQ(lengths.size(), size_t{5});
  CHECK_EQ(lengths[0], 2 * (528 + kMessageOverhead) + (128 + kMessageOverhead) + 3 * kRelayHeader);
  CHECK(lengths == (std::vector<size_t>{lengths[0], large + kRelayHeader, large, large + kRelayHeader, large + kRelayHeader}));
  check_returns(one, 7);
}

TEST("more than the arena holds leaves in several sends, nothing lost and nothing twice") {
  for (const uint32_t payload : {1u, 100u, 1372u}) {
    ByRelay one;
    one.outbound(packets_of(one.peer, 3000, payload));
    CHECK(one.sink.sent.size() > 1);
    check_returns(one, 3000);
    CHECK_EQ(one.drops(Drop::inReplayed), uint64_t{0});
  }
}

TEST("what the send buffer does not take by a relay is tried again from the first that is missing") {
  ByRelay one;
  one.sink.room = 7;
  one.sink.room_after_wait = 100;
  one.outbound(packets_of(one.peer, 30, 300));
  CHECK_EQ(one.sink.waits, 1u);
  CHECK_EQ(one.sink.sent.size(), size_t{2});
  check_returns(one, 30);
}

TEST("an endpoint that becomes or ceases to be relayed in the middle of a batch does no harm") {
  Random random(71);
  for (int round = 0; round < 200; ++round) {
    ByRelay one;
    const bool to_relay = random.one_in(2);
    const SocketAddress direct = OnePlane::endpoint_of(one.peer);
    one.plane.set_endpoint(one.peer, to_relay ? direct : relayed_at(1, 9));
    const uint32_t count = 1 + random.below(random.one_in(4) ? 3000 : 60);
    const uint32_t payload = 1 + random.below(random.one_in(2) ? 40 : 1300);
    const uint32_t other = random.below(count + 1);
    one.plane.begin_batch(*one.context, one.now);
    for (uint32_t i = 0; i < count; ++i) {
      const Bytes packet = packet_of(one.peer, i % 7 == 6 ? 1 + payload / 2 : payload);
      one.plane.outbound(*one.context, VirtioNetHeader{}, packet);
      if (i == other) one.plane.set_endpoint(one.peer, to_relay ? relayed_at(1, 9) : direct);
    }
    one.plane.set_endpoint(one.peer, to_relay ? relayed_at(1, 9) : direct);
    one.plane.end_batch(*one.context);
    CHECK_EQ(one.sink.datagrams().size(), size_t{count});
    check_returns(one, count);
    CHECK_EQ(one.drops(Drop::inBadTag) + one.drops(Drop::inReplayed), uint64_t{0});
  }
}

TEST("a received run by a relay is opened in place and merged as one from a peer itself") {
  const auto writes = [](bool by_relay) {
    ByRelay one(true);
    if (!by_relay) one.plane.set_endpoint(one.peer, OnePlane::endpoint_of(one.peer));
    FlowSpec flow;
    flow.source = flow.destination = {10, static_cast<uint8_t>(one.peer), 0, 1};
    Bytes super;
    const VirtioNetHeader header = build_super(flow, Bytes(40 * 1300, 1), 1300, super);
    one.plane.begin_batch(*one.context, one.now);
    one.plane.outbound(*one.context, header, super);
    one.plane.end_batch(*one.context);
    CHECK_EQ(one.sink.sent.size(), size_t{1});
    std::vector<SentRun> runs = std::move(one.sink.sent);
    one.sink.sent.clear();
    one.inbound(std::move(runs));
    CHECK_EQ(one.context->counters.get(Total::tunPacketsOut), uint64_t{40});
    return one.sink.written;
  };
  const std::vector<Bytes> merged = writes(true);
  CHECK_EQ(merged.size(), size_t{1});
  CHECK(merged == writes(false));
}

TEST("one received run may hold datagrams of several slots, the relay's own and bad ones") {
  OnePlane one;
  one.plane.set_relay(1, kRelayAddress);
  std::vector<Bytes> sent[2];
  for (uint32_t peer = 0; peer < 2; ++peer) {
    CHECK_EQ(one.add_peer(false), peer);
    one.install(peer, 1 + peer);
    one.plane.set_endpoint(peer, relayed_at(1, static_cast<uint8_t>(1 + peer)));
    one.outbound(packets_of(peer, 6, 100));
    sent[peer] = one.sink.datagrams();
    one.sink.sent.clear();
  }
  const uint32_t segment = static_cast<uint32_t>(sent[0][0].size());
  Bytes run;
  const auto put = [&](const Bytes& datagram) {
    Bytes padded = datagram;
    padded.resize(segment);
    run.insert(run.end(), padded.begin(), padded.end());
  };
  for (int i = 0; i < 3; ++i) {
    put(sent[0][static_cast<size_t>(2 * i)]);
    put(sent[0][static_cast<size_t>(2 * i + 1)]);
    put(sent[1][static_cast<size_t>(i)]);
    put(Bytes{4, 0, 0, 0, 99});
    put(relayed(1, Bytes{5, 0, 0, 0}));
    Bytes no_slot = sent[1][5];
    std::fill_n(no_slot.begin() + kRelaySlotAt, kRelaySlotBytes, uint8_t{0});
    put(no_slot);
  }
  one.inbound({{run, segment, kRelayAddress, {}, 0}});
  CHECK_EQ(one.sink.written.size(), size_t{9});
  CHECK_EQ(one.drops(Drop::inUnknownIndex), uint64_t{3});
  CHECK_EQ(one.drops(Drop::inUnknownType), uint64_t{3});
  CHECK_EQ(one.drops(Drop::inRelayUnknown), uint64_t{3});
  // Each came from where its peer is: nobody roamed.
  for (const Descriptor& told : one.poll()) CHECK(told.kind != static_cast<uint32_t>(DescriptorKind::roamed));
}

TEST("more sources by relays than items that are opened at once keep their peers apart") {
  OnePlane one;
  one.plane.set_relay(1, kRelayAddress);
  const uint32_t peer = one.add_peer();
  one.install(peer, 1);
  one.outbound(packets_of(peer, 2 * kOpenJobsMax + 10, 50));
  std::vector<SentRun> runs;
  uint8_t slot = 0;
  for (const Bytes& message : one.sink.datagrams()) runs.push_back({relayed(++slot, message), 0, kRelayAddress, {}, 0});
  one.sink.sent.clear();
  one.inbound(std::move(runs));
  CHECK_EQ(one.sink.written.size(), size_t{2 * kOpenJobsMax + 10});
  CHECK(one.plane.endpoint(peer) == relayed_at(1, slot));
}

TEST("a frame that must not be fragmented leaves the sockets as they were") {
  ByRelay one;
  const Bytes frame(64, 0);
  CHECK(one.plane.send_frame_to(one.peer, frame, OnePlane::endpoint_of(3), true, one.now) == FrameSent::sent);
  CHECK(one.sink.fragmenting);
  one.sink.room = 0;
  CHECK(one.plane.send_frame_to(one.peer, frame, OnePlane::endpoint_of(3), true, one.now) == FrameSent::failed);
  CHECK(one.sink.fragmenting);
  CHECK_EQ(one.drops(Drop::outSocketFull), uint64_t{1});
  CHECK(one.poll().empty());
}
