// mac1 of handshake messages (WireGuard paper §5.4.4). See mac1.h.

#include "hash/mac1.h"

#include <cstring>
#include <span>

#include "hash/blake2s.h"
#include "hash/secure.h"

namespace warren {
namespace {

constexpr size_t kMacLength = 16;
/** mac1 and mac2 end every handshake message. */
constexpr size_t kMacsLength = 2 * kMacLength;
constexpr uint8_t kLabel[8] = {'m', 'a', 'c', '1', '-', '-', '-', '-'};

}  // namespace

Mac1Checker::~Mac1Checker() { secure_zero(key_, sizeof key_); }

void Mac1Checker::set_public_key(const uint8_t* public_key) noexcept {
  has_key_ = public_key != nullptr;
  if (!has_key_) {
    secure_zero(key_, sizeof key_);
    return;
  }
  Blake2s hash(sizeof key_);
  hash.update(kLabel);
  hash.update(std::span(public_key, 32));
  hash.finish(key_);
}

bool Mac1Checker::check(const uint8_t* message, size_t length) const noexcept {
  if (!has_key_ || length < kMacsLength) return false;
  uint8_t expected[kMacLength];
  compute(expected, message, length);
  return secure_equal(expected, message + length - kMacsLength, kMacLength);
}

void Mac1Checker::stamp(uint8_t* message, size_t length) const noexcept {
  uint8_t mac[kMacLength];
  compute(mac, message, length);
  std::memcpy(message + length - kMacsLength, mac, kMacLength);
}

void Mac1Checker::compute(uint8_t out[16], const uint8_t* message, size_t length) const noexcept {
  blake2s(std::span(out, kMacLength), key_, std::span(message, length - kMacsLength));
}

}  // namespace warren
