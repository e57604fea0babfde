// Whom this plane forwards relayed datagrams for (docs/paths.md; docs/dataplane.md, "Relay"): users by slot and by endpoint, and what
// each may still send. One mutex guards all of it and is a leaf (locks.h); users themselves come and go with the device lock held
// exclusively, so a user found under the shared lock stays. An idle user costs about 250 bytes. Leaves out what a slot means.

#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "dataplane/limits.h"
#include "os/udp_socket.h"

namespace warren {

/** What one user may have forwarded: a token bucket of whole relayed datagrams, header included. */
struct RelayLimits {
  /** Infinity = no limit. */
  double bytes_per_second = 0;
  double burst_bytes = 0;
};

struct RelayUser {
  /** As it lies in the datagram; 0 = this entry is free. */
  uint64_t slot = 0;
  uint32_t peer = kNoPeer;
  /** Of this entry. */
  uint32_t number = 0;
  SocketAddress endpoint;
  LocalSource source;
  RelayLimits limits;
  /** In thousandths of a byte, so that whole milliseconds add up exactly. */
  double tokens = 0;
  double filled_at = 0;

  /** Takes the tokens of one datagram; false when there are too few. */
  bool take(uint32_t bytes, double now) noexcept;
};

class RelayTable {
 public:
  static constexpr uint32_t kNone = 0xffff'ffff;

  /** `seed0`, `seed1`: random, so that nobody can choose slots or endpoints that collide. */
  RelayTable(uint64_t seed0, uint64_t seed1);

  // — with the device lock held exclusively —
  /** A user number for the peer. The slot is free. */
  uint32_t add(uint32_t peer, uint64_t slot, const RelayLimits& limits, double now) noexcept;
  void remove(uint32_t user) noexcept;
  void change_limits(uint32_t user, const RelayLimits& limits) noexcept;
  uint64_t slot_of(uint32_t user) const noexcept { return users_[user].slot; }
  /** Who has the slot, or kNone. */
  uint32_t find(uint64_t slot) noexcept;
  uint32_t peer_of(uint32_t user) const noexcept { return users_[user].peer; }
  size_t size() const noexcept { return users_.size() - free_.size(); }

  // — any thread —
  /** The user's endpoint was set, or proved anew: what comes from there is the user's, whoever was there before. */
  void follow(uint32_t user, const SocketAddress& endpoint, const LocalSource& source) noexcept;
  /** Nothing was proved: only what is sent to the user leaves from another address of ours, or from whichever the kernel chooses. */
  void set_source(uint32_t user, const LocalSource& source) noexcept;

  // — any thread, with `mutex` held —
  std::mutex& mutex() noexcept { return mutex_; }
  /** Null when nobody is there. */
  RelayUser* at(const SocketAddress& endpoint) noexcept;
  RelayUser* with(uint64_t slot) noexcept;

 private:
  /** Address, scope, port and family: what makes two endpoints the same. */
  struct EndpointKey {
    uint64_t words[3];
    bool operator==(const EndpointKey&) const noexcept = default;
  };
  struct Hash {
    uint64_t seed0;
    uint64_t seed1;
    size_t operator()(uint64_t slot) const noexcept;
    size_t operator()(const EndpointKey& key) const noexcept;
  };
  static EndpointKey key_of(const SocketAddress& endpoint) noexcept;
  void forget_endpoint(uint32_t user) noexcept;

  std::mutex mutex_;
  /** Entries never move. */
  std::deque<RelayUser> users_;
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t, Hash> by_slot_;
  std::unordered_map<EndpointKey, uint32_t, Hash> by_endpoint_;
};

}  // namespace warren
