// ICMP errors: right bytes, and none where RFC 1122 §3.2.2 and RFC 4443 §2.4 (e) forbid them.

#include "packet/icmp.h"

#include <algorithm>

#include "check.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

Bytes answer(IcmpError error, const Bytes& packet, uint32_t mtu = 0) {
  Bytes out(kIcmpAnswerMax);
  out.resize(icmp_answer(error, packet, mtu, out.data()));
  return out;
}

FlowSpec flow(bool ipv6) {
  FlowSpec spec;
  spec.ipv6 = ipv6;
  spec.udp = true;
  if (ipv6) spec.source = {0x20, 0x01, 0x0d, 0xb8, 1}, spec.destination = {0x20, 0x01, 0x0d, 0xb8, 2};
  return spec;
}

void check_answer(const Bytes& out, const Bytes& packet, size_t most, uint8_t type, uint8_t code) {
  const size_t header = is_ipv4(packet) ? 20 : 40;
  const size_t quoted = std::min(packet.size(), most - header - 8);
  CHECK_EQ(out.size(), header + 8 + quoted);
  CHECK_EQ(out[header], type);
  CHECK_EQ(out[header + 1], code);
  CHECK_EQ(std::span(out).subspan(header + 8), std::span(packet).first(quoted));
  const auto body = std::span(out).subspan(header);
  if (is_ipv4(packet)) {
    CHECK_EQ(be16(out, 2), out.size());
    CHECK_EQ(naive_sum(std::span(out).first(20)), 0xffffu);
    CHECK_EQ(naive_sum(body), 0xffffu);
    CHECK_EQ(out[9], 1);
    CHECK(std::equal(out.begin() + 12, out.begin() + 16, packet.begin() + 16));
    CHECK(std::equal(out.begin() + 16, out.begin() + 20, packet.begin() + 12));
  } else {
    CHECK_EQ(be16(out, 4), out.size() - 40);
    CHECK_EQ(naive_sum(body, naive_pseudo(out, 58, body.size())), 0xffffu);
    CHECK_EQ(out[6], 58);
    CHECK(std::equal(out.begin() + 8, out.begin() + 24, packet.begin() + 24));
    CHECK(std::equal(out.begin() + 24, out.begin() + 40, packet.begin() + 8));
  }
}

}  // namespace

TEST("each error has its type and code, quotes what fits and carries right checksums") {
  for (size_t length : {0u, 1u, 7u, 500u, 547u, 549u, 1200u, 1300u}) {
    const Bytes four = build_packet(flow(false), Bytes(length, 9));
    const Bytes six = build_packet(flow(true), Bytes(length, 9));
    check_answer(answer(IcmpError::no_route, four), four, 576, 3, 1);
    check_answer(answer(IcmpError::address_unreachable, four), four, 576, 3, 1);
    check_answer(answer(IcmpError::prohibited, four), four, 576, 3, 13);
    check_answer(answer(IcmpError::too_big, four, 1400), four, 576, 3, 4);
    check_answer(answer(IcmpError::no_route, six), six, 1280, 1, 0);
    check_answer(answer(IcmpError::address_unreachable, six), six, 1280, 1, 3);
    check_answer(answer(IcmpError::prohibited, six), six, 1280, 1, 1);
    check_answer(answer(IcmpError::too_big, six, 1400), six, 1280, 2, 0);
  }
}

TEST("too big names the MTU; over IPv4 only to those who forbade fragmenting") {
  const Bytes four = build_packet(flow(false), Bytes(1400, 9));
  CHECK_EQ(be16(answer(IcmpError::too_big, four, 1380), 26), 1380u);
  CHECK_EQ(be32(answer(IcmpError::too_big, build_packet(flow(true), Bytes(1400, 9)), 1380), 44), 1380u);
  FlowSpec may_fragment = flow(false);
  may_fragment.dont_fragment = false;
  CHECK(answer(IcmpError::too_big, build_packet(may_fragment, Bytes(1400, 9)), 1380).empty());
}

TEST("padding behind the packet is not quoted") {
  const Bytes four = build_packet(flow(false), Bytes(10, 9));
  Bytes padded = four;
  padded.resize(four.size() + 6, 0xee);
  CHECK_EQ(answer(IcmpError::no_route, padded), answer(IcmpError::no_route, four));
}

TEST("ICMP errors are not answered, queries are") {
  Bytes four = build_packet(flow(false), Bytes(20, 0));
  four[9] = 1;
  for (int type = 0; type < 256; ++type) {
    four[20] = static_cast<uint8_t>(type);
    const bool query = type == 0 || type == 8 || (type >= 13 && type <= 18);
    CHECK_EQ(!answer(IcmpError::no_route, four).empty(), query);
  }
  Bytes six = build_packet(flow(true), Bytes(20, 0));
  six[6] = 58;
  for (int type = 0; type < 256; ++type) {
    six[40] = static_cast<uint8_t>(type);
    CHECK_EQ(!answer(IcmpError::no_route, six).empty(), type >= 128);
  }
}

TEST("groups, nobody and later fragments are not answered") {
  const auto silent = [](const Bytes& packet) { return answer(IcmpError::no_route, packet).empty(); };
  const Bytes four = build_packet(flow(false), Bytes(20, 0));
  const Bytes six = build_packet(flow(true), Bytes(20, 0));
  CHECK(!silent(four));
  CHECK(!silent(six));
  const auto with = [](Bytes packet, size_t at, std::initializer_list<uint8_t> bytes) {
    std::copy(bytes.begin(), bytes.end(), packet.begin() + static_cast<ptrdiff_t>(at));
    return packet;
  };
  CHECK(silent(with(four, 16, {224, 0, 0, 1})));
  CHECK(silent(with(four, 16, {255, 255, 255, 255})));
  CHECK(silent(with(four, 12, {239, 1, 1, 1})));
  CHECK(silent(with(four, 12, {0, 0, 0, 0})));
  CHECK(silent(with(four, 6, {0x00, 0x01})));
  CHECK(!silent(with(four, 6, {0x20, 0x00})));
  CHECK(silent(with(six, 24, {0xff, 0x02})));
  CHECK(silent(with(six, 8, {0xff, 0x02})));
  CHECK(silent(with(six, 8, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})));
  CHECK(silent({}));
  CHECK(silent(Bytes(four.begin(), four.end() - 1)));
}
