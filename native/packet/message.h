// What a datagram is, from its first bytes and its length (WireGuard paper §5.4; docs/dataplane.md, "Network to tunnel"
// 1). The first four bytes are one little-endian word, so set reserved bytes mean "not WireGuard".

#pragma once

#include <cstddef>
#include <cstdint>

#include "packet/headers.h"

namespace warren {

enum class MessageKind : uint8_t { initiation, response, cookie, data, stun, bad_length, unknown };

inline constexpr size_t kInitiationLength = 148;
inline constexpr size_t kResponseLength = 92;
inline constexpr size_t kCookieLength = 64;
/** Type, receiver index and counter in front of the ciphertext of a data message. */
inline constexpr size_t kDataHeader = 16;
inline constexpr size_t kDataLengthMin = 32;
/** In front of a relayed datagram: type 0x20, three zero bytes, slot (docs/paths.md). */
inline constexpr uint32_t kRelayMessageType = 0x20;
inline constexpr uint32_t kRelaySlotBytes = 8;
inline constexpr uint32_t kRelaySlotAt = 4;
inline constexpr uint32_t kRelayHeader = kRelaySlotAt + kRelaySlotBytes;

inline MessageKind classify(const uint8_t* datagram, size_t length) noexcept {
  if (length < 4) return MessageKind::unknown;
  switch (load_le32(datagram)) {
    case 4: return length >= kDataLengthMin ? MessageKind::data : MessageKind::bad_length;
    case 1: return length == kInitiationLength ? MessageKind::initiation : MessageKind::bad_length;
    case 2: return length == kResponseLength ? MessageKind::response : MessageKind::bad_length;
    case 3: return length == kCookieLength ? MessageKind::cookie : MessageKind::bad_length;
    default: break;
  }
  const bool stun = length >= 20 && (datagram[0] & 0xc0) == 0 && load_be32(datagram + 4) == 0x2112'a442;
  return stun ? MessageKind::stun : MessageKind::unknown;
}

}  // namespace warren
