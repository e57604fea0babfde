// Addresses as trie keys: IPv4 in one 32-bit word, IPv6 in two 64-bit words, host order, so that comparing prefixes is
// an exclusive or and a count of leading zeros. For prefix_trie.h.

#pragma once

#include <bit>
#include <cstdint>

#include "packet/headers.h"

namespace warren {

struct Key32 {
  static constexpr uint32_t kBits = 32;
  static constexpr uint32_t kBytes = 4;

  uint32_t bits;

  static Key32 load(const uint8_t* address) noexcept { return {load_be32(address)}; }
  void store_to(uint8_t* address) const noexcept { store_be32(address, bits); }

  /** How many leading bits are the same. */
  uint32_t common(Key32 other) const noexcept { return static_cast<uint32_t>(std::countl_zero(bits ^ other.bits)); }
  bool shares(Key32 other, uint32_t length) const noexcept {
    return (static_cast<uint64_t>(bits ^ other.bits) >> (kBits - length)) == 0;
  }
  /** The four bits from `depth` on; 0 at the end of the key. */
  uint32_t nibble(uint32_t depth) const noexcept {
    return static_cast<uint32_t>((static_cast<uint64_t>(bits) << depth) >> 28) & 15;
  }
  Key32 masked(uint32_t length) const noexcept {
    return {length == 0 ? 0 : bits & (~uint32_t{0} << (kBits - length))};
  }
};

struct Key128 {
  static constexpr uint32_t kBits = 128;
  static constexpr uint32_t kBytes = 16;

  uint64_t high;
  uint64_t low;

  static Key128 load(const uint8_t* address) noexcept { return {load_be64(address), load_be64(address + 8)}; }
  void store_to(uint8_t* address) const noexcept {
    store(address, to_big(high));
    store(address + 8, to_big(low));
  }

  uint32_t common(const Key128& other) const noexcept {
    const uint64_t difference = high ^ other.high;
    if (difference != 0) return static_cast<uint32_t>(std::countl_zero(difference));
    return 64 + static_cast<uint32_t>(std::countl_zero(low ^ other.low));
  }
  bool shares(const Key128& other, uint32_t length) const noexcept { return common(other) >= length; }
  uint32_t nibble(uint32_t depth) const noexcept {
    if (depth < 64) return static_cast<uint32_t>(high >> (60 - depth)) & 15;
    return depth < 128 ? static_cast<uint32_t>(low >> (124 - depth)) & 15 : 0;
  }
  Key128 masked(uint32_t length) const noexcept {
    if (length == 0) return {0, 0};
    if (length <= 64) return {high & (~uint64_t{0} << (64 - length)), 0};
    return {high, low & (~uint64_t{0} << (128 - length))};
  }
};

}  // namespace warren
