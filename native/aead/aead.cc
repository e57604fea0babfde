// Choosing an AEAD tier, and proving it before it carries anything. See aead.h.

#include "aead/aead.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "aead/avx512_aead.h"
#include "aead/libcrypto.h"
#include "aead/openssl_evp.h"

namespace warren {
namespace {

// The text and key of RFC 8439 §2.8.2 under the nonce 00000000 ‖ 4041424344454647 and without additional data, which
// WireGuard does not have. The tags were computed with node:crypto and, the same, with @noble/ciphers.
constexpr char kText[] =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
constexpr uint32_t kTextLength = sizeof kText - 1;
constexpr uint64_t kCounter = 0x4746'4544'4342'4140;
constexpr uint8_t kTextTag[kAeadTagLength] = {0xfa, 0x67, 0x75, 0x57, 0x7a, 0x1a, 0x25, 0x0d,
                                              0xcc, 0x2d, 0xf3, 0x7e, 0x95, 0xe4, 0x6c, 0x4a};
constexpr uint8_t kEmptyTag[kAeadTagLength] = {0x5a, 0x70, 0x0f, 0x88, 0xe7, 0x87, 0xfe, 0x1c,
                                               0x1e, 0xf6, 0x64, 0xe6, 0x01, 0xba, 0x93, 0x5f};
/** Enough equal messages to fill the lanes of any multi-buffer tier. */
constexpr uint32_t kRun = 16;

struct Message {
  uint8_t bytes[kTextLength + kAeadTagLength];
};

bool self_test(Aead& aead) {
  uint8_t key[kAeadKeyLength];
  for (uint32_t i = 0; i < kAeadKeyLength; ++i) key[i] = static_cast<uint8_t>(0x80 + i);

  Message empty;
  SealJob keepalive{empty.bytes, 0, kCounter};
  aead.seal(key, {&keepalive, 1});
  if (std::memcmp(empty.bytes, kEmptyTag, kAeadTagLength) != 0) return false;

  Message run[kRun];
  SealJob seals[kRun];
  OpenJob opens[kRun];
  for (uint32_t i = 0; i < kRun; ++i) {
    std::memcpy(run[i].bytes, kText, kTextLength);
    seals[i] = SealJob{run[i].bytes, kTextLength, kCounter + i};
    opens[i] = OpenJob{run[i].bytes, kTextLength + kAeadTagLength, kCounter + i, false};
  }
  aead.seal(key, seals);
  // The tag covers the ciphertext, so it vouches for both.
  if (std::memcmp(run[0].bytes + kTextLength, kTextTag, kAeadTagLength) != 0) return false;
  run[kRun - 1].bytes[kTextLength / 2] ^= 1;
  run[kRun - 2].bytes[kTextLength] ^= 0x80;
  aead.open(key, opens);
  for (uint32_t i = 0; i < kRun - 2; ++i) {
    if (!opens[i].ok || std::memcmp(run[i].bytes, kText, kTextLength) != 0) return false;
  }
  return !opens[kRun - 1].ok && !opens[kRun - 2].ok;
}

}  // namespace

std::unique_ptr<Aead> make_aead(std::string_view tier) {
  if (tier == "avx512-ifma") return make_avx512_aead(make_openssl_evp());
  if (tier == "openssl-evp") return make_openssl_evp();
  return nullptr;
}

namespace {

/** A tier that computes wrongly on this machine is passed over, not used. */
std::string_view choose_tier() {
  const char* const asked = std::getenv("WARREN_AEAD");
  if (asked != nullptr && make_aead(asked) != nullptr) return asked;
  for (const char* tier : kAeadTiers) {
    const std::unique_ptr<Aead> aead = make_aead(tier);
    if (aead != nullptr && self_test(*aead)) return tier;
  }
  return {};
}

}  // namespace

std::unique_ptr<Aead> make_aead() {
  static const std::string chosen(choose_tier());
  return make_aead(chosen);
}

const char* aead_unavailable_reason() {
  if (libcrypto() == nullptr) return libcrypto_missing_reason();
  if (make_openssl_evp() == nullptr) {
    return "OpenSSL is here but has no ChaCha20-Poly1305 (a FIPS-only configuration leaves it out)";
  }
  return nullptr;
}

bool aead_self_test() {
  const std::unique_ptr<Aead> aead = make_aead();
  if (aead == nullptr || !self_test(*aead)) return false;
  aead->forget();
  return true;
}

}  // namespace warren
