// Cryptokey routing: chooses the trie of the family. See allowed_ips.h.

#include "tables/allowed_ips.h"

namespace warren {

uint32_t AllowedIps::insert(Family family, const uint8_t* address, uint8_t length, uint32_t value) {
  if (family == Family::ipv4) return ipv4_.insert(Key32::load(address), length, value);
  return ipv6_.insert(Key128::load(address), length, value);
}

bool AllowedIps::remove(Family family, const uint8_t* address, uint8_t length, uint32_t value) {
  if (family == Family::ipv4) return ipv4_.remove(Key32::load(address), length, value);
  return ipv6_.remove(Key128::load(address), length, value);
}

size_t AllowedIps::remove_all(uint32_t value) { return ipv4_.remove_all(value) + ipv6_.remove_all(value); }

}  // namespace warren
