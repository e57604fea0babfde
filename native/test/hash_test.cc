// BLAKE2s against RFC 7693 and against itself in pieces, and mac1 by its definition in the WireGuard paper §5.4.4.

#include <algorithm>

#include "check.h"
#include "hash/blake2s.h"
#include "hash/mac1.h"
#include "hash/secure.h"
#include "packet/message.h"

using namespace warren;
using namespace warren::test;

namespace {

std::vector<uint8_t> hash(size_t length, std::span<const uint8_t> key, std::span<const uint8_t> data) {
  std::vector<uint8_t> out(length);
  blake2s(out, key, data);
  return out;
}

/** The generator of RFC 7693 appendix E. */
std::vector<uint8_t> self_test_bytes(size_t length, uint32_t seed) {
  std::vector<uint8_t> out(length);
  uint32_t a = 0xdead4bad * seed;
  uint32_t b = 1;
  for (auto& byte : out) {
    const uint32_t t = a + b;
    a = b;
    b = t;
    byte = static_cast<uint8_t>(t >> 24);
  }
  return out;
}

}  // namespace

TEST("RFC 7693 appendix B: BLAKE2s-256 of abc") {
  const std::vector<uint8_t> abc = {'a', 'b', 'c'};
  CHECK_EQ(hash(32, {}, abc), from_hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
}

TEST("RFC 7693 appendix E: the grand hash over lengths and keys") {
  Blake2s grand(32);
  for (size_t out_length : {16u, 20u, 28u, 32u}) {
    for (size_t length : {0u, 3u, 64u, 65u, 255u, 1024u}) {
      const auto data = self_test_bytes(length, static_cast<uint32_t>(length));
      grand.update(hash(out_length, {}, data));
      const auto key = self_test_bytes(out_length, static_cast<uint32_t>(out_length));
      grand.update(hash(out_length, key, data));
    }
  }
  std::vector<uint8_t> out(32);
  grand.finish(out.data());
  CHECK_EQ(out, from_hex("6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe"));
}

TEST("keyed BLAKE2s-256: the reference implementation's first known answers") {
  std::vector<uint8_t> key(32);
  for (size_t i = 0; i < 32; ++i) key[i] = static_cast<uint8_t>(i);
  CHECK_EQ(hash(32, key, {}), from_hex("48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"));
  const std::vector<uint8_t> zero = {0};
  CHECK_EQ(hash(32, key, zero), from_hex("40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1"));
}

TEST("data in pieces of any size hashes as data in one") {
  Random random(1);
  for (int round = 0; round < 500; ++round) {
    const auto data = random.bytes(random.below(400));
    const auto key = random.bytes(random.below(33));
    const size_t length = 1 + random.below(32);
    Blake2s pieces(length, key);
    for (size_t at = 0; at < data.size();) {
      const size_t piece = std::min<size_t>(random.below(130), data.size() - at);
      pieces.update(std::span(data).subspan(at, piece));
      at += piece;
    }
    std::vector<uint8_t> out(length);
    pieces.finish(out.data());
    CHECK_EQ(out, hash(length, key, data));
  }
}

TEST("mac1 is MAC(HASH(\"mac1----\" || public key), message up to mac1)") {
  Random random(2);
  for (size_t length : {kInitiationLength, kResponseLength}) {
    const auto public_key = random.bytes(32);
    auto message = random.bytes(length);
    const std::string label = "mac1----";
    std::vector<uint8_t> labelled(label.begin(), label.end());
    labelled.insert(labelled.end(), public_key.begin(), public_key.end());
    const auto mac = hash(16, hash(32, {}, labelled), std::span(message).first(length - 32));
    std::copy(mac.begin(), mac.end(), message.end() - 32);

    Mac1Checker checker;
    CHECK(!checker.check(message.data(), length));
    checker.set_public_key(public_key.data());
    CHECK(checker.check(message.data(), length));
    // mac2 is not covered, everything else is.
    for (size_t at = 0; at < length; ++at) {
      message[at] ^= 0x10;
      CHECK_EQ(checker.check(message.data(), length), at >= length - 16);
      message[at] ^= 0x10;
    }
    const auto other = random.bytes(32);
    checker.set_public_key(other.data());
    CHECK(!checker.check(message.data(), length));
    checker.stamp(message.data(), length);
    CHECK(checker.check(message.data(), length));
    checker.set_public_key(nullptr);
    CHECK(!checker.check(message.data(), length));
    // Nor does a mac under the key that is left when there is none.
    checker.stamp(message.data(), length);
    CHECK(!checker.check(message.data(), length));
  }
}

TEST("messages shorter than their macs never pass mac1") {
  Mac1Checker checker;
  const std::vector<uint8_t> key(32, 1);
  checker.set_public_key(key.data());
  for (size_t length = 0; length < 32; ++length) {
    const std::vector<uint8_t> message(length);
    CHECK(!checker.check(message.data(), length));
  }
}

TEST("secrets are compared over their whole length and zeroed") {
  std::vector<uint8_t> a(48, 3);
  std::vector<uint8_t> b = a;
  CHECK(secure_equal(a.data(), b.data(), a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    b[i] ^= 0x80;
    CHECK(!secure_equal(a.data(), b.data(), a.size()));
    b[i] ^= 0x80;
  }
  secure_zero(a.data(), a.size());
  CHECK_EQ(a, std::vector<uint8_t>(48));
}

TEST("a datagram is known by its first word and its length") {
  const auto kind = [](std::vector<uint8_t> head, size_t length) {
    head.resize(std::max(head.size(), length));
    return static_cast<int>(classify(head.data(), length));
  };
  const auto is = [](MessageKind k) { return static_cast<int>(k); };
  CHECK_EQ(kind({1, 0, 0, 0}, 148), is(MessageKind::initiation));
  CHECK_EQ(kind({2, 0, 0, 0}, 92), is(MessageKind::response));
  CHECK_EQ(kind({3, 0, 0, 0}, 64), is(MessageKind::cookie));
  CHECK_EQ(kind({4, 0, 0, 0}, 32), is(MessageKind::data));
  CHECK_EQ(kind({4, 0, 0, 0}, 65535), is(MessageKind::data));
  for (uint8_t type : {1, 2, 3, 4}) {
    const size_t right[] = {0, 148, 92, 64, 32};
    CHECK_EQ(kind({type, 0, 0, 0}, right[type] - 1), is(MessageKind::bad_length));
    if (type != 4) CHECK_EQ(kind({type, 0, 0, 0}, right[type] + 1), is(MessageKind::bad_length));
    // Reserved bytes that are set: not WireGuard.
    CHECK_EQ(kind({type, 0, 0, 1}, right[type]), is(MessageKind::unknown));
    CHECK_EQ(kind({type, 1, 0, 0}, right[type]), is(MessageKind::unknown));
  }
  CHECK_EQ(kind({0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, 20), is(MessageKind::stun));
  CHECK_EQ(kind({0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, 19), is(MessageKind::unknown));
  CHECK_EQ(kind({0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x43}, 20), is(MessageKind::unknown));
  CHECK_EQ(kind({0x40, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, 20), is(MessageKind::unknown));
  for (size_t length = 0; length < 4; ++length) CHECK_EQ(kind({4, 0, 0, 0}, length), is(MessageKind::unknown));
}
