// The internet checksum (RFC 1071): 64-bit sums of native-order words, folded at the end. The sum of a region is right
// for a region that begins at an even offset of what is summed. A faster AVX2 form is chosen at run time.
// Leaves out subtraction-based updates (RFC 1624) beyond what `checksum_replace` does.

#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

/** Ones' complement sum of `length` bytes added to `sum`; an odd last byte counts as if a zero followed. */
uint64_t checksum_add(uint64_t sum, const uint8_t* data, size_t length) noexcept;

/** The form that every CPU runs, for the tests and for short regions. */
uint64_t checksum_add_portable(uint64_t sum, const uint8_t* data, size_t length) noexcept;

/** Copies and sums in one pass. Regions do not overlap. */
uint64_t checksum_copy(uint64_t sum, uint8_t* to, const uint8_t* from, size_t length) noexcept;

/** Adds one sum to another with the end-around carry. */
inline uint64_t checksum_combine(uint64_t a, uint64_t b) noexcept {
  const uint64_t sum = a + b;
  return sum + (sum < b ? 1 : 0);
}

/** 16 bits, not complemented, in native order: store it with memcpy. */
inline uint16_t checksum_fold(uint64_t sum) noexcept {
  sum = (sum & 0xffff'ffff) + (sum >> 32);
  sum = (sum & 0xffff'ffff) + (sum >> 32);
  uint32_t half = static_cast<uint32_t>(sum);
  half = (half & 0xffff) + (half >> 16);
  half = (half & 0xffff) + (half >> 16);
  return static_cast<uint16_t>(half);
}

/** What goes into a checksum field: the complement, native order. */
inline uint16_t checksum_finish(uint64_t sum) noexcept { return static_cast<uint16_t>(~checksum_fold(sum)); }

/**
 * Sum of the pseudo header (RFC 768, RFC 9293 §3.1, RFC 8200 §8.1) of an IP packet: its addresses, `protocol`, and
 * `length` of transport header and payload.
 */
uint64_t checksum_pseudo(const uint8_t* ip_packet, uint8_t protocol, uint32_t length) noexcept;

/** Computes and stores the IPv4 header checksum. */
void checksum_ipv4_header(uint8_t* packet, uint32_t header_length) noexcept;

/** RFC 1624: the field `at` after a 16-bit word changed; all three in native order as loaded with memcpy. */
inline uint16_t checksum_replace(uint16_t field, uint16_t before, uint16_t after) noexcept {
  const uint32_t sum = static_cast<uint16_t>(~field) + static_cast<uint32_t>(static_cast<uint16_t>(~before)) + after;
  return checksum_finish(sum);
}

}  // namespace warren
