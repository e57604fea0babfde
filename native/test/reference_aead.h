// ChaCha20-Poly1305 (RFC 8439) written as the RFC reads, slow and obvious: what the AEAD tiers are compared with.

#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace warren::test {

using Words = std::array<uint32_t, 16>;

inline void quarter_round(Words& s, int a, int b, int c, int d) {  // §2.1
  const auto rotate = [](uint32_t v, int n) { return (v << n) | (v >> (32 - n)); };
  s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 16);
  s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 12);
  s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 8);
  s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 7);
}

inline uint32_t word_at(const uint8_t* p) {
  return p[0] | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
}

inline std::array<uint8_t, 64> chacha20_block(const uint8_t* key, uint32_t counter, const uint8_t* nonce) {  // §2.3
  Words state{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (int i = 0; i < 8; ++i) state[4 + i] = word_at(key + 4 * i);
  state[12] = counter;
  for (int i = 0; i < 3; ++i) state[13 + i] = word_at(nonce + 4 * i);
  Words s = state;
  for (int round = 0; round < 10; ++round) {
    quarter_round(s, 0, 4, 8, 12); quarter_round(s, 1, 5, 9, 13);
    quarter_round(s, 2, 6, 10, 14); quarter_round(s, 3, 7, 11, 15);
    quarter_round(s, 0, 5, 10, 15); quarter_round(s, 1, 6, 11, 12);
    quarter_round(s, 2, 7, 8, 13); quarter_round(s, 3, 4, 9, 14);
  }
  std::array<uint8_t, 64> out;
  for (int i = 0; i < 16; ++i) {
    const uint32_t word = s[i] + state[i];
    for (int b = 0; b < 4; ++b) out[4 * i + b] = static_cast<uint8_t>(word >> (8 * b));
  }
  return out;
}

/** §2.5, in 26-bit limbs: the plainest form whose products fit 64 bits. */
inline std::array<uint8_t, 16> poly1305(const uint8_t* key, std::span<const uint8_t> message) {
  constexpr uint64_t kMask = (1u << 26) - 1;
  uint8_t clamped[16];
  std::memcpy(clamped, key, 16);
  for (int i : {3, 7, 11, 15}) clamped[i] &= 15;
  for (int i : {4, 8, 12}) clamped[i] &= 252;
  const auto limbs = [&](const uint8_t* p, uint64_t top, uint64_t* out) {
    out[0] = word_at(p) & kMask;
    out[1] = (word_at(p + 3) >> 2) & kMask;
    out[2] = (word_at(p + 6) >> 4) & kMask;
    out[3] = (word_at(p + 9) >> 6) & kMask;
    out[4] = (word_at(p + 12) >> 8) | top;
  };
  uint64_t r[5];
  limbs(clamped, 0, r);
  uint64_t a[5] = {};
  for (size_t at = 0; at < message.size(); at += 16) {
    const size_t length = message.size() - at < 16 ? message.size() - at : 16;
    uint8_t block[16] = {};
    std::memcpy(block, message.data() + at, length);
    if (length < 16) block[length] = 1;
    uint64_t n[5];
    limbs(block, length == 16 ? uint64_t{1} << 24 : 0, n);
    for (int i = 0; i < 5; ++i) a[i] += n[i];
    uint64_t product[5] = {};
    for (int i = 0; i < 5; ++i) {
      for (int j = 0; j < 5; ++j) product[(i + j) % 5] += a[i] * r[j] * (i + j >= 5 ? 5 : 1);
    }
    uint64_t carry = 0;
    for (int i = 0; i < 5; ++i) {
      product[i] += carry;
      a[i] = product[i] & kMask;
      carry = product[i] >> 26;
    }
    a[0] += carry * 5;
    a[1] += a[0] >> 26;
    a[0] &= kMask;
  }
  for (int pass = 0; pass < 3; ++pass) {
    for (int i = 0; i < 5; ++i) {
      const uint64_t carry = a[i] >> 26;
      a[i] &= kMask;
      if (i < 4) a[i + 1] += carry; else a[0] += carry * 5;
    }
  }
  // a mod 2^130 − 5: take p away once if a ≥ p.
  uint64_t g[5];
  uint64_t carry = 5;
  for (int i = 0; i < 5; ++i) {
    g[i] = a[i] + carry;
    carry = g[i] >> 26;
    g[i] &= kMask;
  }
  if (carry != 0) std::memcpy(a, g, sizeof a);
  const uint32_t h[4] = {static_cast<uint32_t>(a[0] | a[1] << 26), static_cast<uint32_t>(a[1] >> 6 | a[2] << 20),
                         static_cast<uint32_t>(a[2] >> 12 | a[3] << 14), static_cast<uint32_t>(a[3] >> 18 | a[4] << 8)};
  std::array<uint8_t, 16> tag;
  uint64_t sum = 0;
  for (int i = 0; i < 4; ++i) {
    sum = (sum >> 32) + h[i] + word_at(key + 16 + 4 * i);
    for (int b = 0; b < 4; ++b) tag[4 * i + b] = static_cast<uint8_t>(sum >> (8 * b));
  }
  return tag;
}

/** §2.8: ciphertext ‖ tag. */
inline std::vector<uint8_t> reference_seal(const uint8_t* key, const uint8_t* nonce, std::span<const uint8_t> plaintext,
                                           std::span<const uint8_t> aad = {}) {
  std::vector<uint8_t> out(plaintext.begin(), plaintext.end());
  for (size_t at = 0; at < out.size(); at += 64) {
    const auto stream = chacha20_block(key, static_cast<uint32_t>(1 + at / 64), nonce);
    for (size_t i = at; i < out.size() && i < at + 64; ++i) out[i] ^= stream[i - at];
  }
  std::vector<uint8_t> authenticated(aad.begin(), aad.end());
  authenticated.resize((authenticated.size() + 15) / 16 * 16);
  authenticated.insert(authenticated.end(), out.begin(), out.end());
  authenticated.resize((authenticated.size() + 15) / 16 * 16);
  for (uint64_t length : {uint64_t{aad.size()}, uint64_t{plaintext.size()}}) {
    for (int b = 0; b < 8; ++b) authenticated.push_back(static_cast<uint8_t>(length >> (8 * b)));
  }
  const auto one_time = chacha20_block(key, 0, nonce);
  const auto tag = poly1305(one_time.data(), authenticated);
  out.insert(out.end(), tag.begin(), tag.end());
  return out;
}

}  // namespace warren::test
