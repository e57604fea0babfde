// Cryptokey routing (WireGuard paper §2): longest-prefix match from an IPv4 or IPv6 address to a dense number, the peer
// slot. A path-compressed trie with four bits per node, in index-addressed pools (see prefix_trie.h). Inserting a prefix
// takes it from whoever had it. Leaves out locking: changes and lookups exclude each other by the caller's means.

#pragma once

#include <cstddef>
#include <cstdint>

#include "tables/prefix_trie.h"

namespace warren {

enum class Family : uint8_t { ipv4 = 4, ipv6 = 6 };

class AllowedIps {
 public:
  /** No value: not found, or there was nothing before. */
  static constexpr uint32_t kNone = kNoValue;
  /** From `insert`: the table holds kPrefixesMax prefixes already and stays as it was. */
  static constexpr uint32_t kFull = kTrieFull;

  /**
   * `address`: 4 or 16 bytes, network order; bits behind `length` are ignored. `value`: dense from 0 (a table with one
   * entry per value up to the largest is kept), below kValuesMax. Returns the previous value, kNone or kFull.
   */
  uint32_t insert(Family family, const uint8_t* address, uint8_t length, uint32_t value);
  /** False, and nothing done, unless this very prefix has this value. */
  bool remove(Family family, const uint8_t* address, uint8_t length, uint32_t value);
  /** All prefixes of `value`, in time proportional to their number. Returns how many there were. */
  size_t remove_all(uint32_t value);

  uint32_t lookup4(const uint8_t* address) const noexcept { return ipv4_.lookup(Key32::load(address)); }
  uint32_t lookup6(const uint8_t* address) const noexcept { return ipv6_.lookup(Key128::load(address)); }

  size_t size() const noexcept { return ipv4_.size() + ipv6_.size(); }
  size_t memory_bytes() const noexcept { return ipv4_.memory_bytes() + ipv6_.memory_bytes(); }

  /** Calls visit(Family, const uint8_t* address, uint8_t length) for each prefix of `value`. */
  template <typename Visit>
  void for_each(uint32_t value, Visit&& visit) const {
    ipv4_.for_each(value, [&](const uint8_t* address, uint8_t length) { visit(Family::ipv4, address, length); });
    ipv6_.for_each(value, [&](const uint8_t* address, uint8_t length) { visit(Family::ipv6, address, length); });
  }

 private:
  PrefixTrie<Key32> ipv4_;
  PrefixTrie<Key128> ipv6_;
};

}  // namespace warren
