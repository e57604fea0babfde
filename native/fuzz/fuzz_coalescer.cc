// A batch of packets, most of them near-misses of one flow with right checksums and some of them arbitrary bytes: what
// the merged packets are cut into again is, within each flow and in order, what came in.

#include <map>
#include <string>

#include "check.h"
#include "input.h"
#include "packet/coalescer.h"
#include "packet/segmenter.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

/** A packet of one of a few flows; each field that merging looks at may be off. */
Bytes flow_packet(fuzz::Input& input, std::vector<FlowSpec>& flows) {
  const uint8_t which = input.byte();
  const uint8_t odd = input.byte();
  FlowSpec& flow = flows[which % flows.size()];
  const size_t length = (which & 0x40) != 0 ? input.word() % 1500 : 64;
  FlowSpec one = flow;
  if (odd & 0x01) one.flags = input.byte();
  if (odd & 0x02) one.traffic_class = input.byte();
  if (odd & 0x04) one.sequence += input.byte();
  if (odd & 0x08) one.identification = static_cast<uint16_t>(one.identification + input.byte());
  if (odd & 0x10) one.tcp_options = Bytes(4 * (input.byte() % 11), 1);
  Bytes packet = build_packet(one, Bytes(length, which));
  flow.sequence += static_cast<uint32_t>(length);
  ++flow.identification;
  if (odd & 0x20) packet[input.word() % packet.size()] ^= input.byte();
  if (odd & 0x40) {
    packet[input.word() % packet.size()] ^= input.byte();
    if (inner_length(packet.data(), packet.size()) == packet.size() && packet.size() >= ip_header_of(packet) + 20) {
      if (protocol_of(packet) == 6 || protocol_of(packet) == 17) finish_checksums(packet);
    }
  }
  return packet;
}

/** Where fragmenting is forbidden the identification says nothing, and merging may renumber it. */
Bytes without_identification(Bytes packet) {
  IpView view;
  if (!parse_ip(packet.data(), packet.size(), view) || view.version != 4 || !view.dont_fragment) return packet;
  put16(packet, 4, 0);
  put16(packet, 10, 0);
  return packet;
}

/** Addresses, protocol and ports, as far as they can be told; everything else shares one key, where order is not kept. */
std::string key_of(const Bytes& packet) {
  IpView view;
  if (!parse_ip(packet.data(), packet.size(), view)) return "";
  const size_t address = view.version == 4 ? 4 : 16;
  Bytes key(ip_source(packet.data()), ip_source(packet.data()) + 2 * address);
  key.push_back(view.protocol);
  if (packet.size() >= view.header_length + 4) key.insert(key.end(), packet.begin() + view.header_length, packet.begin() + view.header_length + 4);
  return to_hex(key);
}

using ByFlow = std::map<std::string, std::vector<Bytes>>;

void check_same(const std::vector<Bytes>& came, const std::vector<Bytes>& went) {
  CHECK_EQ(came.size(), went.size());
  ByFlow flows;
  for (const Bytes& packet : came) flows[key_of(packet)].push_back(without_identification(packet));
  std::map<std::string, size_t> at;
  for (const Bytes& packet : went) {
    const std::string key = key_of(packet);
    CHECK(at[key] < flows[key].size());
    CHECK_EQ(without_identification(packet), flows[key][at[key]++]);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Made once: its tables are larger than any input, and it is empty after each flush.
  static Coalescer coalescer({true, true, true});
  fuzz::Input input(data, size);
  std::vector<FlowSpec> flows(8);
  for (size_t i = 0; i < flows.size(); ++i) {
    flows[i].ipv6 = (i & 1) != 0;
    flows[i].udp = (i & 2) != 0;
    flows[i].dont_fragment = (i & 4) != 0;
    flows[i].source_port = static_cast<uint16_t>(1000 + i);
  }
  std::vector<Bytes> packets;
  while (!input.empty() && packets.size() < 300) {
    const bool arbitrary = (input.byte() & 7) == 7;
    packets.push_back(arbitrary ? input.bytes(input.byte()) : flow_packet(input, flows));
  }
  std::vector<Bytes> work = packets;
  for (Bytes& packet : work) CHECK(coalescer.add(packet.data(), static_cast<uint32_t>(packet.size())));

  std::vector<Bytes> out;
  coalescer.flush([&](const Coalescer::Write& write) {
    Bytes all;
    for (const iovec& piece : write.pieces) {
      const auto* const from = static_cast<const uint8_t*>(piece.iov_base);
      all.insert(all.end(), from, from + piece.iov_len);
    }
    CHECK_EQ(all.size(), write.bytes);
    VirtioNetHeader header;
    std::memcpy(&header, all.data(), sizeof header);
    const Bytes packet(all.begin() + sizeof header, all.end());
    if (write.packets == 1) {
      CHECK_EQ(header.gso_type, kVirtioGsoNone);
      CHECK_EQ(header.flags, 0);
      out.push_back(packet);
      return;
    }
    Segmenter segmenter;
    CHECK_EQ(segmenter.prepare(header, packet), write.packets);
    for (uint32_t i = 0; i < write.packets; ++i) {
      Bytes segment(segmenter.segment_length(i));
      segmenter.write(i, segment.data());
      out.push_back(std::move(segment));
    }
  });
  check_same(packets, out);
  return 0;
}
