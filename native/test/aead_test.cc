// The AEAD tier against a plain reading of RFC 8439, and against OpenSSL called by its other door: every length
// 0…2,048, alignments, runs of messages, damage anywhere.

#include "aead/aead.h"

#include <dlfcn.h>

#include <algorithm>
#include <thread>

#include "check.h"
#include "reference_aead.h"

using namespace warren;
using namespace warren::test;

namespace {

std::array<uint8_t, 12> nonce_of(uint64_t counter) {
  std::array<uint8_t, 12> nonce{};
  for (int i = 0; i < 8; ++i) nonce[4 + i] = static_cast<uint8_t>(counter >> (8 * i));
  return nonce;
}

std::vector<uint8_t> expected(const uint8_t* key, uint64_t counter, std::span<const uint8_t> plaintext) {
  return reference_seal(key, nonce_of(counter).data(), plaintext);
}

std::unique_ptr<Aead> tier() {
  auto aead = make_aead();
  CHECK(aead != nullptr);
  return aead;
}

/** OpenSSL directly, as `openssl` itself would call it: a fresh context for each message. */
std::vector<uint8_t> openssl_seal(const uint8_t* key, uint64_t counter, std::span<const uint8_t> plaintext) {
  static void* const library = dlopen("libcrypto.so.3", RTLD_NOW);
  CHECK(library != nullptr);
  const auto find = [](const char* name) { return dlsym(library, name); };
  const auto make = reinterpret_cast<void* (*)()>(find("EVP_CIPHER_CTX_new"));
  const auto end = reinterpret_cast<void (*)(void*)>(find("EVP_CIPHER_CTX_free"));
  const auto cipher = reinterpret_cast<const void* (*)()>(find("EVP_chacha20_poly1305"));
  const auto init = reinterpret_cast<int (*)(void*, const void*, void*, const uint8_t*, const uint8_t*)>(
      find("EVP_EncryptInit_ex"));
  const auto update =
      reinterpret_cast<int (*)(void*, uint8_t*, int*, const uint8_t*, int)>(find("EVP_EncryptUpdate"));
  const auto final = reinterpret_cast<int (*)(void*, uint8_t*, int*)>(find("EVP_EncryptFinal_ex"));
  const auto control = reinterpret_cast<int (*)(void*, int, int, void*)>(find("EVP_CIPHER_CTX_ctrl"));
  std::vector<uint8_t> out(plaintext.size() + 16);
  uint8_t none[16];
  int written = 0;
  void* const context = make();
  CHECK_EQ(init(context, cipher(), nullptr, key, nonce_of(counter).data()), 1);
  CHECK_EQ(update(context, out.data(), &written, plaintext.data(), static_cast<int>(plaintext.size())), 1);
  CHECK_EQ(final(context, none, &written), 1);
  CHECK_EQ(control(context, 0x10, 16, out.data() + plaintext.size()), 1);
  end(context);
  return out;
}

}  // namespace

TEST("the reference itself gives RFC 8439 §2.8.2") {
  const auto key = from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
  const auto nonce = from_hex("070000004041424344454647");
  const auto aad = from_hex("50515253c0c1c2c3c4c5c6c7");
  const std::string text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be "
      "it.";
  const std::vector<uint8_t> plaintext(text.begin(), text.end());
  CHECK_EQ(reference_seal(key.data(), nonce.data(), plaintext, aad),
           from_hex("d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b"
                    "1a71de0a9e060b2905d6a5b67ecd3b36 92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc"
                    "3ff4def08e4b7a9de576d26586cec64b 6116 1ae10b594f09e26a7e902ecbd0600691"));
}

