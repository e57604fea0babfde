// See avx512_kernel.h. Layout: `lane` is a message; a "column" holds one 32-bit word of all sixteen, a "row" 64 bytes of
// one. ChaCha20 works in columns; its keystream is transposed to rows to meet the data; the ciphertext's rows are
// transposed to 64-bit columns for Poly1305 (radix 2^44, 2^44, 2^42), eight messages to a register.

#include "aead/avx512_kernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512ifma"))), apply_to = function)
#else
// GCC 12's own header initialises the "undefined" register from itself and warns of it in every caller (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")
#endif

namespace warren::avx512 {
namespace {

#define WARREN_INLINE inline __attribute__((always_inline))

constexpr uint64_t kMask44 = (uint64_t{1} << 44) - 1;
constexpr uint64_t kMask42 = (uint64_t{1} << 42) - 1;
constexpr uint32_t kGroups = 2;  // of eight messages

/** The column form of ChaCha20's input (RFC 8439 §2.3): word 13 is zero, words 14 and 15 are the message counter. */
struct Cipher {
  __m512i key[8];
  __m512i counter_low;
  __m512i counter_high;
};

WARREN_INLINE void quarter(__m512i& a, __m512i& b, __m512i& c, __m512i& d) {
  a = _mm512_add_epi32(a, b);
  d = _mm512_rol_epi32(_mm512_xor_si512(d, a), 16);
  c = _mm512_add_epi32(c, d);
  b = _mm512_rol_epi32(_mm512_xor_si512(b, c), 12);
  a = _mm512_add_epi32(a, b);
  d = _mm512_rol_epi32(_mm512_xor_si512(d, a), 8);
  c = _mm512_add_epi32(c, d);
  b = _mm512_rol_epi32(_mm512_xor_si512(b, c), 7);
}

/** Keystream block `block` of every message, in columns. */
WARREN_INLINE void keystream(const Cipher& cipher, uint32_t block, __m512i out[16]) {
  const __m512i c0 = _mm512_set1_epi32(0x61707865);
  const __m512i c1 = _mm512_set1_epi32(0x3320646e);
  const __m512i c2 = _mm512_set1_epi32(0x79622d32);
  const __m512i c3 = _mm512_set1_epi32(0x6b206574);
  const __m512i block_word = _mm512_set1_epi32(static_cast<int>(block));
  __m512i x0 = c0, x1 = c1, x2 = c2, x3 = c3;
  __m512i x4 = cipher.key[0], x5 = cipher.key[1], x6 = cipher.key[2], x7 = cipher.key[3];
  __m512i x8 = cipher.key[4], x9 = cipher.key[5], x10 = cipher.key[6], x11 = cipher.key[7];
  __m512i x12 = block_word, x13 = _mm512_setzero_si512(), x14 = cipher.counter_low, x15 = cipher.counter_high;
  for (int i = 0; i < 10; ++i) {
    quarter(x0, x4, x8, x12);
    quarter(x1, x5, x9, x13);
    quarter(x2, x6, x10, x14);
    quarter(x3, x7, x11, x15);
    quarter(x0, x5, x10, x15);
    quarter(x1, x6, x11, x12);
    quarter(x2, x7, x8, x13);
    quarter(x3, x4, x9, x14);
  }
  out[0] = _mm512_add_epi32(x0, c0);
  out[1] = _mm512_add_epi32(x1, c1);
  out[2] = _mm512_add_epi32(x2, c2);
  out[3] = _mm512_add_epi32(x3, c3);
  out[4] = _mm512_add_epi32(x4, cipher.key[0]);
  out[5] = _mm512_add_epi32(x5, cipher.key[1]);
  out[6] = _mm512_add_epi32(x6, cipher.key[2]);
  out[7] = _mm512_add_epi32(x7, cipher.key[3]);
  out[8] = _mm512_add_epi32(x8, cipher.key[4]);
  out[9] = _mm512_add_epi32(x9, cipher.key[5]);
  out[10] = _mm512_add_epi32(x10, cipher.key[6]);
  out[11] = _mm512_add_epi32(x11, cipher.key[7]);
  out[12] = _mm512_add_epi32(x12, block_word);
  out[13] = x13;
  out[14] = _mm512_add_epi32(x14, cipher.counter_low);
  out[15] = _mm512_add_epi32(x15, cipher.counter_high);
}

/** Columns of 32-bit words to rows, in place: 16 × 16. */
WARREN_INLINE void transpose_words(__m512i v[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  __m512i u[16];
  for (int i = 0; i < 16; i += 4) {
    u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // u[4q + j], 128-bit part p: words 4q … 4q + 3 of message 4p + j.
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(u[j], u[4 + j], 0x88);       // parts 0, 2 of words 0–3, then of 4–7
    const __m512i b = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0x88);  // the same of words 8–11, 12–15
    const __m512i c = _mm512_shuffle_i32x4(u[j], u[4 + j], 0xdd);       // parts 1, 3
    const __m512i d = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0xdd);
    v[j] = _mm512_shuffle_i32x4(a, b, 0x88);
    v[8 + j] = _mm512_shuffle_i32x4(a, b, 0xdd);
    v[4 + j] = _mm512_shuffle_i32x4(c, d, 0x88);
    v[12 + j] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
}

/** Eight rows of 64 bytes to eight columns of 64-bit words. */
WARREN_INLINE void transpose_quads(const __m512i rows[8], __m512i columns[8]) {
  __m512i t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
  }
  // t[2m + p], 128-bit part q: word 2q + p of messages 2m and 2m + 1.
  for (int p = 0; p < 2; ++p) {
    const __m512i a = _mm512_shuffle_i32x4(t[p], t[2 + p], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(t[4 + p], t[6 + p], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(t[p], t[2 + p], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(t[4 + p], t[6 + p], 0xdd);
    columns[p] = _mm512_shuffle_i32x4(a, b, 0x88);
    columns[4 + p] = _mm512_shuffle_i32x4(a, b, 0xdd);
    columns[2 + p] = _mm512_shuffle_i32x4(c, d, 0x88);
    columns[6 + p] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
}

/** Poly1305 of eight messages: h and r in limbs of 44, 44 and 42 bits; s = 20 r is what wraps around 2^132. */
struct Mac {
  __m512i h0, h1, h2;
  __m512i r0, r1, r2;
  __m512i s1, s2;
};

/** `low`, `high`: the 16-byte block of each message; 2^128 is added to it (RFC 8439 §2.5). */
WARREN_INLINE void absorb(Mac& mac, __m512i low, __m512i high) {
  const __m512i mask44 = _mm512_set1_epi64(kMask44);
  const __m512i mask42 = _mm512_set1_epi64(kMask42);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i h0 = _mm512_add_epi64(mac.h0, _mm512_and_si512(low, mask44));
  const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));
  const __m512i h1 = _mm512_add_epi64(mac.h1, _mm512_and_si512(middle, mask44));
  const __m512i top = _mm512_or_si512(_mm512_srli_epi64(high, 24), _mm512_set1_epi64(uint64_t{1} << 40));
  const __m512i h2 = _mm512_add_epi64(mac.h2, top);

  __m512i low0 = _mm512_madd52lo_epu64(zero, h2, mac.s1);
  __m512i low1 = _mm512_madd52lo_epu64(zero, h2, mac.s2);
  __m512i low2 = _mm512_madd52lo_epu64(zero, h2, mac.r0);
  __m512i high0 = _mm512_madd52hi_epu64(zero, h2, mac.s1);
  __m512i high1 = _mm512_madd52hi_epu64(zero, h2, mac.s2);
  __m512i high2 = _mm512_madd52hi_epu64(zero, h2, mac.r0);
  low0 = _mm512_madd52lo_epu64(low0, h0, mac.r0);
  low1 = _mm512_madd52lo_epu64(low1, h0, mac.r1);
  low2 = _mm512_madd52lo_epu64(low2, h0, mac.r2);
  high0 = _mm512_madd52hi_epu64(high0, h0, mac.r0);
  high1 = _mm512_madd52hi_epu64(high1, h0, mac.r1);
  high2 = _mm512_madd52hi_epu64(high2, h0, mac.r2);
  low0 = _mm512_madd52lo_epu64(low0, h1, mac.s2);
  low1 = _mm512_madd52lo_epu64(low1, h1, mac.r0);
  low2 = _mm512_madd52lo_epu64(low2, h1, mac.r1);
  high0 = _mm512_madd52hi_epu64(high0, h1, mac.s2);
  high1 = _mm512_madd52hi_epu64(high1, h1, mac.r0);
  high2 = _mm512_madd52hi_epu64(high2, h1, mac.r1);

  // A high half weighs 2^52 of its limb, which is 2^8 of the next one up.
  __m512i d1 = _mm512_add_epi64(low1, _mm512_slli_epi64(high0, 8));
  __m512i d2 = _mm512_add_epi64(low2, _mm512_slli_epi64(high1, 8));
  d1 = _mm512_add_epi64(d1, _mm512_srli_epi64(low0, 44));
  d2 = _mm512_add_epi64(d2, _mm512_srli_epi64(d1, 44));
  const __m512i over = _mm512_srli_epi64(d2, 42);  // of 2^130: times 5
  __m512i d0 = _mm512_and_si512(low0, mask44);
  d0 = _mm512_add_epi64(d0, _mm512_add_epi64(over, _mm512_slli_epi64(over, 2)));
  // high2 weighs 2^140 = 2^10 · 2^130: times 5 · 2^10.
  d0 = _mm512_add_epi64(d0, _mm512_add_epi64(_mm512_slli_epi64(high2, 10), _mm512_slli_epi64(high2, 12)));
  mac.h0 = _mm512_and_si512(d0, mask44);
  mac.h1 = _mm512_add_epi64(_mm512_and_si512(d1, mask44), _mm512_srli_epi64(d0, 44));
  mac.h2 = _mm512_and_si512(d2, mask42);
}

/** Absorbs the first `blocks` 16-byte blocks of eight rows. */
WARREN_INLINE void absorb_rows(Mac& mac, const __m512i rows[8], uint32_t blocks) {
  __m512i columns[8];
  transpose_quads(rows, columns);
  for (uint32_t i = 0; i < blocks; ++i) absorb(mac, columns[2 * i], columns[2 * i + 1]);
}

WARREN_INLINE __m512i widen(__m512i column, uint32_t group) {
  const __m256i half = group == 0 ? _mm512_castsi512_si256(column) : _mm512_extracti64x4_epi64(column, 1);
  return _mm512_cvtepu32_epi64(half);
}

/** r of RFC 8439 §2.5.1 (clamped) from the first four words of keystream block 0. */
WARREN_INLINE void start_mac(Mac& mac, const __m512i columns[16], uint32_t group) {
  const __m512i mask44 = _mm512_set1_epi64(kMask44);
  const __m512i clamped[4] = {
      _mm512_and_si512(widen(columns[0], group), _mm512_set1_epi64(0x0fffffff)),
      _mm512_and_si512(widen(columns[1], group), _mm512_set1_epi64(0x0ffffffc)),
      _mm512_and_si512(widen(columns[2], group), _mm512_set1_epi64(0x0ffffffc)),
      _mm512_and_si512(widen(columns[3], group), _mm512_set1_epi64(0x0ffffffc)),
  };
  const __m512i low = _mm512_or_si512(clamped[0], _mm512_slli_epi64(clamped[1], 32));
  const __m512i high = _mm512_or_si512(clamped[2], _mm512_slli_epi64(clamped[3], 32));
  mac.r0 = _mm512_and_si512(low, mask44);
  mac.r1 = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20)), mask44);
  mac.r2 = _mm512_srli_epi64(high, 24);
  mac.s1 = _mm512_add_epi64(_mm512_slli_epi64(mac.r1, 4), _mm512_slli_epi64(mac.r1, 2));
  mac.s2 = _mm512_add_epi64(_mm512_slli_epi64(mac.r2, 4), _mm512_slli_epi64(mac.r2, 2));
  mac.h0 = mac.h1 = mac.h2 = _mm512_setzero_si512();
}

