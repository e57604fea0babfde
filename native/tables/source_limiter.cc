// Token bucket per source address in a set-associative table. See source_limiter.h.

#include "tables/source_limiter.h"

#include "packet/headers.h"

namespace warren {
namespace {

constexpr double kCost = 1000;

/** Two rounds of multiply-and-xorshift under a secret seed: nobody outside can aim at one set. */
uint64_t mix(uint64_t value, uint64_t seed0, uint64_t seed1) noexcept {
  value = (value ^ seed0) * 0xff51'afd7'ed55'8ccdull;
  value ^= value >> 33;
  value = (value ^ seed1) * 0xc4ce'b9fe'1a85'ec53ull;
  return value ^ (value >> 29);
}

}  // namespace

SourceLimiter::SourceLimiter(uint64_t seed0, uint64_t seed1) : buckets_(kEntries), seed0_(seed0), seed1_(seed1) {}

bool SourceLimiter::allow4(const uint8_t address[4], double now_ms, const Rate& rate) noexcept {
  return take(load_be32(address), 4, now_ms, rate);
}

bool SourceLimiter::allow6(const uint8_t address[16], double now_ms, const Rate& rate) noexcept {
  return take(load_be64(address), 6, now_ms, rate);
}

bool SourceLimiter::allow_relayed(uint32_t relay, const uint8_t slot[8], double now_ms, const Rate& rate) noexcept {
  const Rate whole{rate.per_second * kRelayFactor, rate.burst * kRelayFactor};
  return take(load_be64(slot), kSlot + relay, now_ms, rate) && take(relay, kRelay, now_ms, whole);
}

bool SourceLimiter::take(uint64_t source, uint32_t family, double now_ms, const Rate& rate) noexcept {
  const double full = rate.burst * kCost;
  Bucket* const set = &buckets_[mix(source + family, seed0_, seed1_) % kSets * kWays];
  Bucket* bucket = set;
  for (size_t i = 0; i < kWays; ++i) {
    if (set[i].used != 0 && set[i].source == source && set[i].family == family) {
      bucket = &set[i];
      break;
    }
    if (set[i].used < bucket->used) bucket = &set[i];
  }
  if (bucket->used == 0 || bucket->source != source || bucket->family != family) {
    *bucket = Bucket{source, full, now_ms, 0, family};
  }
  bucket->used = ++clock_;
  // A clock that stands still or goes back gives nothing and takes nothing.
  const double elapsed = now_ms > bucket->refilled_at ? now_ms - bucket->refilled_at : 0;
  bucket->refilled_at = now_ms;
  // Per second and per mille: the gain of a millisecond is the rate itself.
  bucket->tokens += elapsed * rate.per_second;
  if (bucket->tokens > full) bucket->tokens = full;
  if (bucket->tokens < kCost) return false;
  bucket->tokens -= kCost;
  return true;
}

}  // namespace warren
