// What a path MTU does to packets (docs/dataplane.md, "Path MTU"; RFC 1191, RFC 4459 §3.2): which are too large to go, and
// the MSS option of TCP SYNs (RFC 9293 §3.7.1). Leaves out IPv6 extension headers: a SYN behind one keeps its MSS.

#pragma once

#include <cstdint>

#include "packet/headers.h"

namespace warren {

/** What every link carries whole (RFC 791 §3.2, RFC 8200 §5); PATH_MTU_MIN_V4 and _V6 in dataplane.ts. */
inline constexpr uint32_t kPathMtuMinV4 = 576;
inline constexpr uint32_t kPathMtuMinV6 = 1280;

/** Bytes of an IP packet of this one's family; `path_mtu` is not 0. */
inline uint32_t packet_bytes_max(const uint8_t* packet, uint32_t path_mtu) noexcept {
  const uint32_t least = packet[0] >> 4 == 4 ? kPathMtuMinV4 : kPathMtuMinV6;
  return path_mtu < least ? least : path_mtu;
}

/** Whether a packet with this header, cut to `length` bytes, may not go: it is larger and must not be fragmented. `path_mtu` is not 0. */
inline bool is_too_big(const uint8_t* packet, uint32_t length, uint32_t path_mtu) noexcept {
  if (length <= packet_bytes_max(packet, path_mtu)) return false;
  return packet[0] >> 4 == 6 || (packet[6] & 0x40) != 0;
}

/**
 * Lowers the MSS of a TCP SYN so that its segments fit the path; the checksum, which is complete, stays as right as it was. `packet` passed
 * `inner_length`, which gave `length`; `path_mtu` is not 0.
 */
void clamp_mss(uint8_t* packet, uint32_t length, uint32_t path_mtu) noexcept;

}  // namespace warren