struct Tag {
  uint64_t low;
  uint64_t high;
};

/** h mod 2^130 − 5, plus s, mod 2^128 (RFC 8439 §2.5), without a branch on secrets. */
WARREN_INLINE Tag finish(uint64_t h0, uint64_t h1, uint64_t h2, uint64_t s_low, uint64_t s_high) {
  h2 += h1 >> 44;
  h1 &= kMask44;
  h0 += (h2 >> 42) * 5;
  h2 &= kMask42;
  h1 += h0 >> 44;
  h0 &= kMask44;
  h2 += h1 >> 44;
  h1 &= kMask44;
  h0 += (h2 >> 42) * 5;
  h2 &= kMask42;
  h1 += h0 >> 44;
  h0 &= kMask44;

  uint64_t g0 = h0 + 5;
  uint64_t g1 = h1 + (g0 >> 44);
  g0 &= kMask44;
  const uint64_t g2 = h2 + (g1 >> 44) - (uint64_t{1} << 42);
  g1 &= kMask44;
  const uint64_t keep = uint64_t{0} - (g2 >> 63);  // all ones when h < p
  h0 = (h0 & keep) | (g0 & ~keep);
  h1 = (h1 & keep) | (g1 & ~keep);
  h2 = (h2 & keep) | (g2 & ~keep);

  const uint64_t low = h0 | (h1 << 44);
  const uint64_t high = (h1 >> 20) | (h2 << 24);
  Tag tag;
  tag.low = low + s_low;
  tag.high = high + s_high + (tag.low < low ? 1 : 0);
  return tag;
}

