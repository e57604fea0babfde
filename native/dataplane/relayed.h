// Relayed endpoints and the header of relayed datagrams (src/base/relayed.ts, docs/paths.md): [100::slot]:number. Leaves out
// where the relays are (plane.h).

#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/limits.h"
#include "os/udp_socket.h"
#include "packet/message.h"

namespace warren {

/** The relay's number, 1 … kRelaysMax; 0 for any other endpoint. */
inline uint32_t relay_of(const SocketAddress& endpoint) noexcept {
  constexpr uint8_t kPrefix[8] = {0x01};
  if (endpoint.family() != AF_INET6 || endpoint.v6.sin6_addr.s6_addr[0] != kPrefix[0]) return 0;
  const uint8_t* const bytes = endpoint.v6.sin6_addr.s6_addr;
  const uint32_t number = endpoint.port();
  const bool relayed = std::memcmp(bytes, kPrefix, sizeof kPrefix) == 0 && load<uint64_t>(bytes + 8) != 0 &&
                       endpoint.scope_id() == 0 && number <= kRelaysMax;
  return relayed ? number : 0;
}

/** kRelaySlotBytes of a relayed endpoint. */
inline const uint8_t* relay_slot_of(const SocketAddress& endpoint) noexcept {
  return endpoint.v6.sin6_addr.s6_addr + 8;
}

/** `slot`: kRelaySlotBytes, not all zero. */
inline SocketAddress relayed_endpoint(uint32_t relay, const uint8_t* slot) noexcept {
  uint8_t address[16] = {0x01};
  std::memcpy(address + 8, slot, kRelaySlotBytes);
  return SocketAddress::from_ipv6(address, static_cast<uint16_t>(relay), 0);
}

/** Writes kRelayHeader bytes. */
inline void put_relay_header(uint8_t* at, const uint8_t* slot) noexcept {
  store_le32(at, kRelayMessageType);
  std::memcpy(at + kRelaySlotAt, slot, kRelaySlotBytes);
}

inline bool has_relay_type(const uint8_t* datagram, uint32_t length) noexcept {
  return length >= 4 && load_le32(datagram) == kRelayMessageType;
}

}  // namespace warren
