// Tunnel to network in batches: what the conformance suite, which feeds one packet at a time, cannot see. Runs and what ends
// them, super-packets, counters that end within a run, full send buffers, staged packets. docs/dataplane.md, "Tunnel to
// network".

#include "core_support.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

TEST("packets of one peer leave as one run of equal messages, of which the last may be shorter") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 77);
  one.outbound({packet_of(peer, 1000), packet_of(peer, 1000), packet_of(peer, 1000), packet_of(peer, 100)});
  CHECK_EQ(one.sink.sent.size(), size_t{1});
  const SentRun& run = one.sink.sent[0];
  CHECK_EQ(run.segment_size, 1040u + 32u);
  CHECK_EQ(run.bytes.size(), size_t{3 * 1072 + 128 + 32});
  CHECK(run.destination == OnePlane::endpoint_of(peer));
  const auto messages = one.sink.datagrams();
  for (size_t i = 0; i < messages.size(); ++i) {
    CHECK_EQ(index_of(messages[i]), 77u);
    CHECK_EQ(counter_of(messages[i]), i);
  }
  CHECK_EQ(one.record(peer, RecordField::tx_packets), 4.0);
  CHECK_EQ(one.record(peer, RecordField::tx_bytes), static_cast<double>(run.bytes.size()));
  CHECK_EQ(one.record(peer, RecordField::send_counter), 4.0);
}

TEST("a run ends at a longer packet, after a shorter one, at another peer and at another ECN mark") {
  OnePlane one;
  const uint32_t a = one.add_peer();
  const uint32_t b = one.add_peer();
  one.install(a, 1);
  one.install(b, 2);
  one.outbound({packet_of(a, 500), packet_of(a, 900), packet_of(a, 20), packet_of(a, 20), packet_of(b, 20), packet_of(a, 20, 2),
                packet_of(a, 20, 1)});
  std::vector<std::pair<uint32_t, size_t>> runs;
  for (const SentRun& run : one.sink.sent) runs.push_back({index_of(run.bytes), run.segment_size == 0 ? 1 : 2});
  const std::vector<std::pair<uint32_t, size_t>> expected = {{1, 1}, {1, 2}, {1, 1}, {2, 1}, {1, 1}, {1, 1}};
  CHECK(runs == expected);
  // The inner DSCP stays inside, the ECN mark does not.
  CHECK_EQ(one.sink.sent[4].tos, 2u);
  CHECK_EQ(one.sink.sent[5].tos, 1u);
  CHECK_EQ(one.sink.sent[0].tos, 0u);
}

TEST("what a batch sent comes back as the packets that went in, in order") {
  OnePlane one;
  std::vector<Bytes> packets;
  Random random(41);
  for (uint32_t peer = 0; peer < 3; ++peer) one.install(one.add_peer(), 100 + peer);
  for (int i = 0; i < 900; ++i) packets.push_back(packet_of(random.below(3), random.below(1392)));
  one.outbound(packets);
  CHECK_EQ(one.context->counters.get(Total::udpDatagramsOut), uint64_t{900});
  one.inbound(one.sink.sent);
  CHECK_EQ(one.sink.written.size(), packets.size());
  CHECK(one.sink.written == packets);
}

TEST("a super-packet becomes one run, and one super-packet again on the way in") {
  OnePlane one(true);
  const uint32_t peer = one.add_peer();
  one.install(peer, 5);
  FlowSpec spec;
  spec.source = {10, 0, 0, 1};
  spec.destination = {10, 0, 0, 2};
  Random random(42);
  const Bytes payload = random.bytes(30 * 1380 + 700);
  Bytes super = raw_packet(spec, payload);
  VirtioNetHeader header;
  header.flags = kVirtioNeedsChecksum;
  header.gso_type = kVirtioGsoTcpv4;
  header.header_length = 40;
  header.gso_size = 1380;
  header.checksum_start = 20;
  header.checksum_offset = 16;
  one.plane.begin_batch(*one.context, one.now);
  one.plane.outbound(*one.context, header, super);
  one.plane.end_batch(*one.context);
  CHECK_EQ(one.sink.sent.size(), size_t{1});
  CHECK_EQ(one.sink.sent[0].segment_size, 1452u);
  CHECK_EQ(one.sink.datagrams().size(), size_t{31});
  one.inbound(one.sink.sent);
  CHECK_EQ(one.sink.written.size(), size_t{1});
  const Bytes& back = one.sink.written[0];
  CHECK_EQ(back.size(), sizeof header + super.size());
  CHECK(std::equal(payload.begin(), payload.end(), back.end() - static_cast<std::ptrdiff_t>(payload.size())));
  CHECK_EQ(one.context->counters.get(Total::tunPacketsOut), uint64_t{31});
  CHECK_EQ(one.context->counters.get(Total::tunWrites), uint64_t{1});
}

