// Commands about the device and its peers (docs/dataplane.md; src/dataplane/dataplane.ts). Sessions: sessions.cc; what
// commands send: sending.cc.

#include "dataplane/plane.h"

#include <sys/random.h>

#include <mutex>
#include <utility>

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
      mtu_(options.mtu),
      relay_table_(random_seed(), random_seed()) {}

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
    if (peer.relay_user != kNoPeer) relay_table_.remove(peer.relay_user);
    peers_.give_back(slot);
  }
  // Nobody finds the slot any more: what is left needs no lock.
  drop_staged(slot, false, now);
  control_.remove_peer(slot);
}

void Plane::set_endpoint(uint32_t slot, const SocketAddress& endpoint) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  Peer& peer = peers_.at(slot);
  move_peer(peer, endpoint, LocalSource{});
  peer.roamed_told = false;
}

SocketAddress Plane::endpoint(uint32_t slot) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  return peers_.at(slot).endpoint;
}

void Plane::clear_source(uint32_t slot) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  stick_source(peers_.at(slot), LocalSource{});
}

void Plane::set_path_mtu(uint32_t slot, uint32_t mtu) noexcept {
  const Exclusive exclusive(*this);
  peers_.at(slot).path_mtu = mtu;
}

void Plane::set_relay(uint32_t relay, const SocketAddress& endpoint) noexcept {
  const Exclusive exclusive(*this);
  relays_[relay] = endpoint;
  relays_end_ = 0;
  for (uint32_t number = 1; number <= kRelaysMax; ++number) {
    if (relays_[number].family() != AF_UNSPEC) relays_end_ = number + 1;
  }
}

void Plane::set_relay_slot(uint32_t slot, const uint8_t* relay_slot, const RelayLimits& limits, double now) noexcept {
  const Exclusive exclusive(*this);
  Peer& peer = peers_.at(slot);
  const uint64_t name = relay_slot == nullptr ? 0 : load<uint64_t>(relay_slot);
  if (peer.relay_user != kNoPeer) {
    if (name == relay_table_.slot_of(peer.relay_user)) return relay_table_.change_limits(peer.relay_user, limits);
    relay_table_.remove(std::exchange(peer.relay_user, kNoPeer));
  }
  if (name == 0) return;
  const uint32_t holder = relay_table_.find(name);
  if (holder != RelayTable::kNone) {
    peers_.at(relay_table_.peer_of(holder)).relay_user = kNoPeer;
    relay_table_.remove(holder);
  }
  peer.relay_user = relay_table_.add(slot, name, limits, now);
  relay_table_.follow(peer.relay_user, peer.endpoint, peer.source);
}

bool Plane::insert_allowed_ip(uint32_t slot, Family family, const uint8_t* address, uint8_t length) noexcept {
  const Exclusive exclusive(*this);
  return allowed_ips_.insert(family, address, length, slot) != AllowedIps::kFull;
}

void Plane::remove_allowed_ip(uint32_t slot, Family family, const uint8_t* address, uint8_t length) noexcept {
  const Exclusive exclusive(*this);
  allowed_ips_.remove(family, address, length, slot);
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
