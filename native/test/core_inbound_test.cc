// Network to tunnel in batches: GRO runs whose messages differ in fate, keypairs that take each other's place within a batch,
// ECN, and what is freed when. docs/dataplane.md, "Network to tunnel" and "Keypairs".

#include "core_support.h"

using namespace warren;
using namespace warren::test;

namespace {

/** Ten messages of one peer as one run, sealed by its own session. */
SentRun ten_messages(OnePlane& one, uint32_t peer, uint8_t traffic_class = 0) {
  one.sink.sent.clear();
  one.outbound(std::vector<Bytes>(10, packet_of(peer, 200, traffic_class)));
  CHECK_EQ(one.sink.sent.size(), size_t{1});
  SentRun run = one.sink.sent[0];
  one.sink.sent.clear();
  return run;
}

uint8_t* message(SentRun& run, size_t i) { return run.bytes.data() + i * run.segment_size; }

}  // namespace

TEST("each message of a GRO run has its own fate, and the good ones arrive in order") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 50);
  SentRun run = ten_messages(one, peer);
  message(run, 2)[40] ^= 1;                                  // a bad tag
  store_le32(message(run, 4) + 4, 51);                       // nobody's index
  std::memcpy(message(run, 6), message(run, 5), run.segment_size);  // a copy
  store_le64(message(run, 7) + 8, kRejectAfterMessages);
  store_le32(message(run, 8), 9);                            // no WireGuard
  one.inbound({run});
  CHECK_EQ(one.sink.written.size(), size_t{5});
  CHECK_EQ(one.drops(Drop::inBadTag), uint64_t{1});
  CHECK_EQ(one.drops(Drop::inUnknownIndex), uint64_t{1});
  CHECK_EQ(one.drops(Drop::inReplayed), uint64_t{1});
  CHECK_EQ(one.drops(Drop::inCounterExhausted), uint64_t{1});
  CHECK_EQ(one.drops(Drop::inUnknownType), uint64_t{1});
  CHECK_EQ(one.record(peer, RecordField::rx_packets), 5.0);
  one.inbound({run});
  CHECK_EQ(one.sink.written.size(), size_t{5});
}

TEST("zero-length datagrams and runts in a batch disturb nothing") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 50);
  SentRun run = ten_messages(one, peer);
  const SentRun empty{{}, 0, run.destination, {}, 0};
  const SentRun runt{Bytes(3, 4), 0, run.destination, {}, 0};
  const SentRun header{Bytes{4, 0, 0, 0, 50, 0, 0, 0}, 0, run.destination, {}, 0};
  one.inbound({empty, runt, run, empty, header});
  CHECK_EQ(one.sink.written.size(), size_t{10});
  CHECK_EQ(one.drops(Drop::inUnknownType), uint64_t{3});
  CHECK_EQ(one.drops(Drop::inBadLength), uint64_t{1});
}

TEST("the first message on next makes it current within the batch, flushes, and frees the old previous") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  one.install(peer, 1);
  SentRun old = ten_messages(one, peer);
  one.install(peer, 2);  // 1 is previous
  // Sealed with the session that the responder will install.
  OnePlane other;
  other.install(other.add_peer(), 3);
  SentRun fresh = ten_messages(other, 0);
  one.install(peer, 3, false);  // previous 1 is gone already, current 2, next 3
  one.plane.expire_sending(peer);
  one.outbound({packet_of(peer, 100)});
  CHECK_EQ(one.record(peer, RecordField::staged), 1.0);
  one.sink.written.clear();
  one.inbound({old, fresh});
  CHECK_EQ(one.drops(Drop::inUnknownIndex), uint64_t{10});
  CHECK_EQ(one.sink.written.size(), size_t{10});
  // `expire_sending` hit next as well: what is staged stays.
  CHECK_EQ(one.record(peer, RecordField::staged), 1.0);
  CHECK_EQ(one.plane.usage().keypairs, size_t{2});
}

TEST("what installing displaces is unknown at once, while next is taken") {
  OnePlane one;
  OnePlane other;
  const uint32_t peer = one.add_peer();
  other.add_peer();
  other.install(0, 1);
  SentRun first = ten_messages(other, 0);
  other.install(0, 2);
  other.install(0, 3);
  SentRun third = ten_messages(other, 0);
  one.install(peer, 1);
  one.install(peer, 2);
  one.install(peer, 3, false);  // previous 1 is freed
  one.install(peer, 4);         // next 3 becomes previous, current 2 is freed
  one.install(peer, 5, false);  // previous 3 is freed
  CHECK_EQ(one.plane.usage().keypairs, size_t{2});
  OnePlane fifth;
  fifth.install(fifth.add_peer(), 5);
  SentRun run5 = ten_messages(fifth, 0);
  one.inbound({first, run5, third});
  CHECK_EQ(one.drops(Drop::inUnknownIndex), uint64_t{20});
  CHECK_EQ(one.sink.written.size(), size_t{10});
  CHECK_EQ(one.plane.usage().indexes, size_t{2});
}

TEST("previous is received with until the session after it is offered") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  OnePlane a;
  a.install(a.add_peer(), 1);
  SentRun on_previous = ten_messages(a, 0);
  OnePlane b;
  b.install(b.add_peer(), 3);
  SentRun on_next = ten_messages(b, 0);
  one.install(peer, 1);
  one.install(peer, 3, false);
  SentRun half = on_previous;
  one.inbound({on_previous, on_next});  // 1 becomes previous in this batch
  CHECK_EQ(one.sink.written.size(), size_t{20});
  OnePlane c;
  c.install(c.add_peer(), 6);
  SentRun on_sixth = ten_messages(c, 0);
  one.install(peer, 6, false);  // frees previous 1, current 3, next 6
  one.inbound({half, on_sixth, on_next});
  CHECK_EQ(one.drops(Drop::inUnknownIndex), uint64_t{10});
  CHECK_EQ(one.drops(Drop::inReplayed), uint64_t{10});
  CHECK_EQ(one.plane.usage().keypairs, size_t{2});
}