TEST("when the counters end within a run, what is left of it is staged and a session is wanted") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  SelfSession session(9, true);
  session.config.reject_after_messages = 100;
  session.config.first_send_counter = 97;
  CHECK(one.plane.install_keypair(peer, session.config));
  one.outbound(std::vector<Bytes>(5, packet_of(peer, 200)));
  const auto messages = one.sink.datagrams();
  CHECK_EQ(messages.size(), size_t{3});
  CHECK_EQ(counter_of(messages[2]), uint64_t{99});
  CHECK_EQ(one.record(peer, RecordField::staged), 2.0);
  CHECK_EQ(one.record(peer, RecordField::tx_packets), 3.0);
  bool wanted = false;
  for (const Descriptor& descriptor : one.poll()) wanted |= descriptor.kind == static_cast<uint32_t>(DescriptorKind::session_wanted);
  CHECK(wanted);
  one.install(peer, 10);
  CHECK_EQ(one.plane.flush_staged(peer, one.now), 2u);
  CHECK_EQ(one.plane.usage().staging_blocks, size_t{0});
}

TEST("a full send buffer is waited for, and every message leaves once and in order") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 3);
  one.sink.room = 7;
  one.sink.room_after_wait = 10;
  std::vector<Bytes> packets(25, packet_of(peer, 300));
  one.outbound(packets);
  CHECK_EQ(one.sink.waits, 2u);
  const auto messages = one.sink.datagrams();
  CHECK_EQ(messages.size(), size_t{25});
  for (size_t i = 0; i < messages.size(); ++i) CHECK_EQ(counter_of(messages[i]), i);
  CHECK_EQ(one.drops(Drop::outSocketFull), uint64_t{0});
}

TEST("waiting for a full send buffer ends, and what did not leave is counted") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 3);
  one.sink.room = 4;
  one.sink.room_after_wait = 1;
  one.outbound(std::vector<Bytes>(20, packet_of(peer, 300)));
  const uint64_t left = one.context->counters.get(Total::udpDatagramsOut);
  CHECK(left >= 5 && left < 20);
  CHECK_EQ(one.drops(Drop::outSocketFull), 20 - left);
  // The next batch is not hurt by it.
  one.sink.room = 100;
  one.outbound({packet_of(peer, 300)});
  CHECK_EQ(counter_of(one.sink.datagrams().back()), uint64_t{20});
}

TEST("nothing of a peer leaves that was removed while its thread waited for room") {
  OnePlane one;
  const uint32_t a = one.add_peer();
  const uint32_t b = one.add_peer();
  one.install(a, 1);
  one.install(b, 2);
  one.sink.room = 0;
  one.sink.room_after_wait = 100;
  one.sink.on_wait = [&] { one.plane.remove_peer(a, one.now); };
  one.outbound({packet_of(a, 10), packet_of(b, 10)});
  const auto messages = one.sink.datagrams();
  CHECK_EQ(messages.size(), size_t{1});
  CHECK_EQ(index_of(messages[0]), 2u);
}

TEST("a source that the kernel will not send from is forgotten") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 1);
  one.outbound({packet_of(peer, 10)});
  std::vector<SentRun> back = one.sink.sent;
  one.sink.sent.clear();
  std::vector<ReceivedRun> runs(1);
  runs[0].data = back[0].bytes.data();
  runs[0].length = runs[0].segment_size = static_cast<uint32_t>(back[0].bytes.size());
  runs[0].source = OnePlane::endpoint_of(peer);
  runs[0].local.family = AF_INET;
  runs[0].local.address[0] = 198;
  one.plane.begin_batch(*one.context, one.now);
  one.plane.inbound(*one.context, runs);
  one.plane.end_batch(*one.context);
  one.sink.forget_source = true;
  one.outbound({packet_of(peer, 10)});
  one.outbound({packet_of(peer, 10)});
  CHECK_EQ(one.sink.sent[0].source.address[0], 198u);
  CHECK_EQ(one.sink.sent[1].source.family, AF_UNSPEC);
}

TEST("staged packets take memory of one bounded pool and give all of it back") {
  StagingPool pool;
  std::vector<StagedQueue> queues(4);
  Random random(43);
  std::vector<std::vector<Bytes>> model(4);
  for (int i = 0; i < 4000; ++i) {
    const uint32_t q = random.below(4);
    if (random.one_in(3) && !model[q].empty()) {
      CHECK_EQ(size_t{pool.front_length(queues[q])}, model[q].front().size());
      Bytes out(model[q].front().size());
      pool.pop(queues[q], out.data());
      CHECK(out == model[q].front());
      model[q].erase(model[q].begin());
      continue;
    }
    const Bytes packet = random.bytes(1 + random.below(random.one_in(8) ? 65535 : 1500));
    if (pool.push(queues[q], packet)) {
      model[q].push_back(packet);
    } else {
      CHECK(pool.blocks_used() + 33 + 32 > kStagingBlocksMax);
    }
  }
  for (uint32_t q = 0; q < 4; ++q) {
    CHECK_EQ(size_t{queues[q].count}, model[q].size());
    while (queues[q].count > 0) pool.drop(queues[q]);
  }
  CHECK_EQ(pool.blocks_used(), 0u);
}

