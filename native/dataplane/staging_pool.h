// Packets that wait for a keypair which may send (docs/dataplane.md, "Tunnel to network" 4): queues of the peers, in
// blocks of one bounded pool for the whole device. An empty queue holds nothing, and an empty pool gives its memory back.
// The pool locks itself; a queue is guarded by its peer's lock. Leaves out the per-peer bound, which the caller keeps.

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "dataplane/limits.h"

namespace warren {

struct StagedQueue {
  uint32_t head = kNoPeer;
  uint32_t tail = kNoPeer;
  uint32_t count = 0;
};

class StagingPool {
 public:
  /** Copies the packet to the end of the queue; false when the pool has no room. */
  bool push(StagedQueue& queue, std::span<const uint8_t> packet) noexcept;
  /** Length of the oldest packet; the queue is not empty. */
  uint32_t front_length(const StagedQueue& queue) noexcept;
  /** Copies the oldest packet out and forgets it. */
  void pop(StagedQueue& queue, uint8_t* out) noexcept;
  /** Forgets the oldest packet. */
  void drop(StagedQueue& queue) noexcept;

  uint32_t blocks_used() noexcept;

 private:
  static constexpr uint32_t kNone = kNoPeer;
  static constexpr uint32_t kDataBytes = 2048 - 12;
  struct Block {
    uint32_t next_packet;
    uint32_t next_block;
    /** Of the whole packet, in its first block. */
    uint32_t length;
    uint8_t data[kDataBytes];
  };
  static_assert(sizeof(Block) == 2048);
  static constexpr uint32_t kChunkBlocks = 32;

  Block& at(uint32_t block) noexcept { return chunks_[block / kChunkBlocks][block % kChunkBlocks]; }
  bool reserve(uint32_t blocks) noexcept;
  void release(uint32_t first) noexcept;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Block[]>> chunks_;
  uint32_t free_ = kNone;
  uint32_t free_count_ = 0;
  uint32_t used_ = 0;
};

}  // namespace warren
