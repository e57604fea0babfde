// Finding and lowering the MSS option. See path_mtu.h; the reference plane's path-mtu.ts gives the same bytes.

#include "packet/path_mtu.h"

#include "packet/checksum.h"

namespace warren {
namespace {

constexpr uint32_t kFlagsAt = 13;
constexpr uint32_t kChecksumAt = 16;
constexpr uint8_t kOptionEnd = 0;
constexpr uint8_t kOptionNothing = 1;
constexpr uint8_t kOptionMss = 2;
constexpr uint32_t kOptionMssBytes = 4;

/** The TCP header of a SYN, or null. */
uint8_t* syn_of(uint8_t* packet, uint32_t length) noexcept {
  const bool ipv4 = packet[0] >> 4 == 4;
  const uint32_t at = ipv4 ? 4u * (packet[0] & 0x0f) : kIpv6Header;
  if (packet[ipv4 ? 9 : 6] != kProtocolTcp || length < at + kTcpHeaderMin) return nullptr;
  if (ipv4 && (load_be16(packet + 6) & 0x3fff) != 0) return nullptr;  // a fragment
  return (packet[at + kFlagsAt] & tcp_flag::kSyn) == 0 ? nullptr : packet + at;
}

/** Where the value of the MSS option is, from the TCP header's first byte; 0 when there is none. */
uint32_t mss_at(const uint8_t* tcp, uint32_t available) noexcept {
  const uint32_t end = tcp_header_length(tcp, available);
  for (uint32_t at = kTcpHeaderMin; at < end;) {
    if (tcp[at] == kOptionEnd) return 0;
    if (tcp[at] == kOptionNothing) {
      ++at;
      continue;
    }
    const uint32_t length = at + 1 < end ? tcp[at + 1] : 0;
    if (length < 2 || at + length > end) return 0;
    if (tcp[at] == kOptionMss) return length == kOptionMssBytes ? at + 2 : 0;
    at += length;
  }
  return 0;
}

/** Stores the value, and makes up for it in the checksum word by word: an option may stand at an odd place. */
void replace_mss(uint8_t* tcp, uint32_t at, uint16_t value) noexcept {
  const uint32_t first = at & ~1u;
  const uint32_t words = at % 2 == 0 ? 1 : 2;
  uint16_t before[2];
  for (uint32_t i = 0; i < words; ++i) before[i] = load<uint16_t>(tcp + first + 2 * i);
  store_be16(tcp + at, value);
  for (uint32_t i = 0; i < words; ++i) {
    const uint16_t after = load<uint16_t>(tcp + first + 2 * i);
    store(tcp + kChecksumAt, checksum_replace(load<uint16_t>(tcp + kChecksumAt), before[i], after));
  }
}

}  // namespace

void clamp_mss(uint8_t* packet, uint32_t length, uint32_t path_mtu) noexcept {
  uint8_t* const tcp = syn_of(packet, length);
  if (tcp == nullptr) return;
  const uint32_t at = mss_at(tcp, length - static_cast<uint32_t>(tcp - packet));
  const uint32_t headers = packet[0] >> 4 == 4 ? kIpv4HeaderMin + kTcpHeaderMin : kIpv6Header + kTcpHeaderMin;
  const uint32_t most = packet_bytes_max(packet, path_mtu) - headers;
  if (at == 0 || load_be16(tcp + at) <= most) return;
  replace_mss(tcp, at, static_cast<uint16_t>(most));
}

}  // namespace warren
