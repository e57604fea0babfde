// Merging: what the kernel would make of the merged packets by cutting them again is, packet by packet, what came in;
// nothing overtakes within a flow; and each reason not to merge is heeded.

#include "packet/coalescer.h"

#include <algorithm>
#include <map>

#include "check.h"
#include "packet/segmenter.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

struct Written {
  VirtioNetHeader header;
  Bytes packet;
  uint32_t packets;
};

std::vector<Written> run(Coalescer& coalescer, std::vector<Bytes> packets) {
  for (Bytes& packet : packets) CHECK(coalescer.add(packet.data(), static_cast<uint32_t>(packet.size())));
  std::vector<Written> out;
  coalescer.flush([&](const Coalescer::Write& write) {
    Bytes all;
    for (const iovec& piece : write.pieces) {
      const auto* const at = static_cast<const uint8_t*>(piece.iov_base);
      all.insert(all.end(), at, at + piece.iov_len);
    }
    CHECK_EQ(all.size(), write.bytes);
    Written one{{}, {}, write.packets};
    std::memcpy(&one.header, all.data(), sizeof one.header);
    one.packet.assign(all.begin() + sizeof one.header, all.end());
    out.push_back(one);
  });
  CHECK_EQ(coalescer.pending(), 0u);
  return out;
}

std::vector<Written> merge(const std::vector<Bytes>& packets) {
  Coalescer coalescer({true, true, true});
  return run(coalescer, packets);
}

std::vector<Bytes> cut_again(const std::vector<Written>& written) {
  std::vector<Bytes> out;
  for (const Written& one : written) {
    Segmenter segmenter;
    const uint32_t count = segmenter.prepare(one.header, one.packet);
    CHECK_EQ(count, one.packets);
    for (uint32_t i = 0; i < count; ++i) {
      Bytes segment(segmenter.segment_length(i));
      segmenter.write(i, segment.data());
      out.push_back(segment);
    }
  }
  return out;
}

/** `count` packets of a flow with `length` bytes each, as a sender without offload makes them. */
std::vector<Bytes> stream(FlowSpec spec, size_t count, size_t length) {
  std::vector<Bytes> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back(build_packet(spec, Bytes(length, static_cast<uint8_t>(i))));
    spec.sequence += static_cast<uint32_t>(length);
    ++spec.identification;
  }
  return out;
}

/** Flow → its packets in order, both in hexadecimal. */
using ByFlow = std::map<std::string, std::vector<std::string>>;

ByFlow by_flow(const std::vector<Bytes>& packets) {
  ByFlow flows;
  for (const Bytes& p : packets) {
    Bytes key(p.begin() + (is_ipv4(p) ? 12 : 8), p.begin() + static_cast<ptrdiff_t>(ip_header_of(p)) + 4);
    key.push_back(protocol_of(p));
    flows[to_hex(key)].push_back(to_hex(p));
  }
  return flows;
}

/** How many writes three packets become when `change` was done to the middle one (checksums finished afterwards). */
template <typename Change>
size_t writes_with(FlowSpec spec, Change&& change) {
  auto packets = stream(spec, 3, 500);
  change(packets[1]);
  finish_checksums(packets[1]);
  const auto written = merge(packets);
  const auto again = cut_again(written);
  CHECK_EQ(again.size(), packets.size());
  for (size_t i = 0; i < packets.size(); ++i) CHECK_EQ(again[i], packets[i]);
  return written.size();
}

}  // namespace

TEST("segments of one flow become one super-packet with the kernel's offload header") {
  for (bool ipv6 : {false, true}) {
    for (bool udp : {false, true}) {
      FlowSpec spec;
      spec.ipv6 = ipv6;
      spec.udp = udp;
      const auto packets = stream(spec, 10, 1000);
      const auto written = merge(packets);
      CHECK_EQ(written.size(), size_t{1});
      const VirtioNetHeader& header = written[0].header;
      CHECK_EQ(written[0].packets, 10u);
      CHECK_EQ(header.flags, kVirtioNeedsChecksum);
      CHECK_EQ(header.gso_type, udp ? kVirtioGsoUdpL4 : ipv6 ? kVirtioGsoTcpv6 : kVirtioGsoTcpv4);
      CHECK_EQ(header.gso_size, 1000);
      CHECK_EQ(header.header_length, headers_of(spec));
      CHECK_EQ(header.checksum_start, transport_at(spec));
      CHECK_EQ(header.checksum_offset, udp ? 6 : 16);
      // Byte for byte what the sender's kernel would have handed over as one.
      Bytes payload;
      for (size_t i = 0; i < 10; ++i) payload.insert(payload.end(), 1000, static_cast<uint8_t>(i));
      Bytes super;
      build_super(spec, payload, 1000, super);
      CHECK_EQ(written[0].packet, super);
    }
  }
}

