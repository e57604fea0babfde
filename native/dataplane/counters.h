// Drop reasons and totals: names and order of DROP_REASONS and TOTALS in src/dataplane/dataplane.ts. Each thread writes a
// block of its own, so counting is a plain addition; readers sum the blocks. Leaves out per-peer counters (peer records).

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace warren {

enum class Drop : uint32_t {
  outMalformed,
  outNoPeer,
  outNoEndpoint,
  outStagedOverflow,
  outStagedFlushed,
  outCounterExhausted,
  outSocketError,
  outSocketFull,
  outFiltered,
  outTooBig,
  outRelayUnknown,
  inUnknownType,
  inBadLength,
  inUnknownIndex,
  inBadMac1,
  inRateLimited,
  inControlFull,
  inExpired,
  inCounterExhausted,
  inBadTag,
  inReplayed,
  inInnerMalformed,
  inWrongSource,
  inFrameUnknown,
  inFiltered,
  tunWriteFailed,
  inRelayUnknown,
  relayBadInner,
  relayNoSlot,
  relayLimited,
  count,
};

enum class Total : uint32_t {
  tunReads,
  tunPacketsIn,
  tunWrites,
  tunPacketsOut,
  udpReceiveCalls,
  udpDatagramsIn,
  udpSendCalls,
  udpDatagramsOut,
  controlDelivered,
  eventsDelivered,
  wakeUps,
  relayPackets,
  relayBytes,
  count,
};

inline constexpr size_t kDrops = static_cast<size_t>(Drop::count);
inline constexpr size_t kTotals = static_cast<size_t>(Total::count);

/** Written by one thread, read by any. */
class alignas(64) CounterBlock {
 public:
  void add(Drop which, uint64_t n = 1) noexcept { bump(drops_[static_cast<size_t>(which)], n); }
  void add(Total which, uint64_t n = 1) noexcept { bump(totals_[static_cast<size_t>(which)], n); }
  uint64_t get(Drop which) const noexcept { return drops_[static_cast<size_t>(which)].load(std::memory_order_relaxed); }
  uint64_t get(Total which) const noexcept { return totals_[static_cast<size_t>(which)].load(std::memory_order_relaxed); }

 private:
  static void bump(std::atomic<uint64_t>& counter, uint64_t n) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::array<std::atomic<uint64_t>, kDrops> drops_{};
  std::array<std::atomic<uint64_t>, kTotals> totals_{};
};

}  // namespace warren
