// Prints what the leaf modules cost: nanoseconds, best of several rounds, one thread. Not a test: machines differ.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "aead/aead.h"
#include "check.h"
#include "packet/checksum.h"
#include "packet/coalescer.h"
#include "packet/segmenter.h"
#include "packets.h"
#include "tables/allowed_ips.h"

using namespace warren;
using namespace warren::test;

namespace {

template <typename Body>
double best_ns(int rounds, uint32_t per_round, Body&& body) {
  double best = 1e18;
  for (int round = 0; round < rounds; ++round) {
    const auto from = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - from;
    best = std::min(best, took.count() / per_round);
  }
  return best;
}

volatile uint64_t sink;

void bench_aead() {
  const auto aead = make_aead();
  if (aead == nullptr) return void(std::printf("aead: %s\n", aead_unavailable_reason()));
  const uint8_t key[32] = {1};
  for (uint32_t length : {64u, 1420u}) {
    std::vector<std::vector<uint8_t>> buffers(45, std::vector<uint8_t>(length + 16));
    std::vector<SealJob> seals;
    std::vector<OpenJob> opens;
    for (uint32_t i = 0; i < 45; ++i) {
      seals.push_back({buffers[i].data(), length, i});
      opens.push_back({buffers[i].data(), length + 16, i, false});
    }
    double seal = 1e18;
    double open = 1e18;
    for (int round = 0; round < 300; ++round) {
      seal = std::min(seal, best_ns(1, 45, [&] { aead->seal(key, seals); }));
      open = std::min(open, best_ns(1, 45, [&] { aead->open(key, opens); }));
    }
    std::printf("aead %s, 45 x %u B: seal %.0f ns, open %.0f ns each\n", aead->tier(), length, seal, open);
  }
}

/** The i-th address of a table: computed, so that the bench itself waits for no memory. */
std::array<uint8_t, 16> address_of(uint32_t i, bool ipv6, bool mesh) {
  uint64_t z = (i + 1) * 0x9e37'79b9'7f4a'7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9ull;
  z ^= z >> 27;
  std::array<uint8_t, 16> address;
  std::memcpy(address.data(), &z, 8);
  std::memcpy(address.data() + 8, &z, 8);
  // A mesh: every address under one prefix.
  if (mesh && ipv6) std::fill_n(address.begin(), 8, uint8_t{0xfd});
  if (mesh && !ipv6) address[0] = 10;
  return address;
}

void bench_allowed_ips(bool ipv6, uint32_t count, bool mesh) {
  const Family family = ipv6 ? Family::ipv6 : Family::ipv4;
  const uint32_t bits = ipv6 ? 128 : 32;
  const double address = best_ns(50, 5000, [&] {
    uint32_t previous = 0;
    for (uint32_t i = 0; i < 5000; ++i) previous ^= load<uint32_t>(address_of(i ^ (previous >> 31), ipv6, mesh).data());
    sink = previous;
  });
  AllowedIps table;
  const double insertion = best_ns(1, count, [&] {
    for (uint32_t i = 0; i < count; ++i) {
      // 1/4, 2/4 … of the width: hosts, nets and the nets that hold them.
      const uint32_t length = mesh ? bits : bits / 4 + i % (bits - bits / 4 + 1);
      table.insert(family, address_of(i, ipv6, mesh).data(), static_cast<uint8_t>(length), i);
    }
  });
  uint32_t previous = 0;
  uint32_t at = 0;
  const auto look_up = [&](uint32_t range) {
    for (uint32_t i = 0; i < 5000; ++i) {
      // The next address depends on the last answer: this is latency, not throughput.
      at = (at + 7919 + (previous >> 31)) % range;
      const auto bytes = address_of(at, ipv6, mesh);
      previous = ipv6 ? table.lookup6(bytes.data()) : table.lookup4(bytes.data());
    }
  };
  // Few destinations are busy at a time; the other extreme is that each is as likely as any other.
  const double busy = best_ns(40, 5000, [&] { look_up(1000); });
  double best = 1e18;
  double mean = 0;
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    const double took = best_ns(1, 5000, [&] { look_up(count); });
    best = std::min(best, took);
    mean += took / kRounds;
  }
  sink = previous;
  const size_t bytes = table.memory_bytes();
  const double removal = best_ns(1, count, [&] {
    for (uint32_t i = 0; i < count; ++i) table.remove_all(i);
  });
  std::printf(
      "allowed-ips %s, %u %s: insert %.0f ns, lookup among 1,000 %.0f ns, among all best %.0f mean %.0f ns (%.0f of it the "
      "bench), remove %.0f ns; %.1f B per prefix\n",
      ipv6 ? "IPv6" : "IPv4", count, mesh ? "mesh hosts" : "of mixed lengths", insertion, busy, best, mean, address, removal,
      static_cast<double>(bytes) / count);
}

