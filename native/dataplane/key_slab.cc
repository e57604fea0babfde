// See key_slab.h. Slots are cut out of locked regions and kept in a free list outside of the locked memory.
// Leaves out giving regions back: a device that had many sessions will have them again.

#include "dataplane/key_slab.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "hash/secure.h"

namespace warren {

uint8_t* KeySlab::take() noexcept {
  if (free_.empty()) grow();
  uint8_t* keys = free_.back();
  free_.pop_back();
  ++used_;
  return keys;
}

void KeySlab::give_back(uint8_t* keys) noexcept {
  secure_zero(keys, kSessionKeysBytes);
  free_.push_back(keys);
  --used_;
}

void KeySlab::grow() noexcept {
  auto region = LockedRegion::create(kRegionBytes);
  if (!region.ok()) {
    std::fputs("warren: no memory for session keys\n", stderr);
    std::abort();
  }
  locked_ = locked_ && region->locked();
  // Handed out from the front: pushed from the back.
  for (size_t at = region->size(); at >= kSessionKeysBytes; at -= kSessionKeysBytes) {
    free_.push_back(region->data() + at - kSessionKeysBytes);
  }
  regions_.push_back(std::move(*region));
}

}  // namespace warren
