// Commands about sessions: indexes, previous/current/next, staged packets and notifications (docs/dataplane.md, "Keypairs",
// "Events", "Removal"; paper §6).

#include <mutex>
#include <utility>

#include "dataplane/plane.h"

namespace warren {

bool Plane::expect_index(uint32_t index, uint32_t slot) noexcept {
  const Exclusive exclusive(*this);
  if (expected_free_.empty()) {
    expected_free_.push_back(static_cast<uint32_t>(expected_.size()));
    expected_.emplace_back();
  }
  const uint32_t id = expected_free_.back();
  if (!indexes_.insert(index, id | kExpectedBit)) return false;
  expected_free_.pop_back();
  Peer& peer = peers_.at(slot);
  expected_[id] = ExpectedIndex{index, slot, kNoPeer, peer.expected};
  if (peer.expected != kNoPeer) expected_[peer.expected].previous = id;
  peer.expected = id;
  return true;
}

/** Forgets the entry; what the index table says is the caller's. */
void Plane::erase_expected(uint32_t id) noexcept {
  const ExpectedIndex entry = expected_[id];
  (entry.previous == kNoPeer ? peers_.at(entry.peer).expected : expected_[entry.previous].next) = entry.next;
  if (entry.next != kNoPeer) expected_[entry.next].previous = entry.previous;
  expected_free_.push_back(id);
}

void Plane::forget_index(uint32_t index) noexcept {
  const Exclusive exclusive(*this);
  const uint32_t value = indexes_.find(index);
  if (value == IndexTable::kNone || (value & kExpectedBit) == 0) return;
  indexes_.erase(index);
  erase_expected(value & ~kExpectedBit);
}

bool Plane::install_keypair(uint32_t slot, const KeypairConfig& config) noexcept {
  const Exclusive exclusive(*this);
  const uint32_t value = indexes_.find(config.local_index);
  if (value != IndexTable::kNone) {
    if ((value & kExpectedBit) == 0 || expected_[value & ~kExpectedBit].peer != slot) return false;
    indexes_.erase(config.local_index);
    erase_expected(value & ~kExpectedBit);
  }
  Keypair* keypair = keypairs_.create(slot, config);
  indexes_.insert(config.local_index, keypair->id);

  Peer& peer = peers_.at(slot);
  destroy_keypair(std::exchange(peer.previous, nullptr));
  if (!config.initiator) {
    destroy_keypair(std::exchange(peer.next, keypair));
  } else if (peer.next != nullptr) {
    // The other side has begun a session too and may be sending with it already.
    peer.previous = std::exchange(peer.next, nullptr);
    destroy_keypair(std::exchange(peer.current, keypair));
  } else {
    peer.previous = std::exchange(peer.current, keypair);
  }
  show_send_counter(peer, slot);

  peer.armed |= notify::kRekeyOnSend | notify::kRekeyOnReceive;
  if (control_.withdraw(slot, pending::kSessionWanted)) peer.armed |= notify::kSessionWanted;
  return true;
}

void Plane::destroy_keypair(Keypair* keypair) noexcept {
  if (keypair == nullptr) return;
  indexes_.erase(keypair->local_index);
  keypairs_.destroy(keypair);
  keys_epoch_.fetch_add(1, std::memory_order_relaxed);
}

void Plane::show_send_counter(const Peer& peer, uint32_t slot) noexcept {
  const double counter = peer.current == nullptr ? 0 : static_cast<double>(peer.current->send_counter);
  records_.record(slot).set(RecordField::send_counter, counter);
}

void Plane::clear_keypairs(uint32_t slot) noexcept {
  {
    const Exclusive exclusive(*this);
    clear_keypairs_locked(peers_.at(slot), slot);
  }
  commands_.aead->forget();
}

void Plane::clear_keypairs_locked(Peer& peer, uint32_t slot) noexcept {
  destroy_keypair(std::exchange(peer.previous, nullptr));
  destroy_keypair(std::exchange(peer.current, nullptr));
  destroy_keypair(std::exchange(peer.next, nullptr));
  show_send_counter(peer, slot);
}

/** A worker displaced it, under the peer's lock: others may be opening with it in this very batch. */
void Plane::retire(Context& ctx, Keypair* keypair) noexcept {
  if (keypair == nullptr) return;
  keypair->retired.store(true, std::memory_order_relaxed);
  const std::lock_guard lock(retired_mutex_);
  retired_.push_back(keypair);
  ctx.reap_wanted = true;
}

void Plane::reap_locked() noexcept {
  const std::lock_guard lock(retired_mutex_);
  for (Keypair* keypair : retired_) destroy_keypair(keypair);
  retired_.clear();
}

void Plane::expire_sending(uint32_t slot) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  Peer& peer = peers_.at(slot);
  if (peer.current != nullptr) peer.current->receive_only = true;
  if (peer.next != nullptr) peer.next->receive_only = true;
}

bool Plane::can_send(uint32_t slot, double now) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  const Peer& peer = peers_.at(slot);
  Way way;
  return way_to(peer.endpoint, way) && peer.current != nullptr && peer.current->may_send(now);
}

uint32_t Plane::flush_staged(uint32_t slot, double now) noexcept {
  uint32_t sent = 0;
  {
    const std::lock_guard lock(peer_locks_.of(slot));
    sent = flush_staged_locked(commands_, peers_.at(slot), slot, now);
  }
  control_.wake_if_due(commands_.counters);
  return sent;
}

uint32_t Plane::drop_staged(uint32_t slot, bool tell_senders, double now) noexcept {
  const std::lock_guard lock(peer_locks_.of(slot));
  Peer& peer = peers_.at(slot);
  const uint32_t count = peer.staged.count;
  while (peer.staged.count > 0) {
    if (!tell_senders) {
      staging_.drop(peer.staged);
      continue;
    }
    const uint32_t length = staging_.front_length(peer.staged);
    staging_.pop(peer.staged, commands_.flush_arena.get());
    unreachable(commands_, IcmpError::address_unreachable, {commands_.flush_arena.get(), length}, now);
  }
  records_.record(slot).set(RecordField::staged, 0);
  commands_.counters.add(Drop::outStagedFlushed, count);
  return count;
}

void Plane::rearm(uint32_t slot, uint8_t notifications, double now) noexcept {
  {
    const std::lock_guard lock(peer_locks_.of(slot));
    Peer& peer = peers_.at(slot);
    const Record record = records_.record(slot);
    peer.armed |= notifications & kEveryNotification;
    if ((notifications & notify::kSessionWanted) != 0 && peer.staged.count > 0 &&
        (peer.current == nullptr || !peer.current->may_send(now))) {
      notify(peer, slot, notify::kSessionWanted, pending::kSessionWanted);
    }
    if ((notifications & notify::kAnswerOwed) != 0 && record.get(RecordField::answer_owed_since) != 0) {
      notify(peer, slot, notify::kAnswerOwed, pending::kAnswerOwed);
    }
    if ((notifications & notify::kAnswerAwaited) != 0 && record.get(RecordField::answer_awaited_since) != 0) {
      notify(peer, slot, notify::kAnswerAwaited, pending::kAnswerAwaited);
    }
  }
  control_.wake_if_due(commands_.counters);
}

/** Raises the event if its bit of Notify is armed, and disarms it. The peer's lock is held. */
void Plane::notify(Peer& peer, uint32_t slot, uint8_t bit, uint8_t event) noexcept {
  if ((peer.armed & bit) == 0) return;
  peer.armed = static_cast<uint8_t>(peer.armed & ~bit);
  control_.raise(slot, event);
}

}  // namespace warren
