// Sliding replay window of 8,192 bits in the manner of RFC 6479: a ring of 64-bit words, of which the newest is being
// filled, so 8,128 counters behind the greatest are told apart. Call only after the packet was authenticated.
// Leaves out the upper limit of counters (REJECT_AFTER_MESSAGES): the caller compares that before opening.

#pragma once

#include <cstdint>

namespace warren {

class ReplayWindow {
 public:
  static constexpr uint64_t kBits = 8192;
  static constexpr uint64_t kWordBits = 64;
  static constexpr uint64_t kWords = kBits / kWordBits;
  /** A counter is accepted while greatest − counter ≤ kUsable and it was not seen. */
  static constexpr uint64_t kUsable = kBits - kWordBits;

  /** True exactly once for each counter within the window. */
  bool accept(uint64_t counter) noexcept {
    if (counter < greatest_ && greatest_ - counter > kUsable) return false;
    if (counter > greatest_) slide(counter);
    uint64_t& word = words_[(counter / kWordBits) % kWords];
    const uint64_t bit = uint64_t{1} << (counter % kWordBits);
    if (word & bit) return false;
    word |= bit;
    return true;
  }

  void reset() noexcept { *this = ReplayWindow{}; }

 private:
  void slide(uint64_t counter) noexcept {
    const uint64_t from = greatest_ / kWordBits;
    uint64_t steps = counter / kWordBits - from;
    if (steps > kWords) steps = kWords;
    for (uint64_t i = 1; i <= steps; ++i) words_[(from + i) % kWords] = 0;
    greatest_ = counter;
  }

  uint64_t greatest_ = 0;
  uint64_t words_[kWords] = {};
};

}  // namespace warren
