// The peers' shared records (RecordField in src/dataplane/dataplane.ts): 16 aligned float64 each, written by the threads of
// the plane under the peer's lock, read by JavaScript at any time without a call. Chunks are added and never move; they
// live as long as anybody holds them. Leaves out what the fields mean.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/limits.h"

namespace warren {

enum class RecordField : uint32_t {
  rx_bytes,
  tx_bytes,
  rx_packets,
  tx_packets,
  last_authenticated_receive,
  last_authenticated_send,
  last_data_receive,
  last_data_send,
  answer_owed_since,
  answer_awaited_since,
  last_staged,
  staged,
  send_counter,
  relay_rx_bytes,
  relay_tx_bytes,
  relay_rx_packets,
};
inline constexpr uint32_t kRecordFields = 16;
inline constexpr size_t kRecordChunkBytes = size_t{kChunkPeers} * kRecordFields * sizeof(double);

/** One peer's record. Stores are relaxed: readers want each value whole, not all of one moment. */
class Record {
 public:
  explicit Record(double* base) noexcept : base_(base) {}
  double get(RecordField field) const noexcept { return ref(field).load(std::memory_order_relaxed); }
  void set(RecordField field, double value) noexcept { ref(field).store(value, std::memory_order_relaxed); }
  void add(RecordField field, double value) noexcept { set(field, get(field) + value); }
  void clear() noexcept {
    for (uint32_t i = 0; i < kRecordFields; ++i) set(static_cast<RecordField>(i), 0);
  }

 private:
  std::atomic_ref<double> ref(RecordField field) const noexcept {
    return std::atomic_ref<double>(base_[static_cast<uint32_t>(field)]);
  }
  double* base_;
};
static_assert(std::atomic_ref<double>::is_always_lock_free);

class RecordTable {
 public:
  using Chunk = std::array<double, size_t{kChunkPeers} * kRecordFields>;

  /** Makes the chunk of `slot` if it is not there. Not beside other calls. */
  void ensure(uint32_t slot) {
    auto& chunk = chunks_[slot / kChunkPeers];
    if (!chunk) chunk = std::make_shared<Chunk>();
  }
  Record record(uint32_t slot) const noexcept {
    return Record(chunks_[slot / kChunkPeers]->data() + size_t{slot % kChunkPeers} * kRecordFields);
  }
  /** For whoever lends the memory to JavaScript: it must stay while a view does. */
  std::shared_ptr<Chunk> chunk(uint32_t index) const noexcept { return chunks_[index]; }

 private:
  std::array<std::shared_ptr<Chunk>, kChunksMax> chunks_;
};

}  // namespace warren
