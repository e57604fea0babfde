// What a datagram is taken for, and mac1: classification fits the length, a stamped message passes, and one changed bit
// of it does not.

#include "check.h"
#include "hash/mac1.h"
#include "input.h"
#include "packet/message.h"

using namespace warren;

namespace {

void check_mac1(std::vector<uint8_t> message, const std::vector<uint8_t>& key, uint16_t at) {
  Mac1Checker checker;
  CHECK(!checker.check(message.data(), message.size()));
  checker.set_public_key(key.data());
  checker.check(message.data(), message.size());
  checker.stamp(message.data(), message.size());
  CHECK(checker.check(message.data(), message.size()));
  const size_t bit = at % (message.size() * 8);
  message[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  // mac2, the last 16 bytes, is not covered.
  CHECK_EQ(checker.check(message.data(), message.size()), bit / 8 >= message.size() - 16);
  checker.set_public_key(nullptr);
  CHECK(!checker.check(message.data(), message.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const uint16_t at = input.word();
  std::vector<uint8_t> key = input.bytes(32);
  key.resize(32);
  const std::vector<uint8_t> datagram = input.rest();
  switch (classify(datagram.data(), datagram.size())) {
    case MessageKind::initiation:
      CHECK_EQ(datagram.size(), kInitiationLength);
      check_mac1(datagram, key, at);
      break;
    case MessageKind::response:
      CHECK_EQ(datagram.size(), kResponseLength);
      check_mac1(datagram, key, at);
      break;
    case MessageKind::cookie: CHECK_EQ(datagram.size(), kCookieLength); break;
    case MessageKind::data: CHECK(datagram.size() >= kDataLengthMin); break;
    case MessageKind::stun: CHECK(datagram.size() >= 20); break;
    case MessageKind::bad_length: CHECK(datagram.size() >= 4 && datagram[0] >= 1 && datagram[0] <= 4); break;
    case MessageKind::unknown: break;
  }
  return 0;
}
