// Cutting super-packets against packets built one by one: same bytes, and checksums that a naive host accepts.

#include "packet/segmenter.h"

#include <algorithm>

#include "check.h"
#include "packet/checksum.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

/** Every segment, each in a buffer of exactly its length, so that a sanitizer sees one byte too many. */
std::vector<Bytes> cut(const VirtioNetHeader& header, const Bytes& packet) {
  Segmenter segmenter;
  std::vector<Bytes> out(segmenter.prepare(header, packet));
  for (uint32_t i = 0; i < out.size(); ++i) {
    out[i].resize(segmenter.segment_length(i));
    segmenter.write(i, out[i].data());
  }
  return out;
}

/** What the sender would have sent without offload. */
std::vector<Bytes> by_hand(const FlowSpec& spec, const Bytes& payload, size_t step) {
  std::vector<Bytes> out;
  for (size_t at = 0; at < payload.size(); at += step) {
    const size_t length = std::min(step, payload.size() - at);
    const bool last = at + length == payload.size();
    FlowSpec one = spec;
    one.identification = static_cast<uint16_t>(spec.identification + out.size());
    one.sequence = spec.sequence + static_cast<uint32_t>(at);
    if (at != 0) one.flags &= 0x7f;
    if (!last) one.flags &= 0xf6;
    out.push_back(build_packet(one, std::span(payload).subspan(at, length)));
  }
  return out;
}

void check_same(const std::vector<Bytes>& actual, const std::vector<Bytes>& expected) {
  CHECK_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) CHECK_EQ(actual[i], expected[i]);
}

}  // namespace

TEST("the checksum agrees with RFC 1071 word by word, at every length and alignment") {
  Random random(1);
  for (int round = 0; round < 4000; ++round) {
    const size_t length = round < 600 ? static_cast<size_t>(round) : random.below(66000);
    const size_t offset = random.below(40);
    auto data = random.bytes(offset + length);
    if (random.one_in(4)) std::fill(data.begin(), data.end(), uint8_t{0xff});
    if (random.one_in(6)) std::fill(data.begin(), data.end(), uint8_t{0});
    const auto region = std::span(data).subspan(offset);
    const uint64_t start = random.one_in(3) ? ~uint64_t{0} - random.below(3) : random.next();
    // The start is a sum too: that of its eight bytes.
    Bytes with_start(8);
    std::memcpy(with_start.data(), &start, 8);
    const uint32_t naive = naive_sum(region, naive_sum(with_start));
    const auto big = [](uint16_t folded) {
      Bytes two(2);
      std::memcpy(two.data(), &folded, 2);
      return be16(two, 0);
    };
    CHECK_EQ(big(checksum_fold(checksum_add(start, region.data(), length))) % 0xffff, naive % 0xffff);
    CHECK_EQ(big(checksum_fold(checksum_add_portable(start, region.data(), length))) % 0xffff, naive % 0xffff);
    Bytes copy(length);
    CHECK_EQ(big(checksum_fold(checksum_copy(start, copy.data(), region.data(), length))) % 0xffff, naive % 0xffff);
    CHECK_EQ(copy, Bytes(region.begin(), region.end()));
  }
}

TEST("super-packets are cut into what the host would have sent without offload") {
  Random random(2);
  for (int round = 0; round < 600; ++round) {
    FlowSpec spec = random_flow(random);
    spec.flags = random.byte();
    const size_t most = 65535 - headers_of(spec);
    const size_t length = 1 + random.below(static_cast<uint32_t>(random.one_in(10) ? most : 9000));
    const auto step = static_cast<uint16_t>(1 + random.below(random.one_in(8) ? 60 : 3000) + length / 800);
    const Bytes payload = random.bytes(length);
    Bytes super;
    VirtioNetHeader header = build_super(spec, payload, step, super);
    if (!spec.udp && random.one_in(2)) header.gso_type |= kVirtioGsoEcn;
    const auto segments = cut(header, super);
    check_same(segments, by_hand(spec, payload, step));
    for (const Bytes& segment : segments) check_packet(segment);
  }
}

TEST("FIN and PSH go to the last segment, CWR to the first, all other flags to each") {
  FlowSpec spec;
  spec.flags = 0xff;
  Bytes super;
  const auto segments = cut(build_super(spec, Bytes(2500, 1), 1000, super), super);
  CHECK_EQ(segments.size(), size_t{3});
  CHECK_EQ(segments[0][33], 0xf6);
  CHECK_EQ(segments[1][33], 0x76);
  CHECK_EQ(segments[2][33], 0x7f);
}

