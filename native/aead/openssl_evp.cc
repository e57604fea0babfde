// OpenSSL's EVP ChaCha20-Poly1305 (RFC 8439). See openssl_evp.h.

#include "aead/openssl_evp.h"

#include <cstdlib>
#include <cstring>

#include "aead/libcrypto.h"
#include "hash/secure.h"
#include "packet/headers.h"

namespace warren {
namespace {

// EVP_CTRL_AEAD_GET_TAG and _SET_TAG of <openssl/evp.h>.
constexpr int kGetTag = 0x10;
constexpr int kSetTag = 0x11;
constexpr int kTagLength = static_cast<int>(kAeadTagLength);

/** One EVP context, for one direction, and the key that it holds. */
class Context {
 public:
  Context(const LibCrypto& crypto, const LibCrypto::Cipher* cipher, bool encrypt)
      : crypto_(crypto), handle_(crypto.context_new()), encrypt_(encrypt ? 1 : 0) {
    ready_ = handle_ != nullptr && crypto_.init(handle_, cipher, nullptr, kNothing, kNothing, encrypt_) == 1;
  }
  ~Context() {
    secure_zero(key_, sizeof key_);
    crypto_.context_free(handle_);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  bool ready() const noexcept { return ready_; }

  void forget() noexcept {
    secure_zero(key_, sizeof key_);
    fresh_key_ = false;
    crypto_.init(handle_, nullptr, nullptr, kNothing, kNothing, encrypt_);
  }

  void use_key(const uint8_t* key) noexcept {
    if (secure_equal(key_, key, sizeof key_)) return;
    std::memcpy(key_, key, sizeof key_);
    // Stays so until a message takes it into the context: a batch may hold none that gets that far.
    fresh_key_ = true;
  }

  bool begin(uint64_t counter) noexcept {
    uint8_t nonce[12] = {};
    store_le64(nonce + 4, counter);
    const bool ok = crypto_.init(handle_, nullptr, nullptr, fresh_key_ ? key_ : nullptr, nonce, encrypt_) == 1;
    if (ok) fresh_key_ = false;
    return ok;
  }

  bool run(uint8_t* data, uint32_t length) noexcept {
    int written = 0;
    return length == 0 || crypto_.update(handle_, data, &written, data, static_cast<int>(length)) == 1;
  }

  bool finish() noexcept {
    uint8_t nothing[kAeadTagLength];
    int written = 0;
    return crypto_.final(handle_, nothing, &written) == 1;
  }

  bool control(int type, uint8_t* tag) noexcept { return crypto_.control(handle_, type, kTagLength, tag) == 1; }

 private:
  static constexpr uint8_t kNothing[kAeadKeyLength] = {};

  const LibCrypto& crypto_;
  LibCrypto::CipherContext* const handle_;
  const int encrypt_;
  bool ready_ = false;
  bool fresh_key_ = false;
  // All zeros, which is what the context was made with.
  uint8_t key_[kAeadKeyLength] = {};
};

class OpensslEvp final : public Aead {
 public:
  OpensslEvp(const LibCrypto& crypto, const LibCrypto::Cipher* cipher)
      : sealing_(crypto, cipher, true), opening_(crypto, cipher, false) {}

  bool ready() const noexcept { return sealing_.ready() && opening_.ready(); }

  const char* tier() const noexcept override { return "openssl-evp"; }

  void seal(const uint8_t key[kAeadKeyLength], std::span<SealJob> jobs) noexcept override {
    sealing_.use_key(key);
    for (const SealJob& job : jobs) {
      const bool sealed = sealing_.begin(job.counter) && sealing_.run(job.data, job.length) && sealing_.finish() &&
                          sealing_.control(kGetTag, job.data + job.length);
      // Going on would send plaintext.
      if (!sealed) std::abort();
    }
  }

  void open(const uint8_t key[kAeadKeyLength], std::span<OpenJob> jobs) noexcept override {
    opening_.use_key(key);
    for (OpenJob& job : jobs) {
      if (job.length < kAeadTagLength) {
        job.ok = false;
        continue;
      }
      const uint32_t length = job.length - kAeadTagLength;
      job.ok = opening_.begin(job.counter) && opening_.control(kSetTag, job.data + length) &&
               opening_.run(job.data, length) && opening_.finish();
    }
  }

  void forget() noexcept override {
    sealing_.forget();
    opening_.forget();
  }

 private:
  Context sealing_;
  Context opening_;
};

}  // namespace

std::unique_ptr<Aead> make_openssl_evp() {
  const LibCrypto* const crypto = libcrypto();
  if (crypto == nullptr) return nullptr;
  // Fetched once and kept: fetching costs microseconds and a lock.
  static LibCrypto::Cipher* const cipher = crypto->cipher_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  if (cipher == nullptr) return nullptr;
  auto made = std::make_unique<OpensslEvp>(*crypto, cipher);
  if (!made->ready()) return nullptr;
  return made;
}

}  // namespace warren
