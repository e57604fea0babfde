// Finding libcrypto. See libcrypto.h.

#include "aead/libcrypto.h"

#include <dlfcn.h>

namespace warren {
namespace {

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool resolve(void* library, LibCrypto& crypto) {
  return find(library, "EVP_CIPHER_fetch", crypto.cipher_fetch) && find(library, "EVP_CIPHER_free", crypto.cipher_free) &&
         find(library, "EVP_CIPHER_CTX_new", crypto.context_new) &&
         find(library, "EVP_CIPHER_CTX_free", crypto.context_free) &&
         find(library, "EVP_CipherInit_ex", crypto.init) && find(library, "EVP_CipherUpdate", crypto.update) &&
         find(library, "EVP_CipherFinal_ex", crypto.final) && find(library, "EVP_CIPHER_CTX_ctrl", crypto.control);
}

struct Lookup {
  LibCrypto crypto{};
  const char* missing = nullptr;

  Lookup() {
    if (resolve(RTLD_DEFAULT, crypto)) return;
    // Never closed: contexts that come from it live as long as their threads.
    void* const library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      missing = "neither this process nor the system has OpenSSL 3 (libcrypto.so.3; on Debian: apt install libssl3)";
    } else if (!resolve(library, crypto)) {
      missing = "libcrypto.so.3 lacks functions that every OpenSSL 3 has";
    }
  }
};

const Lookup& lookup() {
  static const Lookup once;
  return once;
}

}  // namespace

const LibCrypto* libcrypto() { return lookup().missing == nullptr ? &lookup().crypto : nullptr; }

const char* libcrypto_missing_reason() { return lookup().missing; }

}  // namespace warren
