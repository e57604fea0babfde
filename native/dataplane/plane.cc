// Commands about the device and its peers (docs/dataplane.md; src/dataplane/dataplane.ts). Sessions: sessions.cc; what
// commands send: sending.cc.

#include "dataplane/plane.h"

#include <sys/random.h>

#include <mutex>

namespace warren {

namespace {

/** Seeds of hash tables: with them nobody can choose keys that collide. */
uint64_t random_seed() noexcept {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = reinterpret_cast<uintptr_t>(&seed);
  return seed;
}

/** Up to three keypairs and a handshake each way. */
constexpr size_t kIndexesPerPeer = 8;

}  // namespace

Plane::Plane(const PlaneOptions& options, Waker& waker, Context& commands)
    : commands_(commands),
      peers_(options.peers_max),
      control_(peers_, waker, options.slab_slots, random_seed(), random_seed()),
      indexes_(size_t{options.peers_max} * kIndexesPerPeer, random_seed()),
      mtu_(options.mtu) {}

Plane::~Plane() = default;

void Plane::set_public_key(const uint8_t* key) noexcept {
  const Exclusive exclusive(*this);
  mac1_.set_public_key(key);
}

uint32_t Plane::add_peer(bool roaming) noexcept {
  const Exclusive exclusive(*this);
  const uint32_t slot = peers_.take();
  if (slot == kNoPeer) return kNoPeer;
  peers_.at(slot).roaming = roaming;
  records_.ensure(slot);
  records_.record(slot).clear();
  return slot;
}

void Plane::remove_peer(uint32_t slot, double now) noexcept {
  {
    const Exclusive exclusive(*this);
    Peer& peer = peers_.at(slot);
    clear_keypairs_locked(peer, slot);
    while (peer.expected != kNoPeer) {
      indexes_.erase(expected_[peer.expected].index);
      erase_expected(peer.expected);
    }
    allowed_ips_.remove_all(slot);
    peers_.give_back(slot);
  }
  // Nobody finds the slot any more: what is left needs no lock.
  drop_staged(slot, false, now);
  control_.remove_peer(slot);
}

void Plane::set_endpoint(uint32_t slot, const SocketAddress& endpoint) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  Peer& peer = peers_.at(slot);
  peer.endpoint = endpoint;
  peer.source = LocalSource{};
}

SocketAddress Plane::endpoint(uint32_t slot) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  return peers_.at(slot).endpoint;
}

void Plane::clear_source(uint32_t slot) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  peers_.at(slot).source = LocalSource{};
}

bool Plane::insert_allowed_ip(uint32_t slot, Family family, const uint8_t* address, uint8_t length) noexcept {
  const Exclusive exclusive(*this);
  return allowed_ips_.insert(family, address, length, slot) != AllowedIps::kFull;
}

void Plane::remove_allowed_ip(uint32_t slot, Family family, const uint8_t* address, uint8_t length) noexcept {
  const Exclusive exclusive(*this);
  allowed_ips_.remove(family, address, length, slot);
}

void Plane::set_relay(uint32_t, const SocketAddress&) noexcept {}
void Plane::set_path_mtu(uint32_t, uint32_t) noexcept {}
void Plane::set_relay_slot(uint32_t, const uint8_t*, const RelayLimits&, double) noexcept {}
FrameSent Plane::send_frame_to(uint32_t, std::span<const uint8_t>, const SocketAddress&, bool, double) noexcept {
  return FrameSent::failed;
}

void Plane::close(double now) noexcept {
  for (uint32_t slot = 0; slot < peers_.end(); ++slot) {
    if (peers_.exists(slot)) remove_peer(slot, now);
  }
  commands_.aead->forget();
  control_.wipe();
}

PlaneUsage Plane::usage() noexcept {
  const Exclusive exclusive(*this);
  return {keypairs_.size(), indexes_.size(), allowed_ips_.size(), staging_.blocks_used()};
}

void Plane::begin_batch(Context& ctx, double now) noexcept {
  ctx.now = now;
  lock_.lock_shared();
}

void Plane::end_batch(Context& ctx) noexcept {
  close_run(ctx);
  emit(ctx);
  lock_.unlock_shared();
  if (ctx.reap_wanted) {
    ctx.reap_wanted = false;
    const Exclusive exclusive(*this);
  }
  const uint64_t epoch = keys_epoch_.load(std::memory_order_relaxed);
  if (epoch != ctx.keys_epoch) {
    ctx.keys_epoch = epoch;
    ctx.aead->forget();
  }
  control_.wake_if_due(ctx.counters);
}

}  // namespace warren
