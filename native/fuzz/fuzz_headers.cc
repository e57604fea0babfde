// Inner length, IP and TCP headers, the congestion mark, the clamped MSS and ICMP answers out of arbitrary bytes: nothing is read or
// written outside the packet, and what they say about it fits it.

#include <algorithm>

#include "check.h"
#include "input.h"
#include "packet/checksum.h"
#include "packet/headers.h"
#include "packet/icmp.h"
#include "packet/path_mtu.h"

using namespace warren;

namespace {

void check_answer(const std::vector<uint8_t>& packet, IcmpError error, uint32_t mtu) {
  std::vector<uint8_t> out(kIcmpAnswerMax);
  const size_t length = icmp_answer(error, packet, mtu, out.data());
  if (length == 0) return;
  CHECK(length <= kIcmpAnswerMax);
  CHECK_EQ(inner_length(out.data(), length), length);
  CHECK_EQ(out[0] >> 4, packet[0] >> 4);
  const size_t address = out[0] >> 4 == 4 ? 4 : 16;
  CHECK(std::equal(ip_source(out.data()), ip_source(out.data()) + address, ip_destination(packet.data())));
  CHECK(std::equal(ip_destination(out.data()), ip_destination(out.data()) + address, ip_source(packet.data())));
  // An error is never answered: whatever it is about, two of us do not talk for ever.
  CHECK_EQ(icmp_answer(IcmpError::no_route, std::span(out).first(length), 0, std::vector<uint8_t>(kIcmpAnswerMax).data()),
           size_t{0});
}

/** The sum over TCP, its pseudo header and its length stays, and no more than an MSS and the checksum change. */
void check_clamp(const std::vector<uint8_t>& packet, const IpView& view, uint32_t path_mtu) {
  std::vector<uint8_t> clamped = packet;
  clamp_mss(clamped.data(), view.total_length, path_mtu);
  size_t changed = 0;
  for (size_t i = 0; i < packet.size(); ++i) changed += packet[i] != clamped[i] ? 1 : 0;
  CHECK(changed <= 4);
  if (changed == 0) return;
  CHECK(!view.fragment && view.protocol == kProtocolTcp);
  const size_t tcp = view.header_length;
  const auto sum = [&](const std::vector<uint8_t>& bytes) {
    return checksum_fold(checksum_add(0, bytes.data() + tcp, view.total_length - tcp));
  };
  const uint16_t before = sum(packet);
  const uint16_t after = sum(clamped);
  // Both are zero to ones' complement.
  CHECK(before == after || (before % 0xffff == 0 && after % 0xffff == 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const uint8_t how = input.byte();
  std::vector<uint8_t> packet = input.rest();
  const uint32_t length = inner_length(packet.data(), packet.size());
  IpView view;
  CHECK_EQ(parse_ip(packet.data(), packet.size(), view), length != 0);
  check_answer(packet, static_cast<IcmpError>(how & 3), how * 7u);
  if (length == 0) return 0;

  CHECK(length <= packet.size());
  CHECK_EQ(view.total_length, length);
  CHECK(view.header_length >= 20 && view.header_length <= length);
  const uint32_t payload = length - view.header_length;
  const uint32_t tcp = tcp_header_length(packet.data() + view.header_length, payload);
  CHECK(tcp == 0 || (tcp >= 20 && tcp <= payload));
  check_clamp(packet, view, 1 + how * 8u);
  const uint64_t pseudo = checksum_pseudo(packet.data(), view.protocol, payload);
  CHECK_EQ(checksum_fold(checksum_add(pseudo, packet.data(), length)),
           checksum_fold(checksum_add_portable(pseudo, packet.data(), length)));

  // The mark changes the ECN bits of ECN-capable packets only, and keeps a right header checksum right.
  const bool ipv4 = view.version == 4;
  if (ipv4) checksum_ipv4_header(packet.data(), view.header_length);
  const uint8_t before = ip_traffic_class(packet.data());
  ip_mark_congestion(packet.data());
  CHECK_EQ(ip_traffic_class(packet.data()), (before & 3) == 0 ? before : before | 3);
  if (ipv4) CHECK_EQ(checksum_fold(checksum_add(0, packet.data(), view.header_length)), 0xffff);
  return 0;
}
