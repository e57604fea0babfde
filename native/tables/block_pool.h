// A pool of small arrays (1…16 elements) addressed by index, for tries: one growing vector, a free list per size class.
// Indexes survive growth, references do not. Elements are trivially copyable and at least four bytes.

#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "tables/huge_allocator.h"

namespace warren {

template <typename T>
class BlockPool {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) >= sizeof(uint32_t));

 public:
  static constexpr uint32_t kNil = 0xffff'ffff;

  BlockPool() { free_.fill(kNil); }

  T& operator[](uint32_t index) noexcept { return elements_[index]; }
  const T& operator[](uint32_t index) const noexcept { return elements_[index]; }

  uint32_t allocate(uint32_t count) {
    const uint32_t kind = class_of(count);
    const uint32_t reused = free_[kind];
    if (reused != kNil) {
      std::memcpy(&free_[kind], static_cast<const void*>(&elements_[reused]), sizeof(uint32_t));
      return reused;
    }
    const size_t at = elements_.size();
    const size_t needed = at + kSizes[kind];
    // A quarter more each time instead of double: tables are large and mostly built once.
    if (needed > elements_.capacity()) elements_.reserve(needed + elements_.capacity() / 4 + 16);
    elements_.resize(needed);
    return static_cast<uint32_t>(at);
  }

  void release(uint32_t index, uint32_t count) noexcept {
    const uint32_t kind = class_of(count);
    std::memcpy(static_cast<void*>(&elements_[index]), &free_[kind], sizeof(uint32_t));
    free_[kind] = index;
  }

  /** A block of `count` elements with a gap at `at`, from one of count − 1 (index ignored when that is 0). */
  uint32_t widen(uint32_t index, uint32_t count, uint32_t at) {
    const uint32_t before = count - 1;
    if (before != 0 && class_of(before) == class_of(count)) {
      for (uint32_t i = before; i > at; --i) elements_[index + i] = elements_[index + i - 1];
      return index;
    }
    const uint32_t wider = allocate(count);
    for (uint32_t i = 0; i < at; ++i) elements_[wider + i] = elements_[index + i];
    for (uint32_t i = at; i < before; ++i) elements_[wider + i + 1] = elements_[index + i];
    if (before != 0) release(index, before);
    return wider;
  }

  /** A block of `count` elements without the one at `at`, from one of count + 1. Released altogether when count is 0. */
  uint32_t narrow(uint32_t index, uint32_t count, uint32_t at) {
    const uint32_t before = count + 1;
    if (count != 0 && class_of(before) == class_of(count)) {
      for (uint32_t i = at; i < count; ++i) elements_[index + i] = elements_[index + i + 1];
      return index;
    }
    const uint32_t narrower = count == 0 ? kNil : allocate(count);
    for (uint32_t i = 0; i < at; ++i) elements_[narrower + i] = elements_[index + i];
    for (uint32_t i = at; i < count; ++i) elements_[narrower + i] = elements_[index + i + 1];
    release(index, before);
    return narrower;
  }

  size_t memory_bytes() const noexcept { return elements_.capacity() * sizeof(T); }

 private:
  static constexpr std::array<uint32_t, 8> kSizes = {1, 2, 3, 4, 6, 8, 12, 16};
  static constexpr uint32_t class_of(uint32_t count) noexcept {
    uint32_t kind = 0;
    while (kSizes[kind] < count) ++kind;
    return kind;
  }

  std::vector<T, HugeAllocator<T>> elements_;
  std::array<uint32_t, kSizes.size()> free_;
};

}  // namespace warren
