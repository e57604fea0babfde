// What the plane keeps per peer, small because there may be a hundred thousand: 176 bytes here and 128 in the shared
// record; keypairs and staged packets exist only while there are any. Leaves out prefixes (AllowedIps has them) and
// everything that TypeScript decides.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/keypair.h"
#include "dataplane/limits.h"
#include "dataplane/staging_pool.h"
#include "os/udp_socket.h"

namespace warren {

/** Which events wait for `poll`; bits in the order in which they are delivered. */
namespace pending {
inline constexpr uint8_t kKeypairConfirmed = 1;
inline constexpr uint8_t kRoamed = 2;
inline constexpr uint8_t kSessionWanted = 4;
inline constexpr uint8_t kAnswerOwed = 8;
inline constexpr uint8_t kAnswerAwaited = 16;
inline constexpr uint8_t kRekeyWanted = 32;
inline constexpr uint8_t kSendFailed = 64;
}  // namespace pending

/** Under the control queue's mutex. */
struct PeerNews {
  uint32_t previous = kNoPeer;
  uint32_t next = kNoPeer;
  uint32_t confirmed_index = 0;
  uint32_t send_errno = 0;
  /** Written with the peer's lock held as well. */
  SocketAddress roamed_to;
  uint8_t pending = 0;
  uint8_t rekey_reason = 0;
};

inline constexpr uint8_t kEveryNotification = 31;

struct Peer {
  // Under the peer's lock, or with the device lock held exclusively.
  Keypair* previous = nullptr;
  Keypair* current = nullptr;
  Keypair* next = nullptr;
  SocketAddress endpoint;
  LocalSource source;
  StagedQueue staged;
  /** Bits of Notify that may be raised. */
  uint8_t armed = kEveryNotification;
  /** The endpoint is a relayed one. Written with the peer's lock held; what is read without it is a guess (Plane::append). */
  std::atomic<bool> relayed{false};
  /** Of a peer that does not roam: `news.roamed_to` was told, and the peer was not at its endpoint since. */
  bool roamed_told = false;
  /** When that was told; 0 = never. */
  double roamed_at = 0;

  // Changed with the device lock held exclusively.
  bool in_use = false;
  bool roaming = false;
  /** Which peer of all that had this slot. */
  uint32_t generation = 0;
  /** First of the peer's expected indexes, a list through ExpectedIndex. */
  uint32_t expected = kNoPeer;
  /** 0 = no limit. */
  uint32_t path_mtu = 0;
  /** Of the relay table; kNoPeer: this plane does not relay for the peer. */
  uint32_t relay_user = kNoPeer;

  PeerNews news;
};
static_assert(sizeof(Peer) <= 176);

/** Peers by slot, in chunks that never move. A new peer gets the lowest free slot. */
class PeerTable {
 public:
  explicit PeerTable(uint32_t peers_max) : peers_max_(peers_max < kPeersMax ? peers_max : kPeersMax) {}

  Peer& at(uint32_t slot) noexcept { return (*chunks_[slot / kChunkPeers])[slot % kChunkPeers]; }
  bool exists(uint32_t slot) noexcept {
    return slot < peers_max_ && chunks_[slot / kChunkPeers] && at(slot).in_use;
  }

  /** kNoPeer when there are peers_max already. */
  uint32_t take() noexcept {
    uint32_t slot = lowest_free_;
    while (slot < peers_max_ && exists(slot)) ++slot;
    if (slot >= peers_max_) return kNoPeer;
    auto& chunk = chunks_[slot / kChunkPeers];
    if (!chunk) chunk = std::make_unique<Chunk>();
    Peer& peer = at(slot);
    const uint32_t generation = peer.generation + 1;
    std::destroy_at(&peer);
    std::construct_at(&peer);
    peer.generation = generation;
    peer.in_use = true;
    lowest_free_ = slot + 1;
    if (slot >= end_) end_ = slot + 1;
    return slot;
  }
  void give_back(uint32_t slot) noexcept {
    at(slot).in_use = false;
    ++at(slot).generation;
    if (slot < lowest_free_) lowest_free_ = slot;
  }
  /** One more than the highest slot ever used. */
  uint32_t end() const noexcept { return end_; }

 private:
  using Chunk = std::array<Peer, kChunkPeers>;
  std::array<std::unique_ptr<Chunk>, kChunksMax> chunks_;
  uint32_t peers_max_;
  uint32_t lowest_free_ = 0;
  uint32_t end_ = 0;
};

}  // namespace warren
