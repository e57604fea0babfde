// An arbitrary virtio header over arbitrary bytes: each segment fits its announced length to the byte, is an IP packet,
// and together they hold the payload exactly once.

#include "check.h"
#include "input.h"
#include "packet/segmenter.h"

using namespace warren;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  VirtioNetHeader header;
  header.flags = input.byte();
  header.gso_type = input.byte();
  header.header_length = input.word();
  header.gso_size = input.word();
  header.checksum_start = input.word();
  header.checksum_offset = input.word();
  const std::vector<uint8_t> packet = input.rest();
  const std::vector<uint8_t> before = packet;

  Segmenter segmenter;
  const uint32_t count = segmenter.prepare(header, packet);
  CHECK_EQ(segmenter.count(), count);
  size_t total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    std::vector<uint8_t> segment(segmenter.segment_length(i));
    segmenter.write(i, segment.data());
    CHECK_EQ(inner_length(segment.data(), segment.size()), segment.size());
    CHECK(i + 1 == count || segment.size() == segmenter.segment_length(0));
    CHECK(segment.size() <= segmenter.segment_length(0));
    total += segment.size();
  }
  if (count == 1) CHECK(total <= packet.size());
  if (count > 1) {
    CHECK(header.gso_size > 0);
    const size_t headers = segmenter.segment_length(0) - header.gso_size;
    CHECK_EQ(total - count * headers, packet.size() - headers);
  }
  CHECK_EQ(packet, before);
  return 0;
}
