// Every AEAD tier that this machine has against the plain reading of RFC 8439: all lengths 0…2,048, runs of 1…40 messages (more than
// any kernel's lanes), every alignment, mixed lengths, damaged messages among good ones. A tier that is missing here is named.

#include <cstdio>

#include "aead/aead.h"
#include "check.h"
#include "reference_aead.h"

using namespace warren;
using namespace warren::test;

namespace {

constexpr uint32_t kRunMax = 40;

struct Batch {
  std::vector<std::vector<uint8_t>> plaintexts;
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<uint8_t*> data;
  std::vector<uint64_t> counters;
};

std::vector<uint8_t> reference(const std::vector<uint8_t>& key, uint64_t counter, const std::vector<uint8_t>& plaintext) {
  uint8_t nonce[12] = {};
  for (int i = 0; i < 8; ++i) nonce[4 + i] = static_cast<uint8_t>(counter >> (8 * i));
  return reference_seal(key.data(), nonce, plaintext);
}

/** `lengths`: of each message. Half of the contents are extreme bytes, which is where carries go wrong. */
Batch make_batch(Random& random, const std::vector<uint32_t>& lengths) {
  Batch batch;
  for (const uint32_t length : lengths) {
    std::vector<uint8_t> plaintext = random.bytes(length);
    if (random.next() % 2 == 0) {
      for (uint8_t& byte : plaintext) byte = random.next() % 8 == 0 ? 0 : 0xff;
    }
    const uint32_t offset = static_cast<uint32_t>(random.next() % 64);
    std::vector<uint8_t> buffer(offset + length + kAeadTagLength);
    std::copy(plaintext.begin(), plaintext.end(), buffer.begin() + offset);
    batch.plaintexts.push_back(std::move(plaintext));
    batch.buffers.push_back(std::move(buffer));
    batch.data.push_back(batch.buffers.back().data() + offset);
    batch.counters.push_back(random.next() >> (random.next() % 64));
  }
  return batch;
}

/** Seals and compares, damages some, opens and compares. */
void check_batch(Aead& aead, Random& random, const std::vector<uint32_t>& lengths) {
  const std::vector<uint8_t> key = random.bytes(32);
  Batch batch = make_batch(random, lengths);
  std::vector<SealJob> seals;
  std::vector<OpenJob> opens;
  for (size_t i = 0; i < lengths.size(); ++i) seals.push_back({batch.data[i], lengths[i], batch.counters[i]});
  aead.seal(key.data(), seals);
  std::vector<bool> damaged(lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    const uint32_t whole = lengths[i] + kAeadTagLength;
    const std::vector<uint8_t> sealed(batch.data[i], batch.data[i] + whole);
    CHECK_EQ(sealed, reference(key, batch.counters[i], batch.plaintexts[i]));
    damaged[i] = random.next() % 4 == 0;
    if (damaged[i]) batch.data[i][random.next() % whole] ^= static_cast<uint8_t>(1u << (random.next() % 8));
    opens.push_back({batch.data[i], whole, batch.counters[i], random.next() % 2 == 0});
  }
  aead.open(key.data(), opens);
  for (size_t i = 0; i < lengths.size(); ++i) {
    CHECK_EQ(opens[i].ok, !damaged[i]);
    if (damaged[i]) continue;
    CHECK_EQ(std::vector<uint8_t>(batch.data[i], batch.data[i] + lengths[i]), batch.plaintexts[i]);
  }
}

template <typename Use>
void for_each_tier(const Use& use) {
  for (const char* name : kAeadTiers) {
    const auto aead = make_aead(name);
    if (aead == nullptr) {
      std::printf("tier %s: not on this machine\n", name);
      continue;
    }
    CHECK_EQ(std::string(aead->tier()), std::string(name));
    use(*aead);
  }
}

}  // namespace

TEST("every tier agrees with RFC 8439 for every length 0…2,048 in runs of any size") {
  for_each_tier([](Aead& aead) {
    Random random(11);
    for (uint32_t length = 0; length <= 2048; ++length) {
      check_batch(aead, random, std::vector<uint32_t>(1 + random.next() % (length % 16 == 0 ? kRunMax : 5), length));
    }
  });
}

TEST("every tier agrees with RFC 8439 for every number of lanes, at lengths around the blocks' edges") {
  for_each_tier([](Aead& aead) {
    Random random(12);
    for (const uint32_t length : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 96u, 127u, 128u, 129u, 1420u, 1424u}) {
      for (uint32_t lanes = 1; lanes <= 17; ++lanes) check_batch(aead, random, std::vector<uint32_t>(lanes, length));
    }
  });
}

TEST("every tier takes mixed lengths in one call") {
  for_each_tier([](Aead& aead) {
    Random random(13);
    for (int round = 0; round < 100; ++round) {
      std::vector<uint32_t> lengths;
      while (lengths.size() < kRunMax) {
        const auto length = static_cast<uint32_t>(random.next() % 600);
        lengths.insert(lengths.end(), 1 + random.next() % 20, length);
      }
      check_batch(aead, random, lengths);
    }
  });
}

TEST("every tier refuses what is shorter than a tag") {
  for_each_tier([](Aead& aead) {
    uint8_t bytes[kAeadTagLength] = {};
    std::vector<OpenJob> opens(20, OpenJob{bytes, kAeadTagLength - 1, 0, true});
    const uint8_t key[kAeadKeyLength] = {};
    aead.open(key, opens);
    for (const OpenJob& job : opens) CHECK(!job.ok);
  });
}
