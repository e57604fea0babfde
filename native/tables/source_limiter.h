// Token bucket per source (IPv4 address, IPv6 /64, slot at a relay), for control datagrams before they reach JavaScript
// (docs/dataplane.md, "Network to tunnel" 2). A fixed, set-associative table with a seeded hash: the least recently used
// bucket of a set makes room. Leaves out the protocol's own limit under load (paper §5.3), which is TypeScript's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace warren {

class SourceLimiter {
 public:
  /** Datagrams per second and at once. */
  struct Rate {
    double per_second;
    double burst;
  };
  static constexpr Rate kCalm = {512, 512};
  /** While JavaScript is behind: what the protocol itself gives a source under load (paper §5.3). */
  static constexpr Rate kLoaded = {20, 5};
  /** All slots of one relay together: in times of one source's rate. */
  static constexpr double kRelayFactor = 8;
  static constexpr size_t kEntries = 4096;

  /** `seed0`, `seed1`: random. */
  SourceLimiter(uint64_t seed0, uint64_t seed1);

  /** Takes one token of the source's bucket; false when there is none. `now_ms` is monotonic. */
  bool allow4(const uint8_t address[4], double now_ms, const Rate& rate = kCalm) noexcept;
  /** The first 64 bits of the address are the source. */
  bool allow6(const uint8_t address[16], double now_ms, const Rate& rate = kCalm) noexcept;
  /** A token of the slot's bucket, and then one of its relay's, which could name slots at will. */
  bool allow_relayed(uint32_t relay, const uint8_t slot[8], double now_ms, const Rate& rate = kCalm) noexcept;

 private:
  struct Bucket {
    uint64_t source = 0;
    /** In thousandths, so that whole milliseconds add up exactly. */
    double tokens = 0;
    double refilled_at = 0;
    /** Count of calls at the last use; 0 = free. */
    uint64_t used = 0;
    /** 4, 6, kRelay, or kSlot + the relay's number: what `source` is. */
    uint32_t family = 0;
  };
  static constexpr uint32_t kRelay = 0x100;
  static constexpr uint32_t kSlot = 0x200;
  static constexpr size_t kWays = 8;
  static constexpr size_t kSets = kEntries / kWays;

  bool take(uint64_t source, uint32_t family, double now_ms, const Rate& rate) noexcept;

  std::vector<Bucket> buckets_;
  uint64_t seed0_;
  uint64_t seed1_;
  uint64_t clock_ = 0;
};

}  // namespace warren
