// Packets for the tests of native/packet: built and checked byte by byte, with a checksum as RFC 1071 §1 words it and
// nothing shared with the code under test but the struct of the virtio header.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "check.h"
#include "packet/virtio.h"

namespace warren::test {

using Bytes = std::vector<uint8_t>;

inline uint32_t be16(const Bytes& p, size_t at) { return uint32_t{p[at]} << 8 | p[at + 1]; }
inline uint32_t be32(const Bytes& p, size_t at) { return be16(p, at) << 16 | be16(p, at + 2); }
inline void put16(Bytes& p, size_t at, uint32_t v) {
  p[at] = static_cast<uint8_t>(v >> 8);
  p[at + 1] = static_cast<uint8_t>(v);
}
inline void put32(Bytes& p, size_t at, uint32_t v) {
  put16(p, at, v >> 16);
  put16(p, at + 2, v & 0xffff);
}

/** Ones' complement sum of 16-bit words, folded after every word; not complemented. */
inline uint32_t naive_sum(std::span<const uint8_t> data, uint32_t sum = 0) {
  for (size_t i = 0; i < data.size(); i += 2) {
    sum += uint32_t{data[i]} << 8 | (i + 1 < data.size() ? data[i + 1] : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

inline bool is_ipv4(const Bytes& p) { return p[0] >> 4 == 4; }
inline size_t ip_header_of(const Bytes& p) { return is_ipv4(p) ? (p[0] & 15u) * 4 : 40; }
inline uint8_t protocol_of(const Bytes& p) { return is_ipv4(p) ? p[9] : p[6]; }

inline uint32_t naive_pseudo(const Bytes& p, uint8_t protocol, size_t length) {
  Bytes pseudo(p.begin() + (is_ipv4(p) ? 12 : 8), p.begin() + (is_ipv4(p) ? 20 : 40));
  const uint8_t tail[8] = {0, 0, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0, 0, 0, protocol};
  pseudo.insert(pseudo.end(), tail, tail + 8);
  return naive_sum(pseudo);
}

/** What a flow of packets has in common. */
struct FlowSpec {
  bool ipv6 = false;
  bool udp = false;
  std::array<uint8_t, 16> source = {10, 0, 0, 1, 5, 6, 7, 8};
  std::array<uint8_t, 16> destination = {10, 0, 0, 2, 1, 2, 3, 4};
  uint16_t source_port = 40000;
  uint16_t destination_port = 443;
  uint8_t traffic_class = 0;
  uint8_t hop_limit = 64;
  uint32_t flow_label = 0x12345;
  bool dont_fragment = true;
  uint16_t identification = 100;
  uint32_t sequence = 1000;
  uint32_t acknowledgement = 5000;
  uint16_t window = 512;
  uint8_t flags = 0x10;
  Bytes tcp_options = {};
};

inline size_t transport_at(const FlowSpec& spec) { return spec.ipv6 ? 40 : 20; }
inline size_t headers_of(const FlowSpec& spec) {
  return transport_at(spec) + (spec.udp ? 8 : 20 + spec.tcp_options.size());
}

/** A packet without its checksums. */
inline Bytes raw_packet(const FlowSpec& spec, std::span<const uint8_t> payload) {
  Bytes p(headers_of(spec));
  p.insert(p.end(), payload.begin(), payload.end());
  const uint8_t protocol = spec.udp ? 17 : 6;
  if (spec.ipv6) {
    put32(p, 0, 0x60000000u | uint32_t{spec.traffic_class} << 20 | spec.flow_label);
    put16(p, 4, static_cast<uint32_t>(p.size() - 40));
    p[6] = protocol;
    p[7] = spec.hop_limit;
    std::copy(spec.source.begin(), spec.source.end(), p.begin() + 8);
    std::copy(spec.destination.begin(), spec.destination.end(), p.begin() + 24);
  } else {
    p[0] = 0x45;
    p[1] = spec.traffic_class;
    put16(p, 2, static_cast<uint32_t>(p.size()));
    put16(p, 4, spec.identification);
    put16(p, 6, spec.dont_fragment ? 0x4000 : 0);
    p[8] = spec.hop_limit;
    p[9] = protocol;
    std::copy_n(spec.source.begin(), 4, p.begin() + 12);
    std::copy_n(spec.destination.begin(), 4, p.begin() + 16);
  }
  const size_t t = transport_at(spec);
  put16(p, t, spec.source_port);
  put16(p, t + 2, spec.destination_port);
  if (spec.udp) {
    put16(p, t + 4, static_cast<uint32_t>(p.size() - t));
    return p;
  }
  put32(p, t + 4, spec.sequence);
  put32(p, t + 8, spec.acknowledgement);
  p[t + 12] = static_cast<uint8_t>((5 + spec.tcp_options.size() / 4) << 4);
  p[t + 13] = spec.flags;
  put16(p, t + 14, spec.window);
  std::copy(spec.tcp_options.begin(), spec.tcp_options.end(), p.begin() + static_cast<ptrdiff_t>(t) + 20);
  return p;
}

inline size_t checksum_field(const Bytes& p) { return ip_header_of(p) + (protocol_of(p) == 17 ? 6 : 16); }

inline void finish_ip(Bytes& p) {
  if (!is_ipv4(p)) return;
  put16(p, 10, 0);
  put16(p, 10, ~naive_sum(std::span(p).first(ip_header_of(p))) & 0xffff);
}

/** Completes all checksums. */
inline void finish_checksums(Bytes& p) {
  finish_ip(p);
  const size_t t = ip_header_of(p);
  put16(p, checksum_field(p), 0);
  const uint32_t sum = naive_sum(std::span(p).subspan(t), naive_pseudo(p, protocol_of(p), p.size() - t));
  put16(p, checksum_field(p), sum == 0xffff ? 0xffff : ~sum & 0xffff);
}

/** Leaves what the kernel leaves when it offloads the checksum: the pseudo header's sum in the field. */
inline void start_checksums(Bytes& p) {
  finish_ip(p);
  put16(p, checksum_field(p), naive_pseudo(p, protocol_of(p), p.size() - ip_header_of(p)));
}

inline Bytes build_packet(const FlowSpec& spec, std::span<const uint8_t> payload) {
  Bytes p = raw_packet(spec, payload);
  finish_checksums(p);
  return p;
}
inline Bytes build_udp(FlowSpec spec, std::span<const uint8_t> payload) {
  spec.udp = true;
  return build_packet(spec, payload);
}

/** A super-packet as a TUN gives it. */
inline VirtioNetHeader build_super(const FlowSpec& spec, std::span<const uint8_t> payload, uint16_t gso_size, Bytes& out) {
  out = raw_packet(spec, payload);
  start_checksums(out);
  VirtioNetHeader header;
  header.flags = kVirtioNeedsChecksum;
  header.gso_type = spec.udp ? kVirtioGsoUdpL4 : spec.ipv6 ? kVirtioGsoTcpv6 : kVirtioGsoTcpv4;
  header.header_length = static_cast<uint16_t>(headers_of(spec));
  header.gso_size = gso_size;
  header.checksum_start = static_cast<uint16_t>(transport_at(spec));
  header.checksum_offset = spec.udp ? 6 : 16;
  return header;
}

/** Lengths and every checksum of a packet as a host would check them. */
inline void check_packet(const Bytes& p) {
  const size_t t = ip_header_of(p);
  if (is_ipv4(p)) {
    CHECK_EQ(be16(p, 2), p.size());
    CHECK_EQ(naive_sum(std::span(p).first(t)), 0xffffu);
  } else {
    CHECK_EQ(be16(p, 4), p.size() - 40);
  }
  if (protocol_of(p) == 17) CHECK_EQ(be16(p, t + 4), p.size() - t);
  CHECK(be16(p, checksum_field(p)) != 0 || protocol_of(p) != 17);
  CHECK_EQ(naive_sum(std::span(p).subspan(t), naive_pseudo(p, protocol_of(p), p.size() - t)), 0xffffu);
}

/** Any flow of the kinds that are cut and merged. */
inline FlowSpec random_flow(Random& random) {
  FlowSpec spec;
  spec.ipv6 = random.one_in(2);
  spec.udp = random.one_in(3);
  random.fill(spec.source);
  random.fill(spec.destination);
  spec.source_port = static_cast<uint16_t>(random.next());
  spec.destination_port = static_cast<uint16_t>(random.next());
  spec.traffic_class = random.byte();
  spec.hop_limit = random.byte();
  spec.flow_label = random.below(1 << 20);
  spec.dont_fragment = random.one_in(2);
  spec.identification = static_cast<uint16_t>(random.next());
  spec.sequence = static_cast<uint32_t>(random.next());
  spec.acknowledgement = static_cast<uint32_t>(random.next());
  spec.window = static_cast<uint16_t>(random.next());
  if (!spec.udp) spec.tcp_options = random.bytes(4 * random.below(11));
  return spec;
}

}  // namespace warren::test
