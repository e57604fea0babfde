// Where session keys live: slots of 64 bytes (sending key, receiving key) in locked memory that core dumps leave out;
// zeroed when given back. Grows by whole regions and never shrinks before it goes. Leaves out locking between threads:
// slots are taken and given back under the device's exclusive lock.

#pragma once

#include <cstdint>
#include <vector>

#include "os/process.h"

namespace warren {

inline constexpr size_t kSessionKeysBytes = 64;

class KeySlab {
 public:
  /** 64 zeroed bytes. Aborts when the system has no memory left. */
  uint8_t* take() noexcept;
  /** Zeroes them. */
  void give_back(uint8_t* keys) noexcept;
  /** Whether every region could be locked (RLIMIT_MEMLOCK); for status. */
  bool locked() const noexcept { return locked_; }
  size_t used() const noexcept { return used_; }

 private:
  void grow() noexcept;

  /** Small, so that few sessions lock little: many systems allow 64 KiB and no more. */
  static constexpr size_t kRegionBytes = 16 * 1024;
  std::vector<LockedRegion> regions_;
  std::vector<uint8_t*> free_;
  size_t used_ = 0;
  bool locked_ = true;
};

}  // namespace warren