TEST("cut and merge are inverse: a random super-packet comes out of both as it went in") {
  Random random(1);
  for (int round = 0; round < 500; ++round) {
    FlowSpec spec = random_flow(random);
    const auto step = static_cast<uint16_t>(200 + random.below(1300));
    const size_t length = step + 1 + random.below(step * 40u);
    if (length + headers_of(spec) > 65535) continue;
    if (random.one_in(2)) spec.flags |= 0x08;
    Bytes super;
    const VirtioNetHeader header = build_super(spec, random.bytes(length), step, super);
    std::vector<Bytes> segments = cut_again({{header, super, static_cast<uint32_t>((length + step - 1) / step)}});
    for (const Bytes& segment : segments) check_packet(segment);
    const auto written = merge(segments);
    CHECK_EQ(written.size(), size_t{1});
    CHECK_EQ(written[0].packet, super);
    CHECK(std::memcmp(&written[0].header, &header, sizeof header) == 0);
  }
}

TEST("a batch of many mixed flows: every packet comes out once, and in order within its flow") {
  Random random(2);
  Coalescer coalescer({true, true, true});
  for (int round = 0; round < 150; ++round) {
    std::vector<FlowSpec> flows(1 + random.below(12));
    for (FlowSpec& flow : flows) flow = random_flow(random);
    std::vector<Bytes> packets;
    const uint32_t count = 1 + random.below(300);
    const size_t step = 50 + random.below(1350);
    for (uint32_t i = 0; i < count; ++i) {
      FlowSpec& flow = flows[random.below(static_cast<uint32_t>(flows.size()))];
      const size_t length = random.one_in(6) ? random.below(1400) : step;
      FlowSpec one = flow;
      if (random.one_in(12)) one.flags = random.byte();
      if (random.one_in(15)) one.traffic_class ^= 1;
      if (random.one_in(15)) one.sequence += 1;
      if (random.one_in(15) && !one.dont_fragment) one.identification += 5;
      Bytes packet = build_packet(one, random.bytes(length));
      if (random.one_in(20)) packet[packet.size() - 1] ^= 1;
      if (random.one_in(40) && is_ipv4(packet)) packet[8] ^= 1;
      if (random.one_in(40) && is_ipv4(packet)) packet[6] |= 0x20;
      flow.sequence += static_cast<uint32_t>(length);
      ++flow.identification;
      packets.push_back(packet);
    }
    const auto again = cut_again(run(coalescer, packets));
    CHECK_EQ(again.size(), packets.size());
    CHECK(by_flow(packets) == by_flow(again));
  }
}

TEST("PSH ends an aggregate and is on the merged packet") {
  auto packets = stream(FlowSpec{}, 4, 500);
  packets[1][33] |= 0x08;
  finish_checksums(packets[1]);
  const auto written = merge(packets);
  CHECK_EQ(written.size(), size_t{2});
  CHECK_EQ(written[0].packets, 2u);
  CHECK_EQ(written[0].packet[33], 0x18);
  CHECK_EQ(written[1].packets, 2u);
  CHECK_EQ(written[1].packet[33], 0x10);
}

TEST("a shorter segment ends an aggregate, a longer one begins another") {
  FlowSpec spec;
  std::vector<Bytes> packets;
  for (size_t length : {500, 500, 300, 500, 600, 600}) {
    packets.push_back(build_packet(spec, Bytes(length, 1)));
    spec.sequence += static_cast<uint32_t>(length);
    ++spec.identification;
  }
  std::vector<uint32_t> sizes;
  for (const Written& one : merge(packets)) sizes.push_back(one.packets);
  CHECK(sizes == (std::vector<uint32_t>{3, 1, 2}));
}

