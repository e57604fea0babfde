// Sixteen equal-length messages at once under one key: ChaCha20 with one message per 32-bit lane, Poly1305 with one message
// per 64-bit lane on the 52-bit multipliers (AVX512-IFMA). RFC 8439 without additional data. x86-64 only; the caller has
// asked the CPU first.

#pragma once

#include <cstdint>

namespace warren::avx512 {

inline constexpr uint32_t kLanes = 16;

/** Whether this CPU and operating system have what the kernels use. */
bool supported() noexcept;

/** Seals `lanes` (1 … 16) messages of `length` bytes in place; tags go behind them. */
void seal(const uint8_t key[32], uint8_t* const* data, const uint64_t* counters, uint32_t lanes, uint32_t length) noexcept;

/**
 * Opens `lanes` messages of `length` bytes (without tag) in place, tags behind them. Bit i of the result: the tag of
 * message i verifies. What does not verify is left undefined.
 */
uint32_t open(const uint8_t key[32], uint8_t* const* data, const uint64_t* counters, uint32_t lanes,
              uint32_t length) noexcept;

}  // namespace warren::avx512
