// Building ICMP errors. See icmp.h; the reference plane's icmp.ts gives the same bytes.

#include "packet/icmp.h"

#include <cstring>

#include "packet/checksum.h"
#include "packet/headers.h"

namespace warren {
namespace {

constexpr uint32_t kIcmpHeader = 8;
constexpr uint8_t kHopLimit = 64;
/** RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c): as much of the packet as fits into these. */
constexpr uint32_t kIpv4AnswerMax = 576;
constexpr uint32_t kIpv6AnswerMax = 1280;
static_assert(kIpv6AnswerMax == kIcmpAnswerMax);

struct TypeAndCode {
  uint8_t type;
  uint8_t code;
};

TypeAndCode icmpv4_code(IcmpError error) noexcept {
  switch (error) {
    case IcmpError::no_route:
    case IcmpError::address_unreachable: return {3, 1};
    case IcmpError::prohibited: return {3, 13};
    case IcmpError::too_big: return {3, 4};
  }
  __builtin_unreachable();
}

TypeAndCode icmpv6_code(IcmpError error) noexcept {
  switch (error) {
    case IcmpError::no_route: return {1, 0};
    case IcmpError::address_unreachable: return {1, 3};
    case IcmpError::prohibited: return {1, 1};
    case IcmpError::too_big: return {2, 0};
  }
  __builtin_unreachable();
}

bool all_zero(const uint8_t* bytes, size_t length) noexcept {
  uint8_t any = 0;
  for (size_t i = 0; i < length; ++i) any = static_cast<uint8_t>(any | bytes[i]);
  return any == 0;
}

/** RFC 1122 §3.2.2. Class D and E, the limited broadcast included, are never a host. */
bool deserves_icmpv4(const uint8_t* packet, uint32_t length) noexcept {
  constexpr uint8_t kMulticastFrom = 224;
  if (all_zero(packet + 12, 4) || packet[12] >= kMulticastFrom || packet[16] >= kMulticastFrom) return false;
  const bool later_fragment = (load_be16(packet + 6) & 0x1fff) != 0;
  if (later_fragment) return false;
  if (packet[9] != kProtocolIcmp) return true;
  const uint32_t type_at = 4u * (packet[0] & 0x0f);
  if (type_at >= length) return false;
  // About an ICMP error no error is sent; echo, timestamp and the other queries may have one.
  const uint8_t type = packet[type_at];
  return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

bool deserves_icmpv6(const uint8_t* packet, uint32_t length) noexcept {
  if (all_zero(packet + 8, 16) || packet[8] == 0xff || packet[24] == 0xff) return false;
  if (packet[6] != kProtocolIcmpv6) return true;
  return length > kIpv6Header && packet[kIpv6Header] >= 128;
}

size_t answer_ipv4(IcmpError error, const uint8_t* packet, uint32_t length, uint32_t mtu, uint8_t* out) noexcept {
  const bool dont_fragment = (packet[6] & 0x40) != 0;
  if (!deserves_icmpv4(packet, length) || (error == IcmpError::too_big && !dont_fragment)) return 0;
  const uint32_t room = kIpv4AnswerMax - kIpv4HeaderMin - kIcmpHeader;
  const uint32_t quoted = length < room ? length : room;
  const uint32_t total = kIpv4HeaderMin + kIcmpHeader + quoted;
  std::memset(out, 0, kIpv4HeaderMin + kIcmpHeader);
  out[0] = 0x45;
  store_be16(out + 2, static_cast<uint16_t>(total));
  out[8] = kHopLimit;
  out[9] = kProtocolIcmp;
  std::memcpy(out + 12, packet + 16, 4);
  std::memcpy(out + 16, packet + 12, 4);
  checksum_ipv4_header(out, kIpv4HeaderMin);

  uint8_t* const icmp = out + kIpv4HeaderMin;
  const TypeAndCode what = icmpv4_code(error);
  icmp[0] = what.type;
  icmp[1] = what.code;
  if (error == IcmpError::too_big) store_be16(icmp + 6, static_cast<uint16_t>(mtu < 0xffff ? mtu : 0xffff));
  std::memcpy(icmp + kIcmpHeader, packet, quoted);
  store(icmp + 2, checksum_finish(checksum_add(0, icmp, kIcmpHeader + quoted)));
  return total;
}

size_t answer_ipv6(IcmpError error, const uint8_t* packet, uint32_t length, uint32_t mtu, uint8_t* out) noexcept {
  if (!deserves_icmpv6(packet, length)) return 0;
  const uint32_t room = kIpv6AnswerMax - kIpv6Header - kIcmpHeader;
  const uint32_t quoted = length < room ? length : room;
  std::memset(out, 0, kIpv6Header + kIcmpHeader);
  out[0] = 0x60;
  store_be16(out + 4, static_cast<uint16_t>(kIcmpHeader + quoted));
  out[6] = kProtocolIcmpv6;
  out[7] = kHopLimit;
  std::memcpy(out + 8, packet + 24, 16);
  std::memcpy(out + 24, packet + 8, 16);

  uint8_t* const icmp = out + kIpv6Header;
  const TypeAndCode what = icmpv6_code(error);
  icmp[0] = what.type;
  icmp[1] = what.code;
  if (error == IcmpError::too_big) store_be32(icmp + 4, mtu);
  std::memcpy(icmp + kIcmpHeader, packet, quoted);
  const uint64_t pseudo = checksum_pseudo(out, kProtocolIcmpv6, kIcmpHeader + quoted);
  store(icmp + 2, checksum_finish(checksum_add(pseudo, icmp, kIcmpHeader + quoted)));
  return kIpv6Header + kIcmpHeader + quoted;
}

}  // namespace

size_t icmp_answer(IcmpError error, std::span<const uint8_t> packet, uint32_t mtu, uint8_t* out) noexcept {
  const uint32_t length = inner_length(packet.data(), packet.size());
  if (length == 0) return 0;
  const bool ipv4 = packet[0] >> 4 == 4;
  return ipv4 ? answer_ipv4(error, packet.data(), length, mtu, out)
              : answer_ipv6(error, packet.data(), length, mtu, out);
}

}  // namespace warren
