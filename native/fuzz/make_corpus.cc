// Writes the inputs that the fuzzers begin with: one or two well-formed cases for each branch, a few hundred bytes each.
// usage: make_corpus native/fuzz/corpus

#include <sys/stat.h>

#include <cstdio>
#include <string>

#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

std::string root;

void write(const std::string& target, const std::string& name, const Bytes& bytes) {
  mkdir((root + "/" + target).c_str(), 0777);
  std::FILE* const file = std::fopen((root + "/" + target + "/" + name).c_str(), "wb");
  CHECK(file != nullptr);
  CHECK_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
  std::fclose(file);
}

Bytes joined(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

void packets_of(const FlowSpec& spec, const std::string& name) {
  const Bytes payload(200, 0x5a);
  for (uint8_t how : {0, 3}) write("headers", name + (how == 0 ? "" : "-too-big"), joined({how}, build_packet(spec, payload)));
  Bytes super;
  const VirtioNetHeader header = build_super(spec, payload, 90, super);
  Bytes input = {header.flags, header.gso_type};
  for (uint16_t word : {header.header_length, header.gso_size, header.checksum_start, header.checksum_offset}) {
    input.push_back(static_cast<uint8_t>(word >> 8));
    input.push_back(static_cast<uint8_t>(word));
  }
  write("segmenter", name, joined(input, super));
  input[1] = kVirtioGsoNone;
  write("segmenter", name + "-checksum", joined(input, super));
}

void messages() {
  const Bytes key_and_position(34, 0x11);
  const size_t lengths[] = {0, 148, 92, 64, 96};
  for (uint8_t type = 1; type <= 4; ++type) {
    Bytes message(lengths[type], 0x22);
    std::fill_n(message.begin(), 4, uint8_t{0});
    message[0] = type;
    write("message", "type-" + std::to_string(type), joined(key_and_position, message));
  }
  write("message", "stun", joined(key_and_position, from_hex("000100002112a442000102030405060708090a0b")));
}

void batches() {
  // Per packet: kind, flow, what is off, and what that needs.
  write("coalescer", "one-flow", Bytes(30, 0));
  Bytes all;
  for (uint8_t flow = 0; flow < 8; ++flow) all = joined(all, {0, flow, 0, 0, flow, 0});
  write("coalescer", "eight-flows", joined(all, all));
  write("coalescer", "push-and-short", {0, 0, 0, 0, 0, 1, 0x18, 0, 0, 0, 0, 0x40, 0, 0, 30, 0, 0, 0});
  write("coalescer", "damaged", {0, 0, 0, 0, 0, 0x20, 0, 70, 1, 0, 0, 0, 0, 0, 0x40, 0, 8, 1, 0, 0, 0});
  write("coalescer", "arbitrary", joined({0, 0, 0, 7, 40}, joined(build_packet(FlowSpec{}, {}), {0, 0, 0})));
}

void pipelines() {
  // First whether to merge, then steps: what and for whom (low and high half), and what that needs.
  write("plane", "there-and-back", {0, 0x00, 20, 0x05, 0, 0, 0x10, 1, 0x05, 0, 0});
  write("plane", "super-packet-merged", {1, 0x02, 0, 0x03, 0xe7, 0x27, 0x10, 0x05, 0, 0, 0x02, 1, 0x03, 0xe7, 0x10, 0, 0x05, 0, 0});
  write("plane", "plaintexts", joined({0, 0x07, 10, 2, 0, 0, 0x17, 0, 0, 0, 0, 0x06, 48}, Bytes(52, 0x45)));
  write("plane", "frame-and-poll", {0, 0x06, 3, 0, 1, 2, 0, 0, 0x0a});
  write("plane", "mutated", {0, 0x08, 0, 4, 1, 255, 0, 0x08, 0, 0, 0, 255, 3});
  write("plane", "handshakes", {0, 0x09, 0, 9, 0, 0x0e, 10, 9, 0x09, 1, 9, 0, 0x09, 2, 9, 0, 0x0a});
  write("plane", "staged-and-flushed", {0, 0x0e, 2, 0x00, 30, 0x00, 31, 0x0e, 1, 0x0e, 4, 0x05, 0, 0, 0x0e, 2, 0x00, 3, 0x0e, 5});
  write("plane", "removed-and-back", {0, 0x1e, 0, 0x10, 9, 0x1e, 0x10, 9, 0x1e, 1, 0x1e, 6, 0x1e, 7, 5, 0x1e, 3, 0x1e, 8, 0x10, 1});
  // Relay 1 is set, peer 0 behind it: there and back; then users with slots 1 and 2 who send each other a run.
  write("plane", "by-a-relay", {0, 0x0d, 0x00, 0x0d, 0x41, 0x00, 20, 0x00, 20, 0x05, 0, 0, 0, 0x0c, 0x01, 1, 0, 1, 0, 1, 0});
  write("plane", "relayed", {0, 0x0d, 0x12, 0x1d, 0x22, 0x0c, 0x00, 2, 0, 2, 0, 2, 0, 0x1c, 0x02, 1, 0, 0x81, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2});
  write("plane", "path-mtu", {0, 0x0d, 0x04, 0x02, 0x64, 0x02, 0, 0x03, 0xe7, 0x27, 0x10, 0x00, 200, 0x0d, 0x05, 60, 0x0d, 0x0d, 60});
  Bytes rubbish = {0, 0x01, 60};
  rubbish = joined(rubbish, joined(build_packet(FlowSpec{}, Bytes(20, 1)), {0x04, 40, 4, 0, 0, 0, 0, 0x10}));
  write("plane", "rubbish", joined(rubbish, Bytes(40, 9)));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  root = argv[1];
  mkdir(root.c_str(), 0777);
  for (bool ipv6 : {false, true}) {
    for (bool udp : {false, true}) {
      FlowSpec spec;
      spec.ipv6 = ipv6;
      spec.udp = udp;
      spec.traffic_class = 2;
      packets_of(spec, std::string(udp ? "udp" : "tcp") + (ipv6 ? "6" : "4"));
    }
  }
  messages();
  batches();
  pipelines();
}
