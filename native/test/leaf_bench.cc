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

void bench_allowed_ips(Family family, uint32_t count, bool hosts) {
  Random random(1);
  const uint32_t bits = family == Family::ipv4 ? 32 : 128;
  std::vector<std::array<uint8_t, 16>> addresses(count);
  for (auto& address : addresses) random.fill(address);
  // A mesh: every address under one prefix.
  if (hosts && family == Family::ipv6) for (auto& address : addresses) std::fill_n(address.begin(), 8, uint8_t{0xfd});
  if (hosts && family == Family::ipv4) for (auto& address : addresses) address[0] = 10;
  AllowedIps table;
  const double insertion = best_ns(1, count, [&] {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t length = hosts ? bits : bits / 4 + i % (bits - bits / 4 + 1);
      table.insert(family, addresses[i].data(), static_cast<uint8_t>(length), i);
    }
  });
  std::vector<uint32_t> order(count);
  for (uint32_t& at : order) at = random.below(count);
  const double lookup = best_ns(5, count, [&] {
    uint64_t sum = 0;
    // The next address depends on the last answer: this is latency, not throughput.
    uint32_t previous = 0;
    for (uint32_t at : order) {
      const uint8_t* const address = addresses[at ^ (previous >> 31)].data();
      previous = family == Family::ipv4 ? table.lookup4(address) : table.lookup6(address);
      sum += previous;
    }
    sink = sum;
  });
  const double removal = best_ns(1, count, [&] {
    for (uint32_t i = 0; i < count; ++i) table.remove_all(i);
  });
  std::printf("allowed-ips %s, %u %s: insert %.0f ns, lookup %.0f ns, remove %.0f ns each, %.1f B per prefix\n",
              family == Family::ipv4 ? "IPv4" : "IPv6", count, hosts ? "mesh hosts" : "mixed lengths", insertion, lookup,
              removal, static_cast<double>(table.memory_bytes()) / count);
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
  for (Family family : {Family::ipv4, Family::ipv6}) {
    bench_allowed_ips(family, 100000, true);
    bench_allowed_ips(family, 100000, false);
  }
  bench_packets();
}
