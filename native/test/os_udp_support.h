// Sending and collecting datagrams for the os_udp_*_test programs.
#pragma once

#include <arpa/inet.h>

#include <string>
#include <vector>

#include "os/udp_socket.h"
#include "os_test_support.h"

namespace warren::test {

using Bytes = std::vector<uint8_t>;

inline SocketAddress address4(const char* text, uint16_t port) {
  uint8_t bytes[4];
  CHECK(::inet_pton(AF_INET, text, bytes) == 1);
  return SocketAddress::from_ipv4(bytes, port);
}

inline SocketAddress address6(const char* text, uint16_t port, uint32_t scope = 0) {
  uint8_t bytes[16];
  CHECK(::inet_pton(AF_INET6, text, bytes) == 1);
  return SocketAddress::from_ipv6(bytes, port, scope);
}

inline std::string text_of(sa_family_t family, const uint8_t* bytes) {
  char text[INET6_ADDRSTRLEN];
  CHECK(::inet_ntop(family, bytes, text, sizeof text) != nullptr);
  return text;
}
inline std::string text_of(const SocketAddress& address) { return text_of(address.family(), address.bytes().data()); }
inline std::string text_of(const LocalSource& source) { return text_of(source.family, source.address); }

/** Bytes that differ from place to place and from seed to seed. */
inline Bytes pattern(std::size_t length, uint32_t seed) {
  Bytes bytes(length);
  uint32_t state = seed * 2654435761u + 1;
  for (uint8_t& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return bytes;
}

/** A run with the vectors that it borrows. */
struct OwnedRun {
  Bytes bytes;
  std::vector<iovec> vectors;
  SendRun run;

  OwnedRun(Bytes content, uint32_t segment_size, const SocketAddress& destination) : bytes(std::move(content)) {
    vectors.push_back({bytes.data(), bytes.size()});
    run.parts = vectors;
    run.segment_size = segment_size;
    run.destination = destination;
  }
  OwnedRun(const OwnedRun&) = delete;
  OwnedRun& operator=(const OwnedRun&) = delete;
};

inline SendReport send_one(UdpSockets& sockets, SendScratch& scratch, OwnedRun& owned) { return sockets.send(scratch, {&owned.run, 1}); }

struct Collected {
  /** In order of arrival. */
  std::vector<Bytes> datagrams;
  /** One entry for each received buffer, without its pointer. */
  std::vector<ReceivedRun> runs;
};

/** Receives until that many datagrams have come. */
inline Collected collect(UdpSockets& sockets, sa_family_t family, std::size_t datagrams, ReceiveBatch& batch, int line = __builtin_LINE()) {
  Collected collected;
  while (collected.datagrams.size() < datagrams) {
    await_ready(family == AF_INET6 ? sockets.fd6() : sockets.fd4(), POLLIN, line);
    const int got = sockets.receive(family, batch);
    CHECK(got >= 0);
    CHECK_EQ(static_cast<std::size_t>(got), batch.runs().size());
    for (ReceivedRun run : batch.runs()) {
      for_each_datagram(run, [&](uint8_t* data, uint32_t length) { collected.datagrams.emplace_back(data, data + length); });
      run.data = nullptr;
      collected.runs.push_back(run);
    }
  }
  CHECK_EQ(collected.datagrams.size(), datagrams);
  return collected;
}

/** The datagrams that a run consists of. */
inline std::vector<Bytes> cut(const Bytes& bytes, std::size_t segment) {
  std::vector<Bytes> cuts;
  for (std::size_t at = 0; at < bytes.size(); at += segment)
    cuts.emplace_back(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), at + segment)));
  return cuts;
}

}  // namespace warren::test
