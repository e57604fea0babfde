// Reading IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293) and UDP (RFC 768) headers out of untrusted bytes, bounds
// checked, and the few loads and stores in network order that the packet code needs. Leaves out IPv6 extension headers:
// a packet that has them is carried, but never merged.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace warren {

inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint8_t kProtocolIcmpv6 = 58;

inline constexpr uint32_t kIpv4HeaderMin = 20;
inline constexpr uint32_t kIpv6Header = 40;
inline constexpr uint32_t kTcpHeaderMin = 20;
inline constexpr uint32_t kUdpHeader = 8;
inline constexpr uint32_t kIpPacketMax = 65535;

namespace tcp_flag {
inline constexpr uint8_t kFin = 0x01;
inline constexpr uint8_t kSyn = 0x02;
inline constexpr uint8_t kRst = 0x04;
inline constexpr uint8_t kPsh = 0x08;
inline constexpr uint8_t kAck = 0x10;
inline constexpr uint8_t kUrg = 0x20;
inline constexpr uint8_t kEce = 0x40;
inline constexpr uint8_t kCwr = 0x80;
}  // namespace tcp_flag

template <typename T>
inline T load(const uint8_t* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <typename T>
inline void store(uint8_t* at, T value) noexcept {
  std::memcpy(at, &value, sizeof value);
}

inline uint16_t to_big(uint16_t v) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap16(v) : v;
}
inline uint32_t to_big(uint32_t v) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap32(v) : v;
}
inline uint64_t to_big(uint64_t v) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap64(v) : v;
}
inline uint64_t to_little(uint64_t v) noexcept {
  return std::endian::native == std::endian::little ? v : __builtin_bswap64(v);
}
inline uint32_t to_little(uint32_t v) noexcept {
  return std::endian::native == std::endian::little ? v : __builtin_bswap32(v);
}
inline uint16_t load_be16(const uint8_t* at) noexcept { return to_big(load<uint16_t>(at)); }
inline uint32_t load_be32(const uint8_t* at) noexcept { return to_big(load<uint32_t>(at)); }
inline uint64_t load_be64(const uint8_t* at) noexcept { return to_big(load<uint64_t>(at)); }
inline uint32_t load_le32(const uint8_t* at) noexcept { return to_little(load<uint32_t>(at)); }
inline uint64_t load_le64(const uint8_t* at) noexcept { return to_little(load<uint64_t>(at)); }
inline void store_be16(uint8_t* at, uint16_t v) noexcept { store(at, to_big(v)); }
inline void store_be32(uint8_t* at, uint32_t v) noexcept { store(at, to_big(v)); }
inline void store_le32(uint8_t* at, uint32_t v) noexcept { store(at, to_little(v)); }
inline void store_le64(uint8_t* at, uint64_t v) noexcept { store(at, to_little(v)); }

/**
 * Length of the IP packet that begins at `packet`, by its own header: IPv4 with IHL ≥ 5 and a total length that holds the
 * header, or IPv6. 0 when it is neither, or says more than the `available` bytes. (docs/dataplane.md, both directions.)
 */
inline uint32_t inner_length(const uint8_t* packet, size_t available) noexcept {
  if (available < kIpv4HeaderMin) return 0;
  const uint8_t version = packet[0] >> 4;
  uint32_t length = 0;
  if (version == 4) {
    const uint32_t header = 4u * (packet[0] & 0x0f);
    length = load_be16(packet + 2);
    if (header < kIpv4HeaderMin || length < header) return 0;
  } else if (version == 6) {
    if (available < kIpv6Header) return 0;
    length = kIpv6Header + load_be16(packet + 4);
  }
  return length <= available ? length : 0;
}

/** Source and destination inside the header, 4 or 16 bytes; the packet passed `inner_length`. */
inline const uint8_t* ip_source(const uint8_t* packet) noexcept { return packet + (packet[0] >> 4 == 4 ? 12 : 8); }
inline const uint8_t* ip_destination(const uint8_t* packet) noexcept { return packet + (packet[0] >> 4 == 4 ? 16 : 24); }

/** TOS or traffic class: DSCP in the high six bits, ECN in the low two. */
inline uint8_t ip_traffic_class(const uint8_t* packet) noexcept {
  if (packet[0] >> 4 == 4) return packet[1];
  return static_cast<uint8_t>((packet[0] << 4) | (packet[1] >> 4));
}

/**
 * Applies the outer ECN mark "congestion experienced" to the packet inside; its checksum stays right. A packet that is
 * not ECN-capable is left alone, as the kernel's WireGuard does, where RFC 6040 §4.2 would drop it.
 */
void ip_mark_congestion(uint8_t* packet) noexcept;

/** Where things are in an IP packet. Offsets are from its first byte. */
struct IpView {
  uint8_t version;
  /** IPv4 protocol, or the first IPv6 next header. */
  uint8_t protocol;
  uint8_t traffic_class;
  uint8_t hop_limit;
  /** IPv4 header with options; 40 for IPv6. */
  uint32_t header_length;
  uint32_t total_length;
  /** IPv4 only: more fragments follow, or this is not the first. */
  bool fragment;
  /** IPv4 only. */
  bool dont_fragment;
};

/** False when `inner_length` is 0. */
inline bool parse_ip(const uint8_t* packet, size_t available, IpView& view) noexcept {
  const uint32_t total = inner_length(packet, available);
  if (total == 0) return false;
  view.total_length = total;
  view.version = packet[0] >> 4;
  view.traffic_class = ip_traffic_class(packet);
  if (view.version == 6) {
    view.protocol = packet[6];
    view.hop_limit = packet[7];
    view.header_length = kIpv6Header;
    view.fragment = false;
    view.dont_fragment = true;
    return true;
  }
  view.protocol = packet[9];
  view.hop_limit = packet[8];
  view.header_length = 4u * (packet[0] & 0x0f);
  const uint16_t fragment = load_be16(packet + 6);
  view.fragment = (fragment & 0x3fff) != 0;
  view.dont_fragment = (fragment & 0x4000) != 0;
  return true;
}

/** Length of the TCP header with options at `tcp`, or 0 when it is below 20 or beyond `available`. */
inline uint32_t tcp_header_length(const uint8_t* tcp, size_t available) noexcept {
  if (available < kTcpHeaderMin) return 0;
  const uint32_t length = 4u * (tcp[12] >> 4);
  return length >= kTcpHeaderMin && length <= available ? length : 0;
}

}  // namespace warren