TEST("ECN, hop limit, flow label, options, acknowledgement, window or sequence that differ are not merged") {
  const FlowSpec four;
  FlowSpec six;
  six.ipv6 = true;
  FlowSpec stamped;
  stamped.tcp_options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
  CHECK_EQ(writes_with(four, [](Bytes&) {}), size_t{1});
  CHECK_EQ(writes_with(six, [](Bytes&) {}), size_t{1});
  CHECK_EQ(writes_with(stamped, [](Bytes&) {}), size_t{1});
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[1] = 3; }), size_t{3});
  CHECK_EQ(writes_with(six, [](Bytes& p) { p[1] |= 0x30; }), size_t{3});
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[8] = 63; }), size_t{3});
  CHECK_EQ(writes_with(six, [](Bytes& p) { p[7] = 63; }), size_t{3});
  CHECK_EQ(writes_with(six, [](Bytes& p) { p[3] ^= 1; }), size_t{3});
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[6] = 0; }), size_t{3});
  CHECK_EQ(writes_with(stamped, [](Bytes& p) { p[47] ^= 1; }), size_t{3});
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[31] ^= 1; }), size_t{3});
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[35] ^= 1; }), size_t{3});
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[27] ^= 1; }), size_t{3});
  // Reserved bits beside the data offset.
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[32] |= 1; }), size_t{3});
  for (uint8_t flag : {0x01, 0x02, 0x04, 0x20, 0x40, 0x80}) {
    CHECK_EQ(writes_with(four, [=](Bytes& p) { p[33] |= flag; }), size_t{3});
  }
  CHECK_EQ(writes_with(four, [](Bytes& p) { p[33] = 0; }), size_t{3});
}

TEST("packets that may be fragmented are merged only while their identifications count up") {
  FlowSpec spec;
  spec.dont_fragment = false;
  CHECK_EQ(writes_with(spec, [](Bytes&) {}), size_t{1});
  CHECK_EQ(writes_with(spec, [](Bytes& p) { p[5] ^= 4; }), size_t{3});
  // Where fragmenting is forbidden the identification says nothing (RFC 6864 §4.1).
  auto packets = stream(FlowSpec{}, 3, 500);
  packets[1][5] ^= 4;
  finish_checksums(packets[1]);
  CHECK_EQ(merge(packets).size(), size_t{1});
}

TEST("another port or address is another flow: neighbours are merged around it") {
  for (size_t at : {12, 19, 20, 23}) {
    auto packets = stream(FlowSpec{}, 5, 400);
    auto other = packets[0];
    other[at] ^= 1;
    finish_checksums(other);
    packets.insert(packets.begin() + 2, other);
    std::vector<uint32_t> sizes;
    for (const Written& one : merge(packets)) sizes.push_back(one.packets);
    CHECK(sizes == (std::vector<uint32_t>{5, 1}));
  }
}

TEST("a packet with a wrong checksum passes alone, as it is, wherever it stands") {
  for (bool udp : {false, true}) {
    for (size_t bad = 0; bad < 4; ++bad) {
      for (bool in_ip_header : {false, true}) {
        FlowSpec spec;
        spec.udp = udp;
        auto packets = stream(spec, 4, 600);
        packets[bad][in_ip_header ? 10 : packets[bad].size() - 1] ^= 1;
        const auto written = merge(packets);
        const auto alone = std::find_if(written.begin(), written.end(),
                                        [&](const Written& one) { return one.packet == packets[bad]; });
        CHECK(alone != written.end());
        CHECK_EQ(alone->header.gso_type, kVirtioGsoNone);
        CHECK_EQ(alone->header.flags, 0);
        CHECK_EQ(alone->packets, 1u);
      }
    }
  }
}

TEST("UDP without a checksum, and with a length that is not the packet's, passes alone") {
  FlowSpec spec;
  spec.udp = true;
  auto packets = stream(spec, 3, 300);
  for (Bytes& packet : packets) put16(packet, 26, 0);
  CHECK_EQ(merge(packets).size(), size_t{3});
  packets = stream(spec, 3, 300);
  for (Bytes& packet : packets) {
    put16(packet, 24, 200);
    finish_checksums(packet);
  }
  CHECK_EQ(merge(packets).size(), size_t{3});
}