template <bool kSealing>
WARREN_INLINE void cipher_row(uint8_t* data, __m512i& row, __mmask64 mask, bool whole) {
  // On entry the keystream, on exit the ciphertext: what Poly1305 wants to see.
  if (whole) {
    const __m512i in = _mm512_loadu_si512(data);
    const __m512i out = _mm512_xor_si512(in, row);
    _mm512_storeu_si512(data, out);
    row = kSealing ? out : in;
  } else {
    const __m512i in = _mm512_maskz_loadu_epi8(mask, data);
    const __m512i out = _mm512_xor_si512(in, row);
    _mm512_mask_storeu_epi8(data, mask, out);
    row = kSealing ? _mm512_maskz_mov_epi8(mask, out) : in;
  }
}

template <bool kSealing>
WARREN_INLINE uint32_t run(const uint8_t* key, uint8_t* const* data, const uint64_t* counters, uint32_t lanes,
                           uint32_t length) noexcept {
  Cipher cipher;
  for (int i = 0; i < 8; ++i) {
    uint32_t word;
    std::memcpy(&word, key + 4 * i, 4);
    cipher.key[i] = _mm512_set1_epi32(static_cast<int>(word));
  }
  alignas(64) uint32_t low[kLanes] = {};
  alignas(64) uint32_t high[kLanes] = {};
  for (uint32_t i = 0; i < lanes; ++i) {
    low[i] = static_cast<uint32_t>(counters[i]);
    high[i] = static_cast<uint32_t>(counters[i] >> 32);
  }
  cipher.counter_low = _mm512_load_si512(low);
  cipher.counter_high = _mm512_load_si512(high);

  __m512i rows[kLanes];
  alignas(64) uint32_t s[4][kLanes];
  Mac macs[kGroups];
  keystream(cipher, 0, rows);
  for (uint32_t group = 0; group < kGroups; ++group) start_mac(macs[group], rows, group);
  for (int i = 0; i < 4; ++i) _mm512_store_si512(s[i], rows[4 + i]);

  uint32_t at = 0;
  for (uint32_t block = 1; at < length; ++block, at += 64) {
    const uint32_t left = length - at;
    const bool whole = left >= 64;
    const __mmask64 mask = whole ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    keystream(cipher, block, rows);
    transpose_words(rows);
    for (uint32_t i = 0; i < lanes; ++i) cipher_row<kSealing>(data[i] + at, rows[i], mask, whole);
    const uint32_t blocks = whole ? 4 : (left + 15) / 16;
    if (whole) {
      absorb_rows(macs[0], rows, 4);
      if (lanes > 8) absorb_rows(macs[1], rows + 8, 4);
    } else {
      absorb_rows(macs[0], rows, blocks);
      if (lanes > 8) absorb_rows(macs[1], rows + 8, blocks);
    }
  }
  // The lengths: no additional data, `length` bytes of ciphertext (RFC 8439 §2.8).
  for (uint32_t group = 0; group < kGroups; ++group) {
    absorb(macs[group], _mm512_setzero_si512(), _mm512_set1_epi64(static_cast<int64_t>(length)));
  }

  alignas(64) uint64_t h[3][kLanes];
  for (uint32_t group = 0; group < kGroups; ++group) {
    _mm512_store_si512(h[0] + 8 * group, macs[group].h0);
    _mm512_store_si512(h[1] + 8 * group, macs[group].h1);
    _mm512_store_si512(h[2] + 8 * group, macs[group].h2);
  }
  uint32_t good = 0;
  for (uint32_t i = 0; i < lanes; ++i) {
    const uint64_t s_low = s[0][i] | (uint64_t{s[1][i]} << 32);
    const uint64_t s_high = s[2][i] | (uint64_t{s[3][i]} << 32);
    const Tag tag = finish(h[0][i], h[1][i], h[2][i], s_low, s_high);
    if (kSealing) {
      std::memcpy(data[i] + length, &tag.low, 8);
      std::memcpy(data[i] + length + 8, &tag.high, 8);
    } else {
      uint64_t sent[2];
      std::memcpy(sent, data[i] + length, 16);
      const uint64_t difference = (sent[0] ^ tag.low) | (sent[1] ^ tag.high);
      good |= static_cast<uint32_t>(((difference | (uint64_t{0} - difference)) >> 63) ^ 1) << i;
    }
  }
  // Poly1305's s and the keystream of the last block would let a reader of this stack forge one tag.
  const __m512i zero = _mm512_setzero_si512();
  for (int i = 0; i < 4; ++i) _mm512_store_si512(s[i], zero);
  for (__m512i& row : rows) row = zero;
  __asm__ __volatile__("" : : "r"(s), "r"(rows) : "memory");
  return good;
}

}  // namespace

void seal(const uint8_t key[32], uint8_t* const* data, const uint64_t* counters, uint32_t lanes,
          uint32_t length) noexcept {
  run<true>(key, data, counters, lanes, length);
}

uint32_t open(const uint8_t key[32], uint8_t* const* data, const uint64_t* counters, uint32_t lanes,
              uint32_t length) noexcept {
  return run<false>(key, data, counters, lanes, length);
}

}  // namespace warren::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#pragma GCC diagnostic pop
#endif

namespace warren::avx512 {

bool supported() noexcept {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512ifma");
}

}  // namespace warren::avx512

#endif
