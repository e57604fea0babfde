// The internet checksum (RFC 1071). Portable code adds 64-bit words with the carry; where the CPU has AVX2 it adds
// 32-bit halves in 64-bit lanes, which need no carry for any length that a packet has. See checksum.h.

#include "packet/checksum.h"

#include <cstring>

#include "packet/headers.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace warren {
namespace {

using AddFunction = uint64_t (*)(uint64_t, const uint8_t*, size_t) noexcept;
using CopyFunction = uint64_t (*)(uint64_t, uint8_t*, const uint8_t*, size_t) noexcept;

/** At most seven bytes, as if zeros followed. */
inline uint64_t load_tail(const uint8_t* data, size_t length) noexcept {
  uint64_t word = 0;
  std::memcpy(&word, data, length);
  return word;
}

uint64_t add_portable(uint64_t sum, const uint8_t* data, size_t length) noexcept {
  // Two chains, so that one carry need not wait for the other.
  uint64_t other = 0;
  for (; length >= 16; data += 16, length -= 16) {
    sum = checksum_combine(sum, load<uint64_t>(data));
    other = checksum_combine(other, load<uint64_t>(data + 8));
  }
  sum = checksum_combine(sum, other);
  if (length >= 8) {
    sum = checksum_combine(sum, load<uint64_t>(data));
    data += 8;
    length -= 8;
  }
  return length == 0 ? sum : checksum_combine(sum, load_tail(data, length));
}

uint64_t copy_portable(uint64_t sum, uint8_t* to, const uint8_t* from, size_t length) noexcept {
  if (length != 0) std::memcpy(to, from, length);
  return add_portable(sum, from, length);
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) inline uint64_t lanes(__m256i a, __m256i b) noexcept {
  alignas(32) uint64_t lane[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lane), _mm256_add_epi64(a, b));
  return lane[0] + lane[1] + lane[2] + lane[3];
}

__attribute__((target("avx2"))) uint64_t add_avx2(uint64_t sum, const uint8_t* data, size_t length) noexcept {
  if (length < 64) return add_portable(sum, data, length);
  const __m256i zero = _mm256_setzero_si256();
  __m256i a = zero;
  __m256i b = zero;
  for (; length >= 64; data += 64, length -= 64) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + 32));
    a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(x, zero));
    b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(x, zero));
    a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(y, zero));
    b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(y, zero));
  }
  return add_portable(checksum_combine(sum, lanes(a, b)), data, length);
}

__attribute__((target("avx2"))) uint64_t copy_avx2(uint64_t sum, uint8_t* to, const uint8_t* from,
                                                   size_t length) noexcept {
  if (length < 64) return copy_portable(sum, to, from, length);
  const __m256i zero = _mm256_setzero_si256();
  __m256i a = zero;
  __m256i b = zero;
  for (; length >= 64; from += 64, to += 64, length -= 64) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), y);
    a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(x, zero));
    b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(x, zero));
    a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(y, zero));
    b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(y, zero));
  }
  return copy_portable(checksum_combine(sum, lanes(a, b)), to, from, length);
}

bool has_avx2() noexcept {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2");
}
const AddFunction kAdd = has_avx2() ? add_avx2 : add_portable;
const CopyFunction kCopy = has_avx2() ? copy_avx2 : copy_portable;

#else

constexpr AddFunction kAdd = add_portable;
constexpr CopyFunction kCopy = copy_portable;

#endif

}  // namespace

uint64_t checksum_add(uint64_t sum, const uint8_t* data, size_t length) noexcept { return kAdd(sum, data, length); }

uint64_t checksum_copy(uint64_t sum, uint8_t* to, const uint8_t* from, size_t length) noexcept {
  return kCopy(sum, to, from, length);
}

uint64_t checksum_add_portable(uint64_t sum, const uint8_t* data, size_t length) noexcept {
  return add_portable(sum, data, length);
}

uint64_t checksum_pseudo(const uint8_t* ip_packet, uint8_t protocol, uint32_t length) noexcept {
  const bool ipv4 = ip_packet[0] >> 4 == 4;
  // Both addresses stand side by side in either header.
  const uint64_t sum = add_portable(0, ip_source(ip_packet), ipv4 ? 8 : 32);
  return checksum_combine(sum, to_big(static_cast<uint32_t>(length + protocol)));
}

void checksum_ipv4_header(uint8_t* packet, uint32_t header_length) noexcept {
  store<uint16_t>(packet + 10, 0);
  store(packet + 10, checksum_finish(add_portable(0, packet, header_length)));
}

void ip_mark_congestion(uint8_t* packet) noexcept {
  if ((ip_traffic_class(packet) & 0x03) == 0) return;
  if (packet[0] >> 4 == 6) {
    // The two ECN bits are the low two of the traffic class, whose low half is the high half of the second byte.
    packet[1] = static_cast<uint8_t>(packet[1] | 0x30);
    return;
  }
  const uint16_t before = load<uint16_t>(packet);
  packet[1] = static_cast<uint8_t>(packet[1] | 0x03);
  store(packet + 10, checksum_replace(load<uint16_t>(packet + 10), before, load<uint16_t>(packet)));
}

}  // namespace warren
