// Token bucket per source address (IPv4 address, IPv6 /64), for control datagrams before they reach JavaScript
// (docs/dataplane.md, "Network to tunnel" 2). A fixed, set-associative table with a seeded hash: the least recently used
// bucket of a set makes room. Leaves out the protocol's own limit under load (paper §5.3), which is TypeScript's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace warren {

class SourceLimiter {
 public:
  static constexpr double kPerSecond = 512;
  static constexpr double kBurst = 512;
  static constexpr size_t kEntries = 4096;

  /** `seed0`, `seed1`: random. `per_second` and `burst` are the rule of every bucket. */
  SourceLimiter(uint64_t seed0, uint64_t seed1, double per_second = kPerSecond, double burst = kBurst);

  /** Takes one token of the source's bucket; false when there is none. `now_ms` is monotonic. */
  bool allow4(const uint8_t address[4], double now_ms) noexcept;
  /** The first 64 bits of the address are the source. */
  bool allow6(const uint8_t address[16], double now_ms) noexcept;

 private:
  struct Bucket {
    uint64_t source = 0;
    double tokens = 0;
    double refilled_at = 0;
    /** Count of calls at the last use; 0 = free. */
    uint64_t used = 0;
    uint32_t family = 0;
  };
  static constexpr size_t kWays = 8;
  static constexpr size_t kSets = kEntries / kWays;

  bool take(uint64_t source, uint32_t family, double now_ms) noexcept;

  std::vector<Bucket> buckets_;
  uint64_t seed0_;
  uint64_t seed1_;
  /** In thousandths of a token, so that whole milliseconds add up exactly. */
  double gain_per_ms_;
  double full_;
  uint64_t clock_ = 0;
};

}  // namespace warren
