// The small tables against exact oracles: replay window, index table, source limiter.

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "check.h"
#include "tables/index_table.h"
#include "tables/replay_window.h"
#include "tables/source_limiter.h"

using namespace warren;
using namespace warren::test;

namespace {

/** By the rule, without a ring: every counter that was accepted, kept for ever. */
class ReplayOracle {
 public:
  bool accept(uint64_t counter) {
    if (!seen_.empty() && counter < *seen_.rbegin() && *seen_.rbegin() - counter > 8128) return false;
    return seen_.insert(counter).second;
  }
  uint64_t greatest() const { return seen_.empty() ? 0 : *seen_.rbegin(); }

 private:
  std::set<uint64_t> seen_;
};

void compare_replay(Random& random, uint64_t start, int steps) {
  ReplayWindow window;
  ReplayOracle oracle;
  uint64_t counter = start;
  for (int i = 0; i < steps; ++i) {
    switch (random.below(8)) {
      case 0: counter = oracle.greatest() - random.below(9000); break;
      case 1: counter = oracle.greatest() - random.below(70); break;
      case 2: counter = oracle.greatest() + random.below(9000); break;
      case 3: counter = oracle.greatest() - 8128 + random.below(3) - 1; break;
      case 4: counter = random.one_in(50) ? oracle.greatest() + (uint64_t{1} << random.below(40)) : counter + 1; break;
      default: counter = oracle.greatest() + 1 + random.below(3); break;
    }
    CHECK_EQ(window.accept(counter), oracle.accept(counter));
  }
}

}  // namespace

TEST("the replay window agrees with an exact oracle under reordering and jumps") {
  Random random(1);
  for (int round = 0; round < 30; ++round) compare_replay(random, random.below(20000), 4000);
}

TEST("the replay window agrees with an exact oracle at the upper end of 64 bits") {
  Random random(2);
  for (int round = 0; round < 10; ++round) compare_replay(random, ~uint64_t{0} - random.below(30000), 4000);
  ReplayWindow window;
  CHECK(window.accept(~uint64_t{0}));
  CHECK(!window.accept(~uint64_t{0}));
  CHECK(window.accept(~uint64_t{0} - 8128));
  CHECK(!window.accept(~uint64_t{0} - 8129));
  CHECK(!window.accept(0));
}

TEST("counters start at 0, each is good once, and 8,128 behind the greatest still is") {
  ReplayWindow window;
  CHECK(window.accept(0));
  CHECK(!window.accept(0));
  CHECK(window.accept(8128));
  CHECK(!window.accept(0));
  CHECK(window.accept(1));
  CHECK(window.accept(8129));
  CHECK(!window.accept(1));
  CHECK(window.accept(2));
  for (uint64_t c = 3; c < 8128; ++c) CHECK(window.accept(c));
  for (uint64_t c = 0; c < 8130; ++c) CHECK(!window.accept(c));
  window.reset();
  CHECK(window.accept(0));
}

TEST("the index table agrees with a map under random inserts, erases and look-ups") {
  for (uint64_t seed : {1, 2, 3}) {
    Random random(seed);
    IndexTable table(3000, seed == 3 ? 0 : random.next());
    std::unordered_map<uint32_t, uint32_t> map;
    for (int i = 0; i < 60000; ++i) {
      // A narrow range of keys makes chains, and hits; dense keys collide under a zero seed if they ever do.
      const uint32_t key = random.one_in(4) ? static_cast<uint32_t>(random.next()) : random.below(4000);
      switch (random.below(4)) {
        case 0: {
          const uint32_t value = random.below(1000);
          const bool may = !map.contains(key) && map.size() < 3000;
          CHECK_EQ(table.insert(key, value), may);
          if (may) map.emplace(key, value);
          break;
        }
        case 1: CHECK_EQ(table.erase(key), map.erase(key) == 1); break;
        case 2: {
          const bool there = map.contains(key);
          CHECK_EQ(table.replace(key, 7), there);
          if (there) map[key] = 7;
          break;
        }
        default: {
          const auto found = map.find(key);
          CHECK_EQ(table.find(key), found == map.end() ? IndexTable::kNone : found->second);
        }
      }
      CHECK_EQ(table.size(), map.size());
    }
    for (const auto& [key, value] : map) CHECK_EQ(table.find(key), value);
  }
}

