// Cuts what a TUN with IFF_VNET_HDR gives into IP packets as they go to the peer: TCP (TSO) and UDP (USO) super-packets
// into segments, and plain packets with an unfinished checksum into finished ones. Complete checksums always: the far
// side delivers them to its host as they are. Leaves out UFO (never asked for) and IPv6 routing headers in super-packets.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packet/headers.h"
#include "packet/virtio.h"

namespace warren {

class Segmenter {
 public:
  /**
   * Looks at one read: `packet` is borrowed until the last `write`, and unchanged. Returns how many packets come out;
   * 0 = malformed (not IPv4 or IPv6, shorter than its header says, or a header that contradicts the packet).
   */
  uint32_t prepare(const VirtioNetHeader& header, std::span<const uint8_t> packet) noexcept;
  /** A packet of a TUN without IFF_VNET_HDR, or one that is complete. */
  uint32_t prepare(std::span<const uint8_t> packet) noexcept { return prepare(VirtioNetHeader{}, packet); }

  /** IP packet length of segment `i`; all but the last are equal. */
  uint32_t segment_length(uint32_t i) const noexcept {
    if (i + 1 < count_) return header_length_ + payload_step_;
    return header_length_ + payload_length_ - i * payload_step_;
  }

  /** Writes segment_length(i) bytes to `out`. Any order, any number of times. */
  void write(uint32_t i, uint8_t* out) const noexcept;

  uint32_t count() const noexcept { return count_; }

 private:
  enum class Kind : uint8_t { plain, checksum, tcp, udp };

  uint32_t prepare_checksum(const VirtioNetHeader& header) noexcept;
  uint32_t prepare_super(const VirtioNetHeader& header) noexcept;
  void write_checksum(uint8_t* out) const noexcept;
  void write_super(uint32_t i, uint8_t* out) const noexcept;

  const uint8_t* packet_ = nullptr;
  uint32_t count_ = 0;
  uint32_t total_length_ = 0;
  /** IP and transport headers, copied in front of every segment; 0 for plain packets. */
  uint32_t header_length_ = 0;
  uint32_t payload_length_ = 0;
  uint32_t payload_step_ = 0;
  uint32_t transport_ = 0;
  uint32_t checksum_at_ = 0;
  /** Sum of pseudo header addresses and of the transport header without what changes from segment to segment. */
  uint64_t base_sum_ = 0;
  Kind kind_ = Kind::plain;
};

}  // namespace warren
