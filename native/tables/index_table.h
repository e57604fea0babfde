// Receiver index → small number (a keypair's slot). Open addressing with linear probing and a seeded hash; erasing
// shifts the following entries back, so there are no tombstones and a miss stays short for ever. Grows by doubling up
// to a bound. Leaves out locking, and what the number means.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace warren {

class IndexTable {
 public:
  static constexpr uint32_t kNone = 0xffff'ffff;

  /** At most `entries_max` entries. `seed` should be random: with it nobody can choose keys that collide. */
  explicit IndexTable(size_t entries_max, uint64_t seed = 0) : entries_max_(entries_max), seed_(seed | 1) {
    slots_.resize(kSlotsMin);
  }

  /** False when the key is there already or the table is full. `value` is not kNone. */
  bool insert(uint32_t key, uint32_t value) {
    if (value == kNone || find(key) != kNone || size_ >= entries_max_) return false;
    if ((size_ + 1) * 2 > slots_.size()) grow();
    place(key, value);
    ++size_;
    return true;
  }

  /** The value, or kNone. Never allocates. */
  uint32_t find(uint32_t key) const noexcept {
    for (size_t at = home(key);; at = next(at)) {
      const Slot& slot = slots_[at];
      if (slot.value == kNone || slot.key == key) return slot.value;
    }
  }

  /** Changes the value of a key that is there; false when it is not. */
  bool replace(uint32_t key, uint32_t value) noexcept {
    if (value == kNone) return false;
    for (size_t at = home(key); slots_[at].value != kNone; at = next(at)) {
      if (slots_[at].key != key) continue;
      slots_[at].value = value;
      return true;
    }
    return false;
  }

  bool erase(uint32_t key) noexcept {
    size_t hole = home(key);
    for (;; hole = next(hole)) {
      if (slots_[hole].value == kNone) return false;
      if (slots_[hole].key == key) break;
    }
    for (size_t at = next(hole); slots_[at].value != kNone; at = next(at)) {
      // An entry may move back into the hole unless its home lies between the hole and itself.
      const size_t mask = slots_.size() - 1;
      if (((at - home(slots_[at].key)) & mask) < ((at - hole) & mask)) continue;
      slots_[hole] = slots_[at];
      hole = at;
    }
    slots_[hole] = Slot{};
    --size_;
    return true;
  }

  size_t size() const noexcept { return size_; }

 private:
  struct Slot {
    uint32_t key = 0;
    uint32_t value = kNone;
  };
  static constexpr size_t kSlotsMin = 64;

  size_t home(uint32_t key) const noexcept {
    uint64_t mixed = (key ^ seed_) * 0x9e37'79b9'7f4a'7c15ull;
    mixed ^= mixed >> 32;
    mixed *= seed_;
    return static_cast<size_t>(mixed >> 32) & (slots_.size() - 1);
  }
  size_t next(size_t at) const noexcept { return (at + 1) & (slots_.size() - 1); }

  void place(uint32_t key, uint32_t value) noexcept {
    size_t at = home(key);
    while (slots_[at].value != kNone) at = next(at);
    slots_[at] = Slot{key, value};
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.value != kNone) place(slot.key, slot.value);
    }
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
  size_t entries_max_;
  uint64_t seed_;
};

}  // namespace warren
