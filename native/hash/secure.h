// Two habits with secrets: zero them so that the compiler cannot leave it out, and compare them in constant time. Leaves out
// locking them in memory, which is the process's (os/process.h).

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace warren {

inline void secure_zero(void* memory, size_t length) noexcept {
  std::memset(memory, 0, length);
  // The pointer escapes into an opaque statement: the stores above have an observer and stay.
  __asm__ __volatile__("" : : "r"(memory) : "memory");
}

/** Time depends on `length` only. */
inline bool secure_equal(const uint8_t* a, const uint8_t* b, size_t length) noexcept {
  uint8_t difference = 0;
  for (size_t i = 0; i < length; ++i) {
    difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
    // Keeps the compiler from turning the loop into one that ends early.
    __asm__ __volatile__("" : "+r"(difference));
  }
  return difference == 0;
}

}  // namespace warren
