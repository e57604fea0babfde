// ChaCha20-Poly1305 (RFC 8439) for transport data: nonce = 32 zero bits ‖ LE64(counter), no additional data (WireGuard
// paper §5.4.6). Works in place on batches of messages under one key, so that a tier may run several messages at once.
// Tiers are chosen when the library is loaded. Leaves out additional data, XChaCha and key agreement: those are
// TypeScript's.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace warren {

inline constexpr uint32_t kAeadTagLength = 16;
inline constexpr uint32_t kAeadKeyLength = 32;

/** Seals `length` bytes at `data` in place and writes the tag behind them: `data` has room for length + 16 bytes. */
struct SealJob {
  uint8_t* data;
  uint32_t length;
  uint64_t counter;
};

/** Opens `length` bytes (tag included) at `data` in place. With `ok` false the contents of `data` are unspecified. */
struct OpenJob {
  uint8_t* data;
  uint32_t length;
  uint64_t counter;
  bool ok;
};

/**
 * One object per thread: no locks, no allocation per call. Any mixture of lengths is right; runs of equal length are
 * what a multi-buffer tier is fast at. A job that cannot be sealed is a broken invariant and aborts.
 */
class Aead {
 public:
  Aead() = default;
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;
  virtual ~Aead() = default;

  /** Name of the implementation, for status and benchmarks: one of kAeadTiers. */
  virtual const char* tier() const noexcept = 0;
  virtual void seal(const uint8_t key[kAeadKeyLength], std::span<SealJob> jobs) noexcept = 0;
  virtual void open(const uint8_t key[kAeadKeyLength], std::span<OpenJob> jobs) noexcept = 0;
  /** Zeroes whatever this object remembers of the last keys. Call it when a keypair is destroyed. */
  virtual void forget() noexcept = 0;
};

/** Fastest first; each needs something that a machine may lack. */
inline constexpr std::array<const char*, 2> kAeadTiers = {"avx512-ifma", "openssl-evp"};

/** The tier of that name, or null when this machine cannot have it. */
std::unique_ptr<Aead> make_aead(std::string_view tier);

/**
 * The fastest tier that works here and passes its own test (tried once per process), or the one that the environment's
 * WARREN_AEAD names. Null: `aead_unavailable_reason` says why.
 */
std::unique_ptr<Aead> make_aead();

/** Null when `make_aead` can give one; else a sentence for a person. Static storage. */
const char* aead_unavailable_reason();

/** RFC 8439 and tampering checks through `make_aead`; false when there is no tier or it computes wrongly. */
bool aead_self_test();

}  // namespace warren
