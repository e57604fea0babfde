// Merging received segments. See coalescer.h.
//
// A packet joins the newest aggregate of its flow when both differ in nothing that the merged packet could not express:
// same addresses, ports, traffic class (ECN), hop limit, flow label and don't-fragment bit; IPv4 identifications count up
// where the packets may be fragmented; TCP has no flags but ACK and PSH, the same acknowledgement, window and options, and the
// next sequence number; the payload is as long as the first one's, or shorter and then the last; all checksums are right. PSH
// ends an aggregate. Anything else ends the aggregate of its flow and passes alone, so nothing overtakes within a flow.

#include "packet/coalescer.h"

#include <cstring>

#include "packet/checksum.h"
#include "packet/headers.h"

namespace warren {
namespace {

constexpr uint32_t kTcpChecksumAt = 16;
constexpr uint32_t kUdpChecksumAt = 6;
constexpr uint8_t kIpv6Fragment = 44;

/** Of the IPv4 header (it is rewritten, which must not mend it) and of what is behind the IP header. */
bool checksum_right(const uint8_t* packet, uint32_t length, uint32_t ip_header, uint8_t protocol) noexcept {
  const bool ipv4 = ip_header == kIpv4HeaderMin;
  if (ipv4 && checksum_fold(checksum_add_portable(0, packet, kIpv4HeaderMin)) != 0xffff) return false;
  const uint32_t transport_length = length - ip_header;
  const uint64_t pseudo = checksum_pseudo(packet, protocol, transport_length);
  return checksum_fold(checksum_add(pseudo, packet + ip_header, transport_length)) == 0xffff;
}

bool same(const uint8_t* a, const uint8_t* b, size_t length) noexcept { return std::memcmp(a, b, length) == 0; }

bool same_ipv4(const uint8_t* first, const uint8_t* packet, uint32_t position) noexcept {
  // Version, header length, traffic class; then flags, fragment offset and hop limit.
  if (!same(first, packet, 2) || !same(first + 6, packet + 6, 3)) return false;
  const bool dont_fragment = (first[6] & 0x40) != 0;
  return dont_fragment || static_cast<uint16_t>(load_be16(first + 4) + position) == load_be16(packet + 4);
}

bool same_ipv6(const uint8_t* first, const uint8_t* packet) noexcept {
  // Version, traffic class, flow label; then hop limit.
  return same(first, packet, 4) && first[7] == packet[7];
}

/** Everything but ports, sequence, flags and checksum. */
bool same_tcp(const uint8_t* first, const uint8_t* packet, uint32_t length) noexcept {
  // Acknowledgement and data offset; window; urgent pointer and options.
  return same(first + 8, packet + 8, 5) && same(first + 14, packet + 14, 2) && same(first + 18, packet + 18, length - 18);
}

}  // namespace

Coalescer::Coalescer(CoalesceOffloads offloads)
    : offloads_(offloads), packets_(kPacketsMax), items_(kPacketsMax), flows_(kFlowSlots) {}

bool Coalescer::add(uint8_t* packet, uint32_t length) noexcept {
  if (packet_count_ == kPacketsMax) return false;
  const uint32_t index = packet_count_++;
  packets_[index] = Packet{packet, length, kNil};

  Shape shape;
  const Flow flow = offloads_.vnet_header ? read_shape(packet, length, shape) : Flow::foreign;
  if (flow == Flow::unknown) close_all();
  const bool tracked = flow == Flow::known && (shape.protocol == kProtocolTcp ? offloads_.tcp : offloads_.udp);
  FlowSlot* const slot = tracked ? find_flow(packet, shape) : nullptr;
  if (slot == nullptr) {
    append_item(index);
    return true;
  }
  if (slot->item != kNil && try_merge(items_[slot->item], index, shape)) return true;

  slot->item = item_count_;
  Item& item = append_item(index);
  item.header_length = shape.header_length;
  item.next_sequence = shape.sequence + shape.payload_length;
  item.payload_step = static_cast<uint16_t>(shape.payload_length);
  item.ip_header = shape.ip_header;
  item.protocol = shape.protocol;
  item.open = shape.mergeable && !shape.push;
  return true;
}

/** Foreign: belongs to no flow that is ever merged. Unknown: might, but its ports cannot be told. */
Coalescer::Flow Coalescer::read_shape(const uint8_t* packet, uint32_t length, Shape& shape) noexcept {
  IpView ip;
  if (!parse_ip(packet, length, ip)) return Flow::foreign;
  if (ip.total_length != length || length > kIpPacketMax) return Flow::unknown;
  if (ip.fragment || (ip.version == 6 && ip.protocol == kIpv6Fragment)) return Flow::unknown;
  if (ip.protocol != kProtocolTcp && ip.protocol != kProtocolUdp) return Flow::foreign;
  if (ip.version == 4 && ip.header_length != kIpv4HeaderMin) return Flow::unknown;

  const uint8_t* const transport = packet + ip.header_length;
  const uint32_t available = length - ip.header_length;
  shape.ip_header = static_cast<uint8_t>(ip.header_length);
  shape.protocol = ip.protocol;
  shape.push = false;
  shape.sequence = 0;
  if (ip.protocol == kProtocolTcp) {
    const uint32_t header = tcp_header_length(transport, available);
    if (header == 0) return Flow::unknown;
    const uint8_t flags = transport[13];
    shape.header_length = ip.header_length + header;
    shape.payload_length = length - shape.header_length;
    shape.sequence = load_be32(transport + 4);
    shape.push = (flags & tcp_flag::kPsh) != 0;
    shape.mergeable = (flags & ~tcp_flag::kPsh) == tcp_flag::kAck && shape.payload_length > 0;
    return Flow::known;
  }
  if (available < kUdpHeader) return Flow::unknown;
  shape.header_length = ip.header_length + kUdpHeader;
  shape.payload_length = length - shape.header_length;
  const bool has_checksum = load<uint16_t>(transport + kUdpChecksumAt) != 0;
  shape.mergeable = has_checksum && load_be16(transport + 4) == available && shape.payload_length > 0;
  return Flow::known;
}

/** The slot of the packet's flow, its item kNil when it is new; null when the table is too crowded there. */
Coalescer::FlowSlot* Coalescer::find_flow(const uint8_t* packet, const Shape& shape) noexcept {
  const bool ipv4 = shape.ip_header == kIpv4HeaderMin;
  const uint32_t addresses_at = ipv4 ? 12 : 8;
  const uint32_t addresses_length = ipv4 ? 8 : 32;
  const uint32_t ports = load<uint32_t>(packet + shape.ip_header);
  uint64_t mixed = ports ^ (uint64_t{shape.protocol} << 56) ^ (uint64_t{shape.ip_header} << 48);
  for (uint32_t i = 0; i < addresses_length; i += 8) {
    mixed = (mixed ^ load<uint64_t>(packet + addresses_at + i)) * 0x9e37'79b9'7f4a'7c15ull;
    mixed ^= mixed >> 32;
  }
  for (uint32_t i = 0; i < kProbesMax; ++i) {
    FlowSlot& slot = flows_[(mixed + i) % kFlowSlots];
    if (slot.epoch != epoch_) {
      slot = FlowSlot{kNil, epoch_};
      return &slot;
    }
    const Item& item = items_[slot.item];
    const uint8_t* const first = packets_[item.first].data;
    if (item.protocol == shape.protocol && item.ip_header == shape.ip_header &&
        load<uint32_t>(first + shape.ip_header) == ports &&
        same(first + addresses_at, packet + addresses_at, addresses_length)) {
      return &slot;
    }
  }
  return nullptr;
}

bool Coalescer::fits(const Item& item, const uint8_t* packet, const Shape& shape) const noexcept {
  if (!item.open || !shape.mergeable || shape.header_length != item.header_length) return false;
  if (shape.payload_length > item.payload_step || item.total_length + shape.payload_length > kIpPacketMax) return false;
  const uint8_t* const first = packets_[item.first].data;
  const bool ipv4 = item.ip_header == kIpv4HeaderMin;
  if (ipv4 ? !same_ipv4(first, packet, item.packets) : !same_ipv6(first, packet)) return false;
  if (item.protocol == kProtocolUdp) return item.packets < kMergeUdpMax;
  return item.packets < kMergeMax && shape.sequence == item.next_sequence &&
         same_tcp(first + item.ip_header, packet + item.ip_header, item.header_length - item.ip_header);
}

bool Coalescer::try_merge(Item& item, uint32_t index, const Shape& shape) noexcept {
  const Packet& packet = packets_[index];
  if (!fits(item, packet.data, shape)) return false;
  if (!item.verified) {
    // Asked only now: a packet that stays alone never needs it.
    const Packet& first = packets_[item.first];
    item.verified = checksum_right(first.data, first.length, item.ip_header, item.protocol);
    if (!item.verified) return false;
  }
  if (!checksum_right(packet.data, packet.length, item.ip_header, item.protocol)) return false;
  packets_[item.last].next = index;
  item.last = index;
  ++item.packets;
  item.total_length += shape.payload_length;
  item.next_sequence += shape.payload_length;
  item.push = shape.push;
  item.open = !shape.push && shape.payload_length == item.payload_step;
  return true;
}

Coalescer::Item& Coalescer::append_item(uint32_t index) noexcept {
  Item& item = items_[item_count_++];
  item = Item{};
  item.first = index;
  item.last = index;
  item.packets = 1;
  item.total_length = packets_[index].length;
  return item;
}

Coalescer::Write Coalescer::gather(const Item& item) noexcept {
  uint32_t count = 0;
  uint32_t bytes = item.total_length;
  const Packet& first = packets_[item.first];
  header_ = VirtioNetHeader{};
  if (item.packets > 1) finish_headers(item);
  if (offloads_.vnet_header) {
    pieces_[count++] = iovec{&header_, sizeof header_};
    bytes += sizeof header_;
  }
  pieces_[count++] = iovec{first.data, first.length};
  for (uint32_t i = first.next; i != kNil; i = packets_[i].next) {
    pieces_[count++] = iovec{packets_[i].data + item.header_length, packets_[i].length - item.header_length};
  }
  return Write{{pieces_, count}, item.packets, bytes};
}

/** Makes the first packet's headers those of the whole, and tells the kernel how to cut it again. */
void Coalescer::finish_headers(const Item& item) noexcept {
  uint8_t* const packet = packets_[item.first].data;
  uint8_t* const transport = packet + item.ip_header;
  const uint32_t transport_length = item.total_length - item.ip_header;
  const bool ipv4 = item.ip_header == kIpv4HeaderMin;
  if (ipv4) {
    store_be16(packet + 2, static_cast<uint16_t>(item.total_length));
    checksum_ipv4_header(packet, item.ip_header);
  } else {
    store_be16(packet + 4, static_cast<uint16_t>(transport_length));
  }
  const bool tcp = item.protocol == kProtocolTcp;
  if (tcp) {
    if (item.push) transport[13] = static_cast<uint8_t>(transport[13] | tcp_flag::kPsh);
  } else {
    store_be16(transport + 4, static_cast<uint16_t>(transport_length));
  }
  // The kernel finishes the sum: the field holds that of the pseudo header, not complemented.
  const uint32_t checksum_at = tcp ? kTcpChecksumAt : kUdpChecksumAt;
  store(transport + checksum_at, checksum_fold(checksum_pseudo(packet, item.protocol, transport_length)));

  header_.flags = kVirtioNeedsChecksum;
  header_.gso_type = tcp ? (ipv4 ? kVirtioGsoTcpv4 : kVirtioGsoTcpv6) : kVirtioGsoUdpL4;
  header_.header_length = static_cast<uint16_t>(item.header_length);
  header_.gso_size = item.payload_step;
  header_.checksum_start = item.ip_header;
  header_.checksum_offset = static_cast<uint16_t>(checksum_at);
}

void Coalescer::close_all() noexcept {
  if (++epoch_ != 0) return;
  // Once in four billion: slots of the first epochs must not come back to life.
  for (FlowSlot& slot : flows_) slot = FlowSlot{};
  epoch_ = 1;
}

void Coalescer::clear() noexcept {
  packet_count_ = 0;
  item_count_ = 0;
  close_all();
}

}  // namespace warren
