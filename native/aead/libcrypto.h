// OpenSSL's libcrypto, found at run time: the one that the process has already (node exports its own), else
// libcrypto.so.3. So the addon links to no libcrypto and building it needs no OpenSSL headers.

#pragma once

#include <cstddef>

namespace warren {

/** The handful of libcrypto 3 functions in use, as OpenSSL's manual declares them; the types stay opaque. */
struct LibCrypto {
  struct Cipher;
  struct CipherContext;
  struct LibraryContext;
  struct Engine;

  Cipher* (*cipher_fetch)(LibraryContext*, const char* algorithm, const char* properties);
  void (*cipher_free)(Cipher*);
  CipherContext* (*context_new)();
  void (*context_free)(CipherContext*);
  int (*init)(CipherContext*, const Cipher*, Engine*, const unsigned char* key, const unsigned char* iv, int encrypt);
  int (*update)(CipherContext*, unsigned char* out, int* out_length, const unsigned char* in, int in_length);
  int (*final)(CipherContext*, unsigned char* out, int* out_length);
  int (*control)(CipherContext*, int type, int argument, void* pointer);
};

/** Looked up once; null when there is none: then `libcrypto_missing_reason` is a sentence for a person. */
const LibCrypto* libcrypto();
const char* libcrypto_missing_reason();

}  // namespace warren