TEST("the reference's Poly1305 gives RFC 8439 §2.5.2 and the edge cases of appendix A.3") {
  const auto key = from_hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b");
  const std::string text = "Cryptographic Forum Research Group";
  CHECK_EQ(poly1305(key.data(), std::vector<uint8_t>(text.begin(), text.end())),
           from_hex("a8061dc1305136c6c22b8baf0c0127a9"));
  struct Vector {
    const char* key;
    const char* message;
    const char* tag;
  };
  // #7 … #11: sums that meet 2^130 − 5 and 2^128 from either side.
  const Vector vectors[] = {
      {"0200000000000000000000000000000000000000000000000000000000000000", "ffffffffffffffffffffffffffffffff",
       "03000000000000000000000000000000"},
      {"02000000000000000000000000000000ffffffffffffffffffffffffffffffff", "02000000000000000000000000000000",
       "03000000000000000000000000000000"},
      {"0100000000000000000000000000000000000000000000000000000000000000",
       "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff11000000000000000000000000000000",
       "05000000000000000000000000000000"},
      {"0100000000000000000000000000000000000000000000000000000000000000",
       "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe01010101010101010101010101010101",
       "00000000000000000000000000000000"},
      {"0200000000000000000000000000000000000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
       "faffffffffffffffffffffffffffffff"},
  };
  for (const Vector& v : vectors) CHECK_EQ(poly1305(from_hex(v.key).data(), from_hex(v.message)), from_hex(v.tag));
}

TEST("a tier is here, names itself and passes its own test") {
  CHECK(aead_unavailable_reason() == nullptr);
  CHECK(aead_self_test());
  CHECK(std::strlen(tier()->tier()) > 0);
}

TEST("seal and open agree with the reference and with OpenSSL for every length 0…2,048") {
  Random random(1);
  const auto aead = tier();
  for (uint32_t length = 0; length <= 2048; ++length) {
    const auto key = random.bytes(32);
    const uint64_t counter = random.next();
    const auto plaintext = random.bytes(length);
    std::vector<uint8_t> buffer = plaintext;
    buffer.resize(length + 16);
    SealJob seal{buffer.data(), length, counter};
    aead->seal(key.data(), {&seal, 1});
    CHECK_EQ(buffer, expected(key.data(), counter, plaintext));
    CHECK_EQ(buffer, openssl_seal(key.data(), counter, plaintext));
    OpenJob open{buffer.data(), length + 16, counter, false};
    aead->open(key.data(), {&open, 1});
    CHECK(open.ok);
    buffer.resize(length);
    CHECK_EQ(buffer, plaintext);
  }
}

TEST("every alignment works, and no byte outside the message changes") {
  Random random(2);
  const auto aead = tier();
  const auto key = random.bytes(32);
  for (uint32_t offset = 0; offset < 64; ++offset) {
    for (uint32_t length : {0u, 1u, 15u, 16u, 63u, 64u, 65u, 255u, 512u, 1420u}) {
      std::vector<uint8_t> around(offset + length + 16 + 64, 0xa5);
      const auto plaintext = random.bytes(length);
      std::copy(plaintext.begin(), plaintext.end(), around.begin() + offset);
      SealJob seal{around.data() + offset, length, offset};
      aead->seal(key.data(), {&seal, 1});
      CHECK_EQ(std::span(around).subspan(offset, length + 16), expected(key.data(), offset, plaintext));
      for (size_t i = 0; i < around.size(); ++i) CHECK((i >= offset && i < offset + length + 16) || around[i] == 0xa5);
      OpenJob open{around.data() + offset, length + 16, offset, false};
      aead->open(key.data(), {&open, 1});
      CHECK(open.ok);
      CHECK_EQ(std::span(around).subspan(offset, length), plaintext);
    }
  }
}

TEST("runs of 1…40 messages of equal and of mixed lengths come out as if one by one") {
  Random random(3);
  const auto aead = tier();
  for (uint32_t run = 1; run <= 40; ++run) {
    for (bool mixed : {false, true}) {
      const auto key = random.bytes(32);
      const uint32_t length = random.below(1500);
      const uint64_t first = random.next();
      std::vector<std::vector<uint8_t>> plaintexts;
      std::vector<std::vector<uint8_t>> buffers;
      for (uint32_t i = 0; i < run; ++i) {
        plaintexts.push_back(random.bytes(mixed ? random.below(1500) : length));
        buffers.push_back(plaintexts[i]);
        buffers[i].resize(plaintexts[i].size() + 16);
      }
      std::vector<SealJob> seals;
      std::vector<OpenJob> opens;
      for (uint32_t i = 0; i < run; ++i) {
        const auto size = static_cast<uint32_t>(plaintexts[i].size());
        seals.push_back({buffers[i].data(), size, first + i});
        opens.push_back({buffers[i].data(), size + 16, first + i, false});
      }
      aead->seal(key.data(), seals);
      for (uint32_t i = 0; i < run; ++i) CHECK_EQ(buffers[i], expected(key.data(), first + i, plaintexts[i]));
      const uint32_t damaged = random.below(run);
      buffers[damaged][random.below(static_cast<uint32_t>(buffers[damaged].size()))] ^= 1;
      aead->open(key.data(), opens);
      for (uint32_t i = 0; i < run; ++i) {
        CHECK_EQ(opens[i].ok, i != damaged);
        if (i != damaged) CHECK_EQ(std::span(buffers[i]).first(plaintexts[i].size()), plaintexts[i]);
      }
    }
  }
}

