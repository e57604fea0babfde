// The portable tier: OpenSSL's EVP ChaCha20-Poly1305, one message at a time. Each direction keeps one context, and sets
// the key again only when it changed.

#pragma once

#include <memory>

#include "aead/aead.h"

namespace warren {

/** Null when libcrypto or its cipher is missing. */
std::unique_ptr<Aead> make_openssl_evp();

}  // namespace warren
