// Cutting super-packets. See segmenter.h; what changes from segment to segment is what the kernel's own TSO and USO
// change: lengths, IPv4 identification, TCP sequence, FIN and PSH (last only), CWR (first only), checksums.

#include "packet/segmenter.h"

#include <cstring>

#include "packet/checksum.h"

namespace warren {
namespace {

constexpr uint32_t kTcpSequenceAt = 4;
constexpr uint32_t kTcpFlagsAt = 13;
constexpr uint32_t kTcpChecksumAt = 16;
constexpr uint32_t kUdpLengthAt = 4;
constexpr uint32_t kUdpChecksumAt = 6;

/** Flags that do not belong to every segment. */
constexpr uint8_t kFirstOnly = tcp_flag::kCwr;
constexpr uint8_t kLastOnly = tcp_flag::kFin | tcp_flag::kPsh;

/** A checksum of zero means "none" in UDP and is the same number as ffff to everyone else. */
uint16_t never_zero(uint16_t checksum) noexcept { return checksum == 0 ? 0xffff : checksum; }

/** The IP header fits what was read. In a super-packet the length field may say anything: the read decides. */
uint32_t header_within(std::span<const uint8_t> packet) noexcept {
  if (packet.size() < kIpv4HeaderMin) return 0;
  const uint8_t version = packet[0] >> 4;
  const uint32_t length = version == 4 ? 4u * (packet[0] & 0x0f) : version == 6 ? kIpv6Header : 0;
  const size_t most = version == 4 ? kIpPacketMax : kIpv6Header + kIpPacketMax;
  return length >= kIpv4HeaderMin && length <= packet.size() && packet.size() <= most ? length : 0;
}

/** Whether a routing header stands between the IPv6 header and the transport: the pseudo header is not ours to make. */
bool has_routing_header(const uint8_t* packet, uint32_t transport) noexcept {
  constexpr uint8_t kRouting = 43;
  uint8_t next = packet[6];
  for (uint32_t at = kIpv6Header; at + 8 <= transport; at += 8u * (packet[at + 1] + 1u)) {
    if (next == kRouting) return true;
    next = packet[at];
  }
  return false;
}

}  // namespace

uint32_t Segmenter::prepare(const VirtioNetHeader& header, std::span<const uint8_t> packet) noexcept {
  *this = Segmenter{};
  packet_ = packet.data();
  if ((header.gso_type & ~kVirtioGsoEcn) != kVirtioGsoNone) {
    total_length_ = static_cast<uint32_t>(packet.size());
    return header_within(packet) == 0 ? 0 : count_ = prepare_super(header);
  }
  total_length_ = inner_length(packet.data(), packet.size());
  if (total_length_ == 0) return 0;
  payload_length_ = total_length_;
  return count_ = (header.flags & kVirtioNeedsChecksum) != 0 ? prepare_checksum(header) : 1;
}

uint32_t Segmenter::prepare_checksum(const VirtioNetHeader& header) noexcept {
  const uint32_t ip_header = packet_[0] >> 4 == 4 ? 4u * (packet_[0] & 0x0f) : kIpv6Header;
  transport_ = header.checksum_start;
  checksum_at_ = transport_ + header.checksum_offset;
  if (transport_ < ip_header || checksum_at_ + 2 > total_length_) return 0;
  kind_ = Kind::checksum;
  return 1;
}

uint32_t Segmenter::prepare_super(const VirtioNetHeader& header) noexcept {
  const uint8_t type = header.gso_type & static_cast<uint8_t>(~kVirtioGsoEcn);
  const bool ipv4 = packet_[0] >> 4 == 4;
  const uint32_t ip_header = header_within({packet_, total_length_});
  if (type == kVirtioGsoUdpL4) {
    kind_ = Kind::udp;
  } else if (type == (ipv4 ? kVirtioGsoTcpv4 : kVirtioGsoTcpv6)) {
    kind_ = Kind::tcp;
  } else {
    return 0;
  }
  transport_ = header.checksum_start;
  payload_step_ = header.gso_size;
  const bool checksummed = (header.flags & kVirtioNeedsChecksum) != 0;
  // IPv6 may have extension headers in between; IPv4 ends where it says.
  const bool placed = ipv4 ? transport_ == ip_header : transport_ >= ip_header;
  if (!checksummed || !placed || payload_step_ == 0 || transport_ >= total_length_) return 0;

  const uint8_t* const transport = packet_ + transport_;
  const uint32_t available = total_length_ - transport_;
  uint32_t transport_header = kUdpHeader;
  if (kind_ == Kind::tcp) transport_header = tcp_header_length(transport, available);
  if (transport_header == 0 || transport_header > available) return 0;
  header_length_ = transport_ + transport_header;
  payload_length_ = total_length_ - header_length_;
  if (payload_length_ == 0) return 0;
  checksum_at_ = transport_ + (kind_ == Kind::tcp ? kTcpChecksumAt : kUdpChecksumAt);
  if (header.checksum_offset != checksum_at_ - transport_) return 0;

  const uint8_t protocol = kind_ == Kind::tcp ? kProtocolTcp : kProtocolUdp;
  if (ipv4 ? packet_[9] != protocol : has_routing_header(packet_, transport_)) return 0;
  // The length is added to each segment's own sum, as are the fields that are zeroed here.
  uint8_t fixed[60];
  std::memcpy(fixed, transport, transport_header);
  store<uint16_t>(fixed + (checksum_at_ - transport_), 0);
  if (kind_ == Kind::tcp) {
    store<uint32_t>(fixed + kTcpSequenceAt, 0);
    fixed[kTcpFlagsAt] = 0;
  } else {
    store<uint16_t>(fixed + kUdpLengthAt, 0);
  }
  base_sum_ = checksum_add(checksum_pseudo(packet_, protocol, 0), fixed, transport_header);
  return (payload_length_ + payload_step_ - 1) / payload_step_;
}

void Segmenter::write(uint32_t i, uint8_t* out) const noexcept {
  switch (kind_) {
    case Kind::plain: std::memcpy(out, packet_, total_length_); return;
    case Kind::checksum: write_checksum(out); return;
    case Kind::tcp:
    case Kind::udp: write_super(i, out); return;
  }
}

void Segmenter::write_checksum(uint8_t* out) const noexcept {
  // The field holds the sum of the pseudo header already: it takes part like everything behind checksum_start.
  std::memcpy(out, packet_, transport_);
  const uint64_t sum = checksum_copy(0, out + transport_, packet_ + transport_, total_length_ - transport_);
  store(out + checksum_at_, never_zero(checksum_finish(sum)));
}

void Segmenter::write_super(uint32_t i, uint8_t* out) const noexcept {
  const uint32_t at = i * payload_step_;
  const bool last = i + 1 == count_;
  const uint32_t payload = last ? payload_length_ - at : payload_step_;
  const uint32_t length = header_length_ + payload;
  std::memcpy(out, packet_, header_length_);

  if (out[0] >> 4 == 4) {
    store_be16(out + 2, static_cast<uint16_t>(length));
    store_be16(out + 4, static_cast<uint16_t>(load_be16(packet_ + 4) + i));
    checksum_ipv4_header(out, transport_);
  } else {
    store_be16(out + 4, static_cast<uint16_t>(length - kIpv6Header));
  }

  uint8_t* const transport = out + transport_;
  const uint32_t transport_length = length - transport_;
  uint64_t sum = checksum_combine(base_sum_, to_big(transport_length));
  if (kind_ == Kind::tcp) {
    store_be32(transport + kTcpSequenceAt, load_be32(packet_ + transport_ + kTcpSequenceAt) + at);
    uint8_t flags = transport[kTcpFlagsAt];
    if (i != 0) flags &= static_cast<uint8_t>(~kFirstOnly);
    if (!last) flags &= static_cast<uint8_t>(~kLastOnly);
    transport[kTcpFlagsAt] = flags;
    sum = checksum_combine(sum, load<uint32_t>(transport + kTcpSequenceAt));
    // The low byte of its 16-bit word in network order.
    sum = checksum_combine(sum, to_big(static_cast<uint16_t>(flags)));
  } else {
    store_be16(transport + kUdpLengthAt, static_cast<uint16_t>(transport_length));
    sum = checksum_combine(sum, load<uint16_t>(transport + kUdpLengthAt));
  }
  sum = checksum_copy(sum, out + header_length_, packet_ + header_length_ + at, payload);
  store(out + checksum_at_, never_zero(checksum_finish(sum)));
}

}  // namespace warren
