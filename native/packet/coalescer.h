// Merges TCP and UDP segments of one receive batch into super-packets for a TUN with IFF_VNET_HDR, so that the host's
// stack sees one packet instead of forty-five. Order within a flow is kept; what cannot be merged passes alone as it is.
// Rules: docs/dataplane.md and the comment above `Coalescer::add` in coalescer.cc. Leaves out merging across batches,
// segments that arrive out of order, IPv4 options, IPv6 extension headers and fragments.

#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "packet/virtio.h"

namespace warren {

/** What the TUN can take. Without `vnet_header` nothing is merged and no header is written in front. */
struct CoalesceOffloads {
  bool vnet_header = true;
  bool tcp = true;
  bool udp = false;
};

class Coalescer {
 public:
  /** Most packets between two flushes: 32 receives of up to 128 datagrams each. */
  static constexpr uint32_t kPacketsMax = 4096;
  /** Most packets in one super-packet, hence at most this and one more iovecs in one write. */
  static constexpr uint32_t kMergeMax = 128;
  /** Kernels older than 6.11 take no more than 64 datagrams in one UDP super-packet. */
  static constexpr uint32_t kMergeUdpMax = 64;

  /** One write to the TUN: the virtio header (if any), then the packet in one or more pieces. */
  struct Write {
    std::span<const iovec> pieces;
    /** Packets inside, before merging. */
    uint32_t packets;
    /** Bytes of all pieces, the virtio header included. */
    uint32_t bytes;
  };

  explicit Coalescer(CoalesceOffloads offloads);

  /**
   * Takes an IP packet of exactly `length` bytes (as `inner_length` says), in order of arrival. The bytes are borrowed
   * until `flush`, which may change the headers. False when kPacketsMax are in: flush, then add again.
   */
  bool add(uint8_t* packet, uint32_t length) noexcept;

  /** Calls sink(const Write&) for each write in order, then is empty. The spans are valid during the call. */
  template <typename Sink>
  void flush(Sink&& sink) {
    for (uint32_t i = 0; i < item_count_; ++i) sink(gather(items_[i]));
    clear();
  }

  uint32_t pending() const noexcept { return packet_count_; }

 private:
  static constexpr uint32_t kNil = 0xffff'ffff;
  static constexpr uint32_t kFlowSlots = 2 * kPacketsMax;
  /** A flow that finds no slot within so many is not merged at all; bounds what colliding flows can cost. */
  static constexpr uint32_t kProbesMax = 8;

  struct Packet {
    uint8_t* data;
    uint32_t length;
    uint32_t next;
  };
  /** One write to be: a packet alone, or an aggregate. */
  struct Item {
    uint32_t first;
    uint32_t last;
    uint32_t packets;
    /** Of the merged packet, headers included. */
    uint32_t total_length;
    /** IP and transport. */
    uint32_t header_length;
    uint32_t next_sequence;
    uint16_t payload_step;
    uint8_t ip_header;
    uint8_t protocol;
    /** May still grow. */
    bool open;
    /** The checksum of the first packet was found right. */
    bool verified;
    bool push;
  };
  struct FlowSlot {
    uint32_t item = kNil;
    uint32_t epoch = 0;
  };
  /** What `add` reads off one packet. */
  struct Shape {
    uint32_t header_length;
    uint32_t payload_length;
    uint32_t sequence;
    uint8_t ip_header;
    uint8_t protocol;
    /** May be part of an aggregate. */
    bool mergeable;
    bool push;
  };
  enum class Flow : uint8_t { unknown, foreign, known };

  static Flow read_shape(const uint8_t* packet, uint32_t length, Shape& shape) noexcept;
  FlowSlot* find_flow(const uint8_t* packet, const Shape& shape) noexcept;
  bool fits(const Item& item, const uint8_t* packet, const Shape& shape) const noexcept;
  bool try_merge(Item& item, uint32_t index, const Shape& shape) noexcept;
  Item& append_item(uint32_t index) noexcept;
  Write gather(const Item& item) noexcept;
  void finish_headers(const Item& item) noexcept;
  void close_all() noexcept;
  void clear() noexcept;

  CoalesceOffloads offloads_;
  std::vector<Packet> packets_;
  std::vector<Item> items_;
  std::vector<FlowSlot> flows_;
  uint32_t packet_count_ = 0;
  uint32_t item_count_ = 0;
  uint32_t epoch_ = 1;
  VirtioNetHeader header_;
  iovec pieces_[kMergeMax + 1];
};

}  // namespace warren