TEST("the ECN bits of a super-packet are those of every segment") {
  for (bool ipv6 : {false, true}) {
    FlowSpec spec;
    spec.ipv6 = ipv6;
    spec.traffic_class = 0xb9;
    Bytes super;
    for (const Bytes& segment : cut(build_super(spec, Bytes(3000, 1), 1000, super), super)) {
      CHECK_EQ(ip_traffic_class(segment.data()), 0xb9);
    }
  }
}

TEST("sequence numbers and IPv4 identifications wrap") {
  FlowSpec spec;
  spec.sequence = 0xffffff00;
  spec.identification = 0xffff;
  Bytes super;
  const auto segments = cut(build_super(spec, Bytes(2000, 1), 1000, super), super);
  CHECK_EQ(be32(segments[1], 24), 0xffffff00u + 1000u);
  CHECK_EQ(be16(segments[1], 4), 0u);
  for (const Bytes& segment : segments) check_packet(segment);
}

TEST("a plain packet passes as it is, and one with an unfinished checksum gets it") {
  Random random(3);
  for (int round = 0; round < 500; ++round) {
    const FlowSpec spec = random_flow(random);
    const Bytes payload = random.bytes(random.below(1500));
    const Bytes finished = build_packet(spec, payload);
    check_same(cut(VirtioNetHeader{}, finished), {finished});
    Bytes unfinished = raw_packet(spec, payload);
    start_checksums(unfinished);
    VirtioNetHeader header;
    header.flags = kVirtioNeedsChecksum;
    header.checksum_start = static_cast<uint16_t>(transport_at(spec));
    header.checksum_offset = spec.udp ? 6 : 16;
    check_same(cut(header, unfinished), {finished});
  }
}

TEST("what lies behind the IP length of a plain packet is not sent") {
  const Bytes packet = build_packet(FlowSpec{}, Bytes(100, 1));
  Bytes longer = packet;
  longer.resize(packet.size() + 22);
  check_same(cut(VirtioNetHeader{}, longer), {packet});
}

TEST("a checksum that comes out as zero is sent as ffff") {
  FlowSpec spec;
  spec.udp = true;
  Bytes payload = {0, 0, 9, 9};
  Bytes packet = build_packet(spec, payload);
  // With the checksum itself as payload the sum is the old one plus its complement's complement: all ones.
  std::copy_n(packet.begin() + 26, 2, payload.begin());
  Bytes unfinished = raw_packet(spec, payload);
  start_checksums(unfinished);
  VirtioNetHeader header;
  header.flags = kVirtioNeedsChecksum;
  header.checksum_start = 20;
  header.checksum_offset = 6;
  const auto out = cut(header, unfinished);
  CHECK_EQ(be16(out.at(0), 26), 0xffffu);
  check_packet(out[0]);
}

TEST("IPv6 extension headers stay in front of each segment; a routing header makes it malformed") {
  FlowSpec spec;
  spec.ipv6 = true;
  Bytes super;
  VirtioNetHeader header = build_super(spec, Bytes(2000, 5), 900, super);
  const uint8_t hop_by_hop[8] = {6, 0, 1, 4, 0, 0, 0, 0};
  super.insert(super.begin() + 40, hop_by_hop, hop_by_hop + 8);
  super[6] = 0;
  put16(super, 4, static_cast<uint32_t>(super.size() - 40));
  header.checksum_start = 48;
  const auto segments = cut(header, super);
  CHECK_EQ(segments.size(), size_t{3});
  for (const Bytes& segment : segments) {
    CHECK_EQ(be16(segment, 4), segment.size() - 40);
    CHECK(std::equal(hop_by_hop, hop_by_hop + 8, segment.begin() + 40));
    CHECK_EQ(naive_sum(std::span(segment).subspan(48), naive_pseudo(segment, 6, segment.size() - 48)), 0xffffu);
  }
  super[6] = 43;
  CHECK(cut(header, super).empty());
}