TEST("with the pool used up a peer's own oldest packets make room") {
  OnePlane one;
  std::vector<Bytes> flood;
  for (uint32_t i = 0; i < 8; ++i) {
    const uint32_t peer = one.add_peer();
    for (int k = 0; k < 120; ++k) flood.push_back(packet_of(peer, 60'000));
  }
  one.outbound(flood);
  double staged = 0;
  for (uint32_t peer = 0; peer < 8; ++peer) staged += one.record(peer, RecordField::staged);
  CHECK(one.plane.usage().staging_blocks <= kStagingBlocksMax);
  CHECK_EQ(one.drops(Drop::outStagedOverflow), 8 * 120 - static_cast<uint64_t>(staged));
  CHECK(one.drops(Drop::outStagedOverflow) > 0);
  for (uint32_t peer = 0; peer < 8; ++peer) one.plane.remove_peer(peer, one.now);
  CHECK_EQ(one.plane.usage().staging_blocks, size_t{0});
}

TEST("a super-packet whose segments are too big for the path is dropped whole and answered once, about its first segment") {
  for (const bool fits : {true, false}) {
    OnePlane one;
    const uint32_t peer = one.add_peer();
    one.install(peer, 1);
    one.plane.set_path_mtu(peer, 1300);
    FlowSpec flow;
    flow.source = {10, static_cast<uint8_t>(peer), 0, 1};
    flow.destination = {10, static_cast<uint8_t>(peer), 0, 2};
    Bytes super;
    const auto step = static_cast<uint16_t>(fits ? 1260 : 1261);
    const VirtioNetHeader header = build_super(flow, Bytes(20 * step + 5, 1), step, super);
    one.plane.begin_batch(*one.context, one.now);
    one.plane.outbound(*one.context, header, super);
    one.plane.end_batch(*one.context);
    CHECK_EQ(one.sink.datagrams().size(), size_t{fits ? 21u : 0u});
    CHECK_EQ(one.drops(Drop::outTooBig), uint64_t{fits ? 0u : 21u});
    CHECK_EQ(one.sink.written.size(), size_t{fits ? 0u : 1u});
    if (fits) continue;
    const Bytes& answer = one.sink.written[0];
    CHECK_EQ(be16(answer, 20), 0x0304u);
    CHECK_EQ(be16(answer, 26), 1300u);
    CHECK_EQ(be16(answer, 30), 1301u);  // length of what it quotes
    flow.dont_fragment = false;
    build_super(flow, Bytes(20 * step + 5, 1), step, super);
    one.plane.begin_batch(*one.context, one.now);
    one.plane.outbound(*one.context, header, super);
    one.plane.end_batch(*one.context);
    CHECK_EQ(one.sink.datagrams().size(), size_t{21});
  }
}

TEST("the MSS of a SYN whose checksum the kernel left to be computed is lowered, and the checksum is right") {
  for (const bool ipv6 : {false, true}) {
    OnePlane one;
    const uint32_t peer = one.add_peer();
    one.install(peer, 1);
    one.plane.set_path_mtu(peer, 1300);
    FlowSpec flow;
    flow.ipv6 = ipv6;
    flow.flags = 0x02;
    flow.tcp_options = {1, 2, 4, 0x05, 0xb4, 1, 1, 1};
    flow.source = {10, static_cast<uint8_t>(peer), 0, 1};
    flow.destination = {10, static_cast<uint8_t>(peer), 0, 2};
    const uint8_t any[16] = {};
    if (ipv6) CHECK(one.plane.insert_allowed_ip(peer, Family::ipv6, any, 0));
    Bytes syn = raw_packet(flow, {});
    start_checksums(syn);
    VirtioNetHeader header;
    header.flags = kVirtioNeedsChecksum;
    header.checksum_start = static_cast<uint16_t>(transport_at(flow));
    header.checksum_offset = 16;
    one.plane.begin_batch(*one.context, one.now);
    one.plane.outbound(*one.context, header, syn);
    one.plane.end_batch(*one.context);
    // A peer that talks to itself: what left comes back as it was sealed.
    one.inbound(std::move(one.sink.sent));
    CHECK_EQ(one.sink.written.size(), size_t{1});
    const Bytes& delivered = one.sink.written[0];
    check_packet(delivered);
    CHECK_EQ(be16(delivered, transport_at(flow) + 23), ipv6 ? 1240u : 1260u);
  }
}