TEST("empty segments, fragments and packets that are no IP pass alone and in place") {
  FlowSpec spec;
  auto packets = stream(spec, 4, 200);
  Bytes fragment = packets[0];
  fragment[6] = 0x20;
  finish_ip(fragment);
  packets.insert(packets.begin() + 2, fragment);
  auto written = merge(packets);
  // Nothing of the flow may overtake a fragment: its ports cannot always be told.
  CHECK_EQ(written.size(), size_t{3});
  CHECK_EQ(written[1].packet, fragment);

  // Likewise one that is longer than its header says, though no caller should add that.
  packets = stream(spec, 4, 200);
  Bytes longer = packets[0];
  longer.push_back(0);
  packets.insert(packets.begin() + 2, longer);
  written = merge(packets);
  CHECK_EQ(written.size(), size_t{3});
  CHECK_EQ(written[1].packet, longer);

  const Bytes acknowledgement = build_packet(spec, {});
  written = merge({acknowledgement, acknowledgement});
  CHECK_EQ(written.size(), size_t{2});
  const Bytes junk = {0x00, 0x01, 0x02};
  written = merge({junk, junk});
  CHECK_EQ(written.size(), size_t{2});
  CHECK_EQ(written[0].packet, junk);
}

TEST("an aggregate holds at most 65,535 bytes and a bounded number of packets") {
  for (bool ipv6 : {false, true}) {
    FlowSpec spec;
    spec.ipv6 = ipv6;
    const auto large = stream(spec, 60, 1400);
    const auto written = merge(large);
    CHECK_EQ(written.size(), size_t{2});
    for (const Written& one : written) CHECK(one.packet.size() <= 65535);
    CHECK_EQ(written[0].packets, static_cast<uint32_t>((65535 - headers_of(spec)) / 1400));
    CHECK_EQ(cut_again(written).size(), large.size());
  }
  CHECK_EQ(merge(stream(FlowSpec{}, 300, 20))[0].packets, Coalescer::kMergeMax);
  FlowSpec udp;
  udp.udp = true;
  CHECK_EQ(merge(stream(udp, 300, 20))[0].packets, Coalescer::kMergeUdpMax);
}

TEST("without an offload its packets pass alone; without the virtio header there is none") {
  FlowSpec udp;
  udp.udp = true;
  Coalescer no_udp({true, true, false});
  CHECK_EQ(run(no_udp, stream(udp, 4, 100)).size(), size_t{4});
  CHECK_EQ(run(no_udp, stream(FlowSpec{}, 4, 100)).size(), size_t{1});
  Coalescer no_tcp({true, false, true});
  CHECK_EQ(run(no_tcp, stream(udp, 4, 100)).size(), size_t{1});
  CHECK_EQ(run(no_tcp, stream(FlowSpec{}, 4, 100)).size(), size_t{4});

  Coalescer bare({false, true, true});
  auto packets = stream(FlowSpec{}, 4, 100);
  for (Bytes& packet : packets) CHECK(bare.add(packet.data(), static_cast<uint32_t>(packet.size())));
  size_t at = 0;
  bare.flush([&](const Coalescer::Write& write) {
    CHECK_EQ(write.pieces.size(), size_t{1});
    CHECK(write.pieces[0].iov_base == packets[at].data());
    CHECK_EQ(write.bytes, packets[at++].size());
  });
  CHECK_EQ(at, packets.size());
}

TEST("a full batch refuses more until it is flushed, and thousands of flows keep their order") {
  Coalescer coalescer({true, true, true});
  Random random(3);
  std::vector<Bytes> packets;
  std::vector<FlowSpec> flows(3000);
  for (uint32_t i = 0; i < flows.size(); ++i) {
    flows[i].source_port = static_cast<uint16_t>(i);
    flows[i].ipv6 = i % 2 == 0;
  }
  for (uint32_t i = 0; i < Coalescer::kPacketsMax; ++i) {
    FlowSpec& flow = flows[random.below(static_cast<uint32_t>(flows.size()))];
    packets.push_back(build_packet(flow, Bytes(30, static_cast<uint8_t>(i))));
    flow.sequence += 30;
    ++flow.identification;
  }
  auto filling = packets;
  for (Bytes& packet : filling) CHECK(coalescer.add(packet.data(), static_cast<uint32_t>(packet.size())));
  CHECK(!coalescer.add(filling[0].data(), static_cast<uint32_t>(filling[0].size())));
  coalescer.flush([](const Coalescer::Write&) {});
  const auto again = cut_again(run(coalescer, packets));
  CHECK(by_flow(packets) == by_flow(again));
}
