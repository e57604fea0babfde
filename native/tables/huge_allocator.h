// Memory for large tables that are read at random: from a megabyte on it is aligned for and marked as huge pages, since
// with 4 KB pages half of what a lookup costs is waiting for the page tables. Where the kernel has none it is plain memory.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace warren {

template <typename T>
struct HugeAllocator {
  using value_type = T;

  HugeAllocator() = default;
  template <typename U>
  HugeAllocator(const HugeAllocator<U>&) noexcept {}

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    if (bytes < kHugeFrom) return static_cast<T*>(::operator new(bytes, std::align_val_t{alignof(T)}));
    void* const memory = ::operator new(rounded(bytes), std::align_val_t{kHugePage});
    // Advice only: refused where transparent huge pages are switched off.
    madvise(memory, rounded(bytes), MADV_HUGEPAGE);
    return static_cast<T*>(memory);
  }

  void deallocate(T* memory, size_t count) noexcept {
    const size_t bytes = count * sizeof(T);
    ::operator delete(memory, std::align_val_t{bytes < kHugeFrom ? alignof(T) : kHugePage});
  }

  bool operator==(const HugeAllocator&) const noexcept { return true; }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;
  static constexpr size_t kHugeFrom = size_t{1} << 20;
  static constexpr size_t rounded(size_t bytes) noexcept { return (bytes + kHugePage - 1) & ~(kHugePage - 1); }
};

}  // namespace warren
