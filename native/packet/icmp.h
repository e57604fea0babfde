// ICMP errors in answer to a packet of the local host: unreachable and too big (RFC 792, RFC 1191, RFC 4443), with the
// restraint of RFC 1122 §3.2.2 and RFC 4443 §2.4 (e): none about ICMP errors, later fragments, or packets to or from
// groups. Leaves out rate limiting, which is the caller's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace warren {

enum class IcmpError : uint8_t {
  /** ICMPv4 host unreachable; ICMPv6 no route to destination. */
  no_route,
  /** ICMPv4 host unreachable; ICMPv6 address unreachable. */
  address_unreachable,
  /** Communication administratively prohibited, both families. */
  prohibited,
  /** ICMPv4 fragmentation needed (only when the packet says "don't fragment"); ICMPv6 packet too big. Takes `mtu`. */
  too_big,
};

/** Enough for any answer: an IPv6 minimum-MTU packet. */
inline constexpr size_t kIcmpAnswerMax = 1280;

/**
 * Writes a whole IP packet to `out` (kIcmpAnswerMax bytes) and returns its length, or 0 when the packet must not be
 * answered or is malformed. The answer goes from the packet's destination to its source: the host asks nobody else, and
 * its reverse-path filter agrees.
 */
size_t icmp_answer(IcmpError error, std::span<const uint8_t> packet, uint32_t mtu, uint8_t* out) noexcept;

}  // namespace warren