TEST("the index table is full at its bound, and empty after everything is erased") {
  IndexTable table(1000, 99);
  for (uint32_t i = 0; i < 1000; ++i) CHECK(table.insert(i * 64, i));
  CHECK(!table.insert(5, 5));
  CHECK(!table.insert(0, 5));
  CHECK(!table.insert(77, IndexTable::kNone));
  for (uint32_t i = 0; i < 1000; ++i) CHECK(table.erase(i * 64));
  CHECK_EQ(table.size(), size_t{0});
  for (uint32_t i = 0; i < 64000; ++i) CHECK_EQ(table.find(i), IndexTable::kNone);
}

TEST("a source has a burst of 512, then 512 per second, to the millisecond") {
  SourceLimiter limiter(1, 2);
  const uint8_t source[4] = {192, 0, 2, 1};
  for (int i = 0; i < 512; ++i) CHECK(limiter.allow4(source, 1000));
  CHECK(!limiter.allow4(source, 1000));
  CHECK(!limiter.allow4(source, 1001));
  // 512 per second is one per 1.953125 ms.
  CHECK(limiter.allow4(source, 1002));
  CHECK(!limiter.allow4(source, 1002));
  int passed = 0;
  for (int ms = 1003; ms <= 11002; ++ms) {
    for (int i = 0; i < 3; ++i) passed += limiter.allow4(source, ms) ? 1 : 0;
  }
  CHECK_EQ(passed, 5120);
  for (int i = 0; i < 512; ++i) CHECK(limiter.allow4(source, 100000));
  CHECK(!limiter.allow4(source, 100000));
}

TEST("under load a source has a burst of 5, then 20 per second, whatever it had saved") {
  SourceLimiter limiter(1, 2);
  const uint8_t source[4] = {192, 0, 2, 1};
  CHECK(limiter.allow4(source, 0));
  int passed = 0;
  for (int ms = 0; ms <= 10000; ++ms) passed += limiter.allow4(source, ms, SourceLimiter::kLoaded) ? 1 : 0;
  CHECK_EQ(passed, 205);
  CHECK(!limiter.allow4(source, 10000));
  CHECK(limiter.allow4(source, 10002));
}

TEST("a clock that goes back gives no tokens") {
  SourceLimiter limiter(1, 2);
  constexpr SourceLimiter::Rate rate = {10, 1};
  const uint8_t source[4] = {192, 0, 2, 1};
  CHECK(limiter.allow4(source, 5000, rate));
  CHECK(!limiter.allow4(source, 4000, rate));
  CHECK(!limiter.allow4(source, 4000, rate));
  CHECK(limiter.allow4(source, 4100, rate));
}

TEST("IPv4 addresses and IPv6 /64s are sources of their own") {
  SourceLimiter limiter(3, 4);
  constexpr SourceLimiter::Rate once = {1, 1};
  uint8_t four[4] = {10, 0, 0, 1};
  CHECK(limiter.allow4(four, 0, once));
  CHECK(!limiter.allow4(four, 0, once));
  four[3] = 2;
  CHECK(limiter.allow4(four, 0, once));
  uint8_t six[16] = {0x20, 0x01, 0x0d, 0xb8};
  CHECK(limiter.allow6(six, 0, once));
  six[15] = 9;
  CHECK(!limiter.allow6(six, 0, once));
  six[7] = 1;
  CHECK(limiter.allow6(six, 0, once));
  // ::10.0.0.2 as an IPv6 /64 is not the IPv4 address.
  const uint8_t lookalike[16] = {0, 0, 0, 0, 10, 0, 0, 2};
  CHECK(limiter.allow6(lookalike, 0, once));
}

TEST("a flood of strangers does not free a source that keeps calling from its limit") {
  SourceLimiter limiter(5, 6);
  constexpr SourceLimiter::Rate rate = {1, 4};
  const uint8_t busy[4] = {203, 0, 113, 7};
  Random random(3);
  int passed = 0;
  for (int round = 0; round < 2000; ++round) {
    passed += limiter.allow4(busy, 0, rate) ? 1 : 0;
    uint8_t stranger[4];
    random.fill(stranger);
    limiter.allow4(stranger, 0, rate);
  }
  // Its bucket is never the least recently used of its set: eight strangers would have to fall there in one round.
  CHECK_EQ(passed, 4);
}
