// The header in front of every packet of a TUN opened with IFF_VNET_HDR (virtio 1.3 §5.1.6, legacy 10-byte layout,
// native byte order). Written out here because Debian 12's headers lack VIRTIO_NET_HDR_GSO_UDP_L4 and TUN_F_USO4/6.

#pragma once

#include <cstdint>

namespace warren {

struct VirtioNetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  /** Ethernet/IP/TCP headers together; a hint, not to be relied on when received. */
  uint16_t header_length = 0;
  /** Payload bytes per segment. */
  uint16_t gso_size = 0;
  /** Where checksumming starts, and where behind that start the result goes. */
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};
static_assert(sizeof(VirtioNetHeader) == 10);

inline constexpr uint8_t kVirtioNeedsChecksum = 1;
inline constexpr uint8_t kVirtioDataValid = 2;

inline constexpr uint8_t kVirtioGsoNone = 0;
inline constexpr uint8_t kVirtioGsoTcpv4 = 1;
inline constexpr uint8_t kVirtioGsoUdp = 3;
inline constexpr uint8_t kVirtioGsoTcpv6 = 4;
inline constexpr uint8_t kVirtioGsoUdpL4 = 5;
inline constexpr uint8_t kVirtioGsoEcn = 0x80;

/** TUNSETOFFLOAD bits (linux/if_tun.h), the two newest included. */
inline constexpr unsigned kTunOffloadChecksum = 0x01;
inline constexpr unsigned kTunOffloadTso4 = 0x02;
inline constexpr unsigned kTunOffloadTso6 = 0x04;
inline constexpr unsigned kTunOffloadTsoEcn = 0x08;
inline constexpr unsigned kTunOffloadUso4 = 0x20;
inline constexpr unsigned kTunOffloadUso6 = 0x40;

}  // namespace warren