TEST("headers that contradict the packet are malformed") {
  FlowSpec spec;
  Bytes super;
  const VirtioNetHeader good = build_super(spec, Bytes(3000, 1), 1000, super);
  const auto refused = [&](auto change) {
    VirtioNetHeader header = good;
    Bytes packet = super;
    change(header, packet);
    return cut(header, packet).empty();
  };
  CHECK(!refused([](auto&, auto&) {}));
  CHECK(refused([](auto& h, auto&) { h.gso_size = 0; }));
  CHECK(refused([](auto& h, auto&) { h.flags = 0; }));
  CHECK(refused([](auto& h, auto&) { h.gso_type = kVirtioGsoTcpv6; }));
  CHECK(refused([](auto& h, auto&) { h.gso_type = kVirtioGsoUdp; }));
  CHECK(refused([](auto& h, auto&) { h.gso_type = kVirtioGsoUdpL4; }));
  CHECK(refused([](auto& h, auto&) { h.gso_type = 77; }));
  CHECK(refused([](auto& h, auto&) { h.checksum_start = 24; }));
  CHECK(refused([](auto& h, auto&) { h.checksum_start = 65535; }));
  CHECK(refused([](auto& h, auto&) { h.checksum_offset = 6; }));
  CHECK(refused([](auto&, auto& p) { p[32] = 0x40; }));
  CHECK(refused([](auto&, auto& p) { p.resize(30); }));
  CHECK(refused([](auto&, auto& p) { p.resize(40); }));
  CHECK(refused([](auto&, auto& p) { p.clear(); }));
  CHECK(refused([](auto&, auto& p) { p[0] = 0x55; }));
  CHECK(refused([](auto&, auto& p) { p[0] = 0x44; }));
  CHECK(refused([](auto&, auto& p) { p[9] = 17; }));
  CHECK(refused([](auto&, auto& p) { p.resize(65536); }));

  const Bytes plain = build_packet(spec, Bytes(10, 1));
  CHECK(cut(VirtioNetHeader{}, Bytes(plain.begin(), plain.end() - 1)).empty());
  VirtioNetHeader header;
  header.flags = kVirtioNeedsChecksum;
  for (const auto& [start, offset] : {std::pair{19, 16}, {20, 65535}, {65535, 65535}, {20, 29}}) {
    header.checksum_start = static_cast<uint16_t>(start);
    header.checksum_offset = static_cast<uint16_t>(offset);
    CHECK(cut(header, plain).empty());
  }
}

TEST("the inner length is what the header says, within what there is") {
  Bytes four = build_packet(FlowSpec{}, Bytes(10, 1));
  CHECK_EQ(inner_length(four.data(), four.size()), four.size());
  CHECK_EQ(inner_length(four.data(), four.size() + 16), four.size());
  CHECK_EQ(inner_length(four.data(), four.size() - 1), 0u);
  for (size_t length = 0; length < 20; ++length) CHECK_EQ(inner_length(four.data(), length), 0u);
  put16(four, 2, 19);
  CHECK_EQ(inner_length(four.data(), four.size()), 0u);
  put16(four, 2, 20);
  CHECK_EQ(inner_length(four.data(), four.size()), 20u);
  four[0] = 0x46;
  CHECK_EQ(inner_length(four.data(), four.size()), 0u);
  four[0] = 0x44;
  CHECK_EQ(inner_length(four.data(), four.size()), 0u);
  FlowSpec spec;
  spec.ipv6 = true;
  Bytes six = build_packet(spec, Bytes(10, 1));
  CHECK_EQ(inner_length(six.data(), six.size()), six.size());
  CHECK_EQ(inner_length(six.data(), six.size() - 1), 0u);
  CHECK_EQ(inner_length(six.data(), 39), 0u);
  put16(six, 4, 0);
  CHECK_EQ(inner_length(six.data(), six.size()), 40u);
  for (uint8_t version : {0, 1, 5, 7, 15}) {
    six[0] = static_cast<uint8_t>(version << 4 | 5);
    CHECK_EQ(inner_length(six.data(), six.size()), 0u);
  }
}

TEST("an outer congestion mark reaches ECN-capable packets only, and their checksum stays right") {
  for (bool ipv6 : {false, true}) {
    for (uint8_t ecn = 0; ecn < 4; ++ecn) {
      FlowSpec spec;
      spec.ipv6 = ipv6;
      spec.traffic_class = static_cast<uint8_t>(0xa8 | ecn);
      Bytes packet = build_packet(spec, Bytes(50, 2));
      ip_mark_congestion(packet.data());
      CHECK_EQ(ip_traffic_class(packet.data()), 0xa8 | (ecn == 0 ? 0 : 3));
      check_packet(packet);
    }
  }
}