TEST("staged packets leave when next is confirmed, to where the confirmation came from") {
  OnePlane one;
  const uint32_t peer = one.add_peer();
  OnePlane other;
  other.install(other.add_peer(), 8);
  SentRun run = ten_messages(other, 0);
  one.outbound({packet_of(peer, 100), packet_of(peer, 100)});
  one.install(peer, 8, false);
  CHECK(one.sink.sent.empty());
  const SocketAddress from = OnePlane::endpoint_of(99);
  one.inbound({run}, &from);
  CHECK_EQ(one.sink.sent.size(), size_t{1});
  CHECK(one.sink.sent[0].destination == from);
  CHECK_EQ(one.sink.datagrams().size(), size_t{2});
  CHECK(one.plane.endpoint(peer) == from);
  CHECK_EQ(one.plane.usage().staging_blocks, size_t{0});
}

TEST("congestion marked on the way reaches packets that know of it, and only those") {
  for (const uint8_t inner : {0, 1, 2, 3}) {
    OnePlane one;
    const uint32_t peer = one.add_peer();
    one.install(peer, 1);
    SentRun run = ten_messages(one, peer, inner);
    one.inbound({run}, nullptr, 3);
    CHECK_EQ(one.sink.written.size(), size_t{10});
    CHECK_EQ(one.sink.written[0][1] & 3, inner == 0 ? 0 : 3);
  }
}

TEST("whatever arrives, only whole packets from their peer's addresses reach the tunnel") {
  OnePlane one(true);
  const uint32_t peer = one.add_peer();
  SelfSession session(50, true);
  CHECK(one.plane.install_keypair(peer, session.config));
  const auto aead = make_aead();
  Random random(61);
  uint64_t counter = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<SentRun> runs;
    for (int i = 0; i < 12; ++i) {
      // A packet with some of its bytes changed, cut or lengthened, then sealed: authentic, but perhaps nonsense.
      Bytes plaintext = packet_of(peer, random.below(1500));
      if (random.one_in(2)) plaintext[9] = 6;
      for (uint32_t k = random.below(4); k > 0; --k) plaintext[random.below(random.one_in(2) ? 28 : static_cast<uint32_t>(plaintext.size()))] = random.byte();
      if (random.one_in(6)) plaintext.resize(random.below(60));
      if (random.one_in(6)) plaintext.resize(plaintext.size() + random.below(40));
      Bytes message(kMessageHeader + plaintext.size() + kMessageTag);
      store_le32(message.data(), 4);
      store_le32(message.data() + 4, 50);
      store_le64(message.data() + 8, counter);
      std::memcpy(message.data() + kMessageHeader, plaintext.data(), plaintext.size());
      SealJob job{message.data() + kMessageHeader, static_cast<uint32_t>(plaintext.size()), counter++};
      aead->seal(session.key, {&job, 1});
      if (random.one_in(8)) message[random.below(static_cast<uint32_t>(message.size()))] ^= 1;
      if (random.one_in(8)) message.resize(random.below(static_cast<uint32_t>(message.size())));
      const uint32_t segment = random.one_in(4) ? 1 + random.below(1600) : 0;
      runs.push_back({message, segment, OnePlane::endpoint_of(peer), {}, 0});
    }
    one.inbound(runs, nullptr, random.byte());
    for (const Bytes& written : one.sink.written) {
      const std::span<const uint8_t> packet = std::span(written).subspan(sizeof(VirtioNetHeader));
      CHECK_EQ(size_t{inner_length(packet.data(), packet.size())}, packet.size());
      CHECK(packet[0] >> 4 == 4 && packet[12] == 10 && packet[13] == peer);
    }
    one.sink.written.clear();
    one.poll();
  }
  CHECK(one.context->counters.get(Total::tunPacketsOut) > 1000);
  for (const Drop why : {Drop::inBadTag, Drop::inInnerMalformed, Drop::inWrongSource, Drop::inUnknownType, Drop::inBadLength}) {
    CHECK(one.drops(why) > 0);
  }
}

TEST("removing a peer leaves nothing behind") {
  OnePlane one;
  for (int round = 0; round < 3; ++round) {
    const uint32_t peer = one.add_peer();
    CHECK_EQ(peer, 0u);
    CHECK(one.plane.expect_index(1000, peer));
    CHECK(one.plane.expect_index(1001, peer));
    CHECK(!one.plane.expect_index(1000, peer));
    one.install(peer, 1000);
    one.outbound({packet_of(peer, 10)});
    one.install(peer, 2000, false);
    one.plane.expire_sending(peer);
    one.outbound({packet_of(peer, 10)});
    one.plane.remove_peer(peer, one.now);
    const PlaneUsage usage = one.plane.usage();
    CHECK_EQ(usage.keypairs + usage.indexes + usage.prefixes + usage.staging_blocks, size_t{0});
    CHECK(one.poll().empty());
  }
  CHECK_EQ(one.drops(Drop::outStagedFlushed), uint64_t{3});
}

TEST("keys are zeroed in the memory that held them") {
  KeypairPool pool;
  SelfSession session(0x01020304, true);
  Keypair* keypair = pool.create(0, session.config);
  const uint8_t* keys = keypair->keys;
  CHECK(std::memcmp(keys, session.key, 32) == 0);
  pool.destroy(keypair);
  const uint8_t zeros[kSessionKeysBytes] = {};
  CHECK(std::memcmp(keys, zeros, sizeof zeros) == 0);
}