TEST("a flipped bit anywhere, another counter, another key or a cut message does not open") {
  Random random(4);
  const auto aead = tier();
  const auto key = random.bytes(32);
  const auto sealed = expected(key.data(), 7, random.bytes(96));
  const auto opens = [&](std::vector<uint8_t> message, uint64_t counter, const std::vector<uint8_t>& with) {
    OpenJob open{message.data(), static_cast<uint32_t>(message.size()), counter, true};
    aead->open(with.data(), {&open, 1});
    return open.ok;
  };
  CHECK(opens(sealed, 7, key));
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    auto message = sealed;
    message[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    CHECK(!opens(message, 7, key));
  }
  for (uint64_t counter : {uint64_t{0}, uint64_t{6}, uint64_t{8}, uint64_t{7} << 32 | 7}) CHECK(!opens(sealed, counter, key));
  for (size_t bit = 0; bit < 256; ++bit) {
    auto other = key;
    other[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    CHECK(!opens(sealed, 7, other));
  }
  for (size_t length = 0; length < sealed.size(); ++length) {
    CHECK(!opens(std::vector<uint8_t>(sealed.begin(), sealed.begin() + static_cast<ptrdiff_t>(length)), 7, key));
  }
  CHECK(opens(sealed, 7, key));
}

TEST("a batch of nothing but cut messages under a new key does not confuse the next one under that key") {
  Random random(6);
  const auto aead = tier();
  const auto key = random.bytes(32);
  auto sealed = expected(key.data(), 1, random.bytes(40));
  OpenJob cut{sealed.data(), 15, 1, true};
  aead->open(key.data(), {&cut, 1});
  CHECK(!cut.ok);
  aead->open(key.data(), {});
  aead->seal(key.data(), {});
  OpenJob whole{sealed.data(), static_cast<uint32_t>(sealed.size()), 1, false};
  aead->open(key.data(), {&whole, 1});
  CHECK(whole.ok);
}

TEST("keys may alternate, and forgetting them changes no result") {
  Random random(5);
  const auto aead = tier();
  const std::vector<uint8_t> keys[3] = {random.bytes(32), random.bytes(32), std::vector<uint8_t>(32)};
  for (uint32_t i = 0; i < 300; ++i) {
    const auto& key = keys[random.below(3)];
    const auto plaintext = random.bytes(random.below(200));
    std::vector<uint8_t> buffer = plaintext;
    buffer.resize(plaintext.size() + 16);
    SealJob seal{buffer.data(), static_cast<uint32_t>(plaintext.size()), i};
    aead->seal(key.data(), {&seal, 1});
    CHECK_EQ(buffer, expected(key.data(), i, plaintext));
    if (random.one_in(4)) aead->forget();
    OpenJob open{buffer.data(), static_cast<uint32_t>(buffer.size()), i, false};
    aead->open(key.data(), {&open, 1});
    CHECK(open.ok);
    if (random.one_in(4)) aead->forget();
  }
}

TEST("each thread has its own object, and they do not disturb one another") {
  constexpr int kThreads = 4;
  bool right[kThreads] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t, &right] {
      const auto aead = make_aead();
      const std::vector<uint8_t> key(32, static_cast<uint8_t>(t + 1));
      bool all = aead != nullptr;
      for (uint64_t i = 0; all && i < 200; ++i) {
        std::vector<uint8_t> buffer(300 + 16, static_cast<uint8_t>(i));
        const std::vector<uint8_t> plaintext(300, static_cast<uint8_t>(i));
        SealJob seal{buffer.data(), 300, i};
        aead->seal(key.data(), {&seal, 1});
        all = buffer == expected(key.data(), i, plaintext);
      }
      right[t] = all;
    });
  }
  for (auto& thread : threads) thread.join();
  for (bool one : right) CHECK(one);
}