void bench_packets() {
  FlowSpec spec;
  std::vector<uint8_t> super;
  const VirtioNetHeader header = build_super(spec, std::vector<uint8_t>(45 * 1380, 7), 1380, super);
  Segmenter segmenter;
  segmenter.prepare(header, super);
  std::vector<std::vector<uint8_t>> segments(segmenter.count());
  for (uint32_t i = 0; i < segments.size(); ++i) segments[i].resize(segmenter.segment_length(i));
  const auto count = static_cast<uint32_t>(segments.size());
  const double cut = best_ns(300, count, [&] {
    segmenter.prepare(header, super);
    for (uint32_t i = 0; i < count; ++i) segmenter.write(i, segments[i].data());
  });
  std::printf("segmenter, 45 x %u B: %.0f ns each\n", segmenter.segment_length(0), cut);

  Coalescer coalescer({true, true, true});
  const auto originals = segments;
  double merge = 1e18;
  for (int round = 0; round < 300; ++round) {
    for (uint32_t i = 0; i < count; ++i) std::copy(originals[i].begin(), originals[i].end(), segments[i].begin());
    merge = std::min(merge, best_ns(1, count, [&] {
      for (auto& segment : segments) coalescer.add(segment.data(), static_cast<uint32_t>(segment.size()));
      coalescer.flush([&](const Coalescer::Write& write) { sink = sink + write.bytes; });
    }));
  }
  std::printf("coalescer, 45 x %u B in one flow: %.0f ns each\n", segmenter.segment_length(0), merge);

  std::vector<std::vector<uint8_t>> small(45, build_udp(spec, std::vector<uint8_t>(36, 1)));
  for (uint32_t i = 0; i < small.size(); ++i) small[i][21] = static_cast<uint8_t>(i);
  Coalescer no_udp({true, true, false});
  for (auto* with : {&no_udp, &coalescer}) {
    const double pass = best_ns(300, count, [&] {
      for (auto& packet : small) with->add(packet.data(), static_cast<uint32_t>(packet.size()));
      with->flush([&](const Coalescer::Write& write) { sink = sink + write.bytes; });
    });
    std::printf("coalescer, 45 x 64 B UDP in 45 flows, USO %s: %.0f ns each\n", with == &no_udp ? "off" : "on", pass);
  }

  std::vector<uint8_t> bytes(1420, 3);
  const double sum = best_ns(200, 100, [&] {
    for (int i = 0; i < 100; ++i) sink = checksum_add(sink, bytes.data(), bytes.size());
  });
  const double portable = best_ns(200, 100, [&] {
    for (int i = 0; i < 100; ++i) sink = checksum_add_portable(sink, bytes.data(), bytes.size());
  });
  std::printf("checksum of 1420 B: %.0f ns, portable %.0f ns\n", sum, portable);
}

}  // namespace

int main() {
  bench_aead();
  for (bool ipv6 : {false, true}) {
    for (bool mesh : {true, false}) bench_allowed_ips(ipv6, 100000, mesh);
  }
  bench_packets();
}
