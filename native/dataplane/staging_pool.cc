// See staging_pool.h. A packet is a chain of 2 KiB blocks, a queue a chain of packets; both by number, in chunks.
// What is forgotten is overwritten: it was somebody's plaintext.

#include "dataplane/staging_pool.h"

#include <algorithm>
#include <cstring>

namespace warren {

bool StagingPool::reserve(uint32_t blocks) noexcept {
  while (free_count_ < blocks) {
    const auto first = static_cast<uint32_t>(chunks_.size()) * kChunkBlocks;
    if (first + kChunkBlocks > kStagingBlocksMax) return false;
    chunks_.push_back(std::make_unique_for_overwrite<Block[]>(kChunkBlocks));
    for (uint32_t i = kChunkBlocks; i-- > 0;) {
      at(first + i).next_block = free_;
      free_ = first + i;
    }
    free_count_ += kChunkBlocks;
  }
  return true;
}

bool StagingPool::push(StagedQueue& queue, std::span<const uint8_t> packet) noexcept {
  const auto length = static_cast<uint32_t>(packet.size());
  const uint32_t blocks = std::max(1u, (length + kDataBytes - 1) / kDataBytes);
  const std::lock_guard lock(mutex_);
  if (!reserve(blocks)) return false;
  uint32_t first = kNone;
  uint32_t* link = &first;
  for (uint32_t done = 0, i = 0; i < blocks; ++i) {
    const uint32_t id = free_;
    Block& block = at(id);
    free_ = block.next_block;
    const uint32_t part = std::min(kDataBytes, length - done);
    std::memcpy(block.data, packet.data() + done, part);
    done += part;
    block.next_packet = kNone;
    block.next_block = kNone;
    block.length = length;
    *link = id;
    link = &block.next_block;
  }
  free_count_ -= blocks;
  used_ += blocks;
  if (queue.count == 0) {
    queue.head = first;
  } else {
    at(queue.tail).next_packet = first;
  }
  queue.tail = first;
  ++queue.count;
  return true;
}

uint32_t StagingPool::front_length(const StagedQueue& queue) noexcept {
  const std::lock_guard lock(mutex_);
  return at(queue.head).length;
}

void StagingPool::pop(StagedQueue& queue, uint8_t* out) noexcept {
  {
    const std::lock_guard lock(mutex_);
    uint32_t left = at(queue.head).length;
    for (uint32_t id = queue.head; id != kNone; id = at(id).next_block) {
      const uint32_t part = std::min(kDataBytes, left);
      std::memcpy(out, at(id).data, part);
      out += part;
      left -= part;
    }
  }
  drop(queue);
}

void StagingPool::drop(StagedQueue& queue) noexcept {
  const std::lock_guard lock(mutex_);
  const uint32_t first = queue.head;
  queue.head = at(first).next_packet;
  if (--queue.count == 0) queue = StagedQueue{};
  release(first);
}

void StagingPool::release(uint32_t first) noexcept {
  for (uint32_t id = first; id != kNone;) {
    Block& block = at(id);
    const uint32_t next = block.next_block;
    // What waited here was somebody's plaintext.
    std::memset(block.data, 0, std::min(kDataBytes, block.length));
    block.next_block = free_;
    free_ = id;
    ++free_count_;
    --used_;
    id = next;
  }
  if (used_ != 0) return;
  chunks_.clear();
  chunks_.shrink_to_fit();
  free_ = kNone;
  free_count_ = 0;
}

uint32_t StagingPool::blocks_used() noexcept {
  const std::lock_guard lock(mutex_);
  return used_;
}

}  // namespace warren
