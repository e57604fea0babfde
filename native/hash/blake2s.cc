// BLAKE2s (RFC 7693 §3), read top to bottom. See blake2s.h.

#include "hash/blake2s.h"

#include <bit>
#include <cstring>

#include "hash/secure.h"
#include "packet/headers.h"

namespace warren {
namespace {

constexpr size_t kBlock = 64;
constexpr uint32_t kRounds = 10;

constexpr uint32_t kIv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

constexpr uint8_t kSigma[kRounds][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

// RFC 7693 §3.1
inline void mix(uint32_t* v, int a, int b, int c, int d, uint32_t x, uint32_t y) noexcept {
  v[a] = v[a] + v[b] + x;
  v[d] = std::rotr(v[d] ^ v[a], 16);
  v[c] = v[c] + v[d];
  v[b] = std::rotr(v[b] ^ v[c], 12);
  v[a] = v[a] + v[b] + y;
  v[d] = std::rotr(v[d] ^ v[a], 8);
  v[c] = v[c] + v[d];
  v[b] = std::rotr(v[b] ^ v[c], 7);
}

}  // namespace

Blake2s::Blake2s(size_t output_length, std::span<const uint8_t> key) noexcept : output_length_(output_length) {
  if (output_length == 0 || output_length > kBlake2sOutputMax || key.size() > kBlake2sKeyMax) __builtin_trap();
  std::memcpy(state_, kIv, sizeof state_);
  state_[0] ^= 0x01010000u ^ static_cast<uint32_t>(key.size() << 8) ^ static_cast<uint32_t>(output_length);
  std::memset(buffer_, 0, sizeof buffer_);
  if (key.empty()) return;
  // The key, padded to a block, is the first of the data (§3.3).
  std::memcpy(buffer_, key.data(), key.size());
  buffered_ = kBlock;
}

Blake2s::~Blake2s() {
  secure_zero(state_, sizeof state_);
  secure_zero(buffer_, sizeof buffer_);
}

void Blake2s::update(std::span<const uint8_t> data) noexcept {
  const uint8_t* from = data.data();
  size_t left = data.size();
  while (left > 0) {
    // A full buffer waits until more comes: the last block is compressed differently.
    if (buffered_ == kBlock) {
      compress(buffer_, kBlock, false);
      buffered_ = 0;
    }
    const size_t taken = left < kBlock - buffered_ ? left : kBlock - buffered_;
    std::memcpy(buffer_ + buffered_, from, taken);
    buffered_ += taken;
    from += taken;
    left -= taken;
  }
}

void Blake2s::finish(uint8_t* out) noexcept {
  std::memset(buffer_ + buffered_, 0, kBlock - buffered_);
  compress(buffer_, static_cast<uint32_t>(buffered_), true);
  uint8_t digest[kBlake2sOutputMax];
  for (size_t i = 0; i < 8; ++i) store_le32(digest + 4 * i, state_[i]);
  std::memcpy(out, digest, output_length_);
  secure_zero(digest, sizeof digest);
}

// RFC 7693 §3.2, function F
void Blake2s::compress(const uint8_t* block, uint32_t added, bool last) noexcept {
  total_ += added;
  uint32_t m[16];
  for (size_t i = 0; i < 16; ++i) m[i] = load_le32(block + 4 * i);
  uint32_t v[16];
  std::memcpy(v, state_, sizeof state_);
  std::memcpy(v + 8, kIv, sizeof kIv);
  v[12] ^= static_cast<uint32_t>(total_);
  v[13] ^= static_cast<uint32_t>(total_ >> 32);
  if (last) v[14] = ~v[14];
  for (const auto& s : kSigma) {
    mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
    mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
    mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
    mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
    mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  for (size_t i = 0; i < 8; ++i) state_[i] ^= v[i] ^ v[i + 8];
  secure_zero(m, sizeof m);
  secure_zero(v, sizeof v);
}

void blake2s(std::span<uint8_t> out, std::span<const uint8_t> key, std::span<const uint8_t> data) noexcept {
  Blake2s hash(out.size(), key);
  hash.update(data);
  hash.finish(out.data());
}

}  // namespace warren
