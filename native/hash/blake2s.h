// BLAKE2s (RFC 7693), keyed and unkeyed, 1…32 bytes of output. Portable code: it runs once per handshake message.
// Leaves out salt, personalisation and tree hashing.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace warren {

inline constexpr size_t kBlake2sOutputMax = 32;
inline constexpr size_t kBlake2sKeyMax = 32;

class Blake2s {
 public:
  /** `outputLength` 1…32; `key` 0…32 bytes. */
  explicit Blake2s(size_t output_length, std::span<const uint8_t> key = {}) noexcept;
  /** The state may hold a key: it is zeroed. */
  ~Blake2s();
  Blake2s(const Blake2s&) = delete;
  Blake2s& operator=(const Blake2s&) = delete;

  void update(std::span<const uint8_t> data) noexcept;
  /** Writes `output_length` bytes. The object is used up. */
  void finish(uint8_t* out) noexcept;

 private:
  void compress(const uint8_t* block, uint32_t added, bool last) noexcept;

  uint32_t state_[8];
  uint64_t total_ = 0;
  uint8_t buffer_[64];
  size_t buffered_ = 0;
  size_t output_length_;
};

/** One call: `out.size()` bytes of keyed (or, with an empty key, plain) BLAKE2s of `data`. */
void blake2s(std::span<uint8_t> out, std::span<const uint8_t> key, std::span<const uint8_t> data) noexcept;

}  // namespace warren
