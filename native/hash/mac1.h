// mac1 of handshake messages (WireGuard paper §5.4.4): MAC(HASH("mac1----" ‖ our public key), message up to mac1), so
// that garbage never reaches the event loop. Leaves out mac2, which is the protocol's.

#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

class Mac1Checker {
 public:
  ~Mac1Checker();

  /** 32 bytes, or null: then nothing passes. */
  void set_public_key(const uint8_t* public_key) noexcept;

  /** `length` is that of the whole message, which ends in mac1 (16 bytes) and mac2 (16 bytes). Constant time. */
  bool check(const uint8_t* message, size_t length) const noexcept;

  /** Writes the mac1 that `check` expects to message + length − 32. For tests and for traffic generators. */
  void stamp(uint8_t* message, size_t length) const noexcept;

 private:
  void compute(uint8_t out[16], const uint8_t* message, size_t length) const noexcept;

  uint8_t key_[32] = {};
  bool has_key_ = false;
};

}  // namespace warren
