// See control_queue.h. Slots are taken from a stack and wait in a ring; peers with events stand in a doubly linked list, so
// that removing a peer costs nothing. Leaves out what the events mean.

#include "dataplane/control_queue.h"

#include <bit>
#include <cstring>

#include "dataplane/relayed.h"

namespace warren {

namespace {

DescriptorKind kind_of(uint8_t event) noexcept {
  switch (event) {
    case pending::kKeypairConfirmed: return DescriptorKind::keypair_confirmed;
    case pending::kRoamed: return DescriptorKind::roamed;
    case pending::kSessionWanted: return DescriptorKind::session_wanted;
    case pending::kAnswerOwed: return DescriptorKind::answer_owed;
    case pending::kAnswerAwaited: return DescriptorKind::answer_awaited;
    case pending::kRekeyWanted: return DescriptorKind::rekey_wanted;
    default: return DescriptorKind::send_failed;
  }
}

}  // namespace

ControlQueue::ControlQueue(PeerTable& peers, Waker& waker, uint32_t slots, uint64_t seed0, uint64_t seed1)
    : peers_(peers),
      waker_(waker),
      limiter_(seed0, seed1),
      slot_count_(slots),
      slab_(std::make_shared<uint8_t[]>(size_t{slots} * kSlabSlotBytes)),
      slots_(slots),
      waiting_(slots) {
  free_.reserve(slots);
  for (uint32_t slot = slots; slot-- > 0;) free_.push_back(slot);
}

bool ControlQueue::allow(const SocketAddress& source, double now) noexcept {
  const std::lock_guard lock(mutex_);
  const auto bytes = source.bytes();
  // Strict while an eighth of the slab is in use: a few loud sources must not keep it full for everyone (checklist 38).
  const bool loaded = (slot_count_ - free_.size()) * 8 >= slot_count_;
  const SourceLimiter::Rate& rate = loaded ? SourceLimiter::kLoaded : SourceLimiter::kCalm;
  if (const uint32_t relay = relay_of(source)) return limiter_.allow_relayed(relay, relay_slot_of(source), now, rate);
  return source.family() == AF_INET6 ? limiter_.allow6(bytes.data(), now, rate)
                                     : limiter_.allow4(bytes.data(), now, rate);
}

bool ControlQueue::push(DescriptorKind kind, uint32_t peer, std::span<const uint8_t> bytes,
                        const Arrival& from) noexcept {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return false;
  const uint32_t slot = free_.back();
  free_.pop_back();
  std::memcpy(slab_.get() + size_t{slot} * kSlabSlotBytes, bytes.data(), bytes.size());
  slots_[slot] = Slot{from, peer, static_cast<uint32_t>(bytes.size()), kind, false};
  waiting_[(waiting_first_ + waiting_count_++) % slot_count_] = slot;
  due_.store(true, std::memory_order_relaxed);
  return true;
}

void ControlQueue::mark(uint32_t peer, uint8_t events) noexcept {
  PeerNews& news = peers_.at(peer).news;
  if (news.pending == 0) {
    news.previous = last_peer_;
    news.next = kNoPeer;
    if (last_peer_ == kNoPeer) {
      first_peer_ = peer;
    } else {
      peers_.at(last_peer_).news.next = peer;
    }
    last_peer_ = peer;
  }
  news.pending |= events;
  due_.store(true, std::memory_order_relaxed);
}

void ControlQueue::unlink(uint32_t peer) noexcept {
  PeerNews& news = peers_.at(peer).news;
  (news.previous == kNoPeer ? first_peer_ : peers_.at(news.previous).news.next) = news.next;
  (news.next == kNoPeer ? last_peer_ : peers_.at(news.next).news.previous) = news.previous;
  news.previous = news.next = kNoPeer;
}

void ControlQueue::raise(uint32_t peer, uint8_t events) noexcept {
  const std::lock_guard lock(mutex_);
  mark(peer, events);
}

void ControlQueue::raise_confirmed(uint32_t peer, uint32_t local_index) noexcept {
  const std::lock_guard lock(mutex_);
  peers_.at(peer).news.confirmed_index = local_index;
  mark(peer, pending::kKeypairConfirmed);
}

void ControlQueue::raise_roamed(uint32_t peer, const SocketAddress& to) noexcept {
  const std::lock_guard lock(mutex_);
  peers_.at(peer).news.roamed_to = to;
  mark(peer, pending::kRoamed);
}

ControlQueue::Raised ControlQueue::raise_roamed_if(uint32_t peer, const SocketAddress& to, bool due) noexcept {
  const std::lock_guard lock(mutex_);
  PeerNews& news = peers_.at(peer).news;
  const bool waits = (news.pending & pending::kRoamed) != 0;
  if (!waits && !due) return Raised::no;
  news.roamed_to = to;
  mark(peer, pending::kRoamed);
  return waits ? Raised::waiting : Raised::anew;
}

void ControlQueue::raise_rekey(uint32_t peer, RekeyReason reason) noexcept {
  const std::lock_guard lock(mutex_);
  peers_.at(peer).news.rekey_reason = static_cast<uint8_t>(reason);
  mark(peer, pending::kRekeyWanted);
}

void ControlQueue::raise_send_failed(uint32_t peer, int error) noexcept {
  const std::lock_guard lock(mutex_);
  peers_.at(peer).news.send_errno = static_cast<uint32_t>(error);
  mark(peer, pending::kSendFailed);
}

void ControlQueue::raise_link(LinkChange change, uint32_t value) noexcept {
  const std::lock_guard lock(mutex_);
  // Only the newest MTU matters; of the rest the oldest goes when JavaScript does not keep up.
  for (uint32_t i = 0; i < link_count_; ++i) {
    if (change != LinkChange::mtu || link_news_[i].change != LinkChange::mtu) continue;
    link_news_[i].value = value;
    return;
  }
  if (link_count_ == kLinkEventsKept) {
    std::memmove(&link_news_[0], &link_news_[1], sizeof(LinkNews) * (kLinkEventsKept - 1));
    --link_count_;
  }
  link_news_[link_count_++] = LinkNews{change, value};
  due_.store(true, std::memory_order_relaxed);
}

void ControlQueue::raise_deadline() noexcept {
  const std::lock_guard lock(mutex_);
  deadline_came_ = true;
  due_.store(true, std::memory_order_relaxed);
}

void ControlQueue::wake_if_due(CounterBlock& counters) noexcept {
  if (!due_.load(std::memory_order_relaxed)) return;
  {
    const std::lock_guard lock(mutex_);
    if (!due_.load(std::memory_order_relaxed) || outstanding_.load(std::memory_order_relaxed)) return;
    outstanding_.store(true, std::memory_order_relaxed);
  }
  counters.add(Total::wakeUps);
  waker_.wake();
}

bool ControlQueue::withdraw(uint32_t peer, uint8_t event) noexcept {
  const std::lock_guard lock(mutex_);
  PeerNews& news = peers_.at(peer).news;
  if ((news.pending & event) == 0) return false;
  news.pending = static_cast<uint8_t>(news.pending & ~event);
  if (news.pending == 0) unlink(peer);
  return true;
}

void ControlQueue::withdraw_deadline() noexcept {
  const std::lock_guard lock(mutex_);
  deadline_came_ = false;
}

void ControlQueue::remove_peer(uint32_t peer) noexcept {
  const std::lock_guard lock(mutex_);
  PeerNews& news = peers_.at(peer).news;
  if (news.pending != 0) {
    news.pending = 0;
    unlink(peer);
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < waiting_count_; ++i) {
    const uint32_t slot = waiting_[(waiting_first_ + i) % slot_count_];
    if (slots_[slot].peer == peer) {
      free_.push_back(slot);
    } else {
      waiting_[(waiting_first_ + kept++) % slot_count_] = slot;
    }
  }
  waiting_count_ = kept;
}

uint32_t ControlQueue::poll(double now, Descriptor* out, CounterBlock& counters) noexcept {
  const std::lock_guard lock(mutex_);
  outstanding_.store(false, std::memory_order_relaxed);
  due_.store(false, std::memory_order_relaxed);
  backlog_ = waiting_count_;
  uint32_t count = take_datagrams(out);
  counters.add(Total::controlDelivered, count);
  const uint32_t datagrams = count;
  while (count < kPollMax) {
    Descriptor event;
    if (!take_event(event)) break;
    event.time = now;
    out[count++] = event;
  }
  counters.add(Total::eventsDelivered, count - datagrams);
  polled_ = count;
  return count;
}

uint32_t ControlQueue::take_datagrams(Descriptor* out) noexcept {
  uint32_t count = 0;
  taken_first_ = 0;
  while (count < kPollMax && waiting_count_ > 0) {
    const uint32_t id = waiting_[waiting_first_];
    waiting_first_ = (waiting_first_ + 1) % slot_count_;
    --waiting_count_;
    Slot& slot = slots_[id];
    slot.handed_out = true;
    taken_[count] = id;
    Descriptor descriptor;
    descriptor.kind = static_cast<uint32_t>(slot.kind);
    descriptor.peer = slot.peer;
    descriptor.offset = id * kSlabSlotBytes;
    descriptor.length = slot.length;
    descriptor.handle = id;
    descriptor.set_source(slot.from.source);
    descriptor.time = slot.from.time;
    out[count++] = descriptor;
  }
  taken_count_ = count;
  return count;
}

bool ControlQueue::take_event(Descriptor& out) noexcept {
  if (take_device_event(out)) return true;
  if (first_peer_ == kNoPeer) return false;
  const uint32_t peer = first_peer_;
  PeerNews& news = peers_.at(peer).news;
  const auto event = static_cast<uint8_t>(1u << std::countr_zero(news.pending));
  out.kind = static_cast<uint32_t>(kind_of(event));
  out.peer = peer;
  switch (event) {
    case pending::kKeypairConfirmed: out.value = news.confirmed_index; break;
    case pending::kRoamed: out.set_source(news.roamed_to); break;
    case pending::kRekeyWanted: out.value = news.rekey_reason; break;
    case pending::kSendFailed: out.value = news.send_errno; break;
    default: break;
  }
  news.pending = static_cast<uint8_t>(news.pending & ~event);
  if (news.pending == 0) unlink(peer);
  return true;
}

bool ControlQueue::take_device_event(Descriptor& out) noexcept {
  out.peer = kNoPeer;
  if (link_count_ > 0) {
    out.kind = static_cast<uint32_t>(DescriptorKind::link);
    out.value = static_cast<uint32_t>(link_news_[0].change);
    out.value2 = link_news_[0].value;
    std::memmove(&link_news_[0], &link_news_[1], sizeof(LinkNews) * (kLinkEventsKept - 1));
    --link_count_;
    return true;
  }
  if (!deadline_came_) return false;
  deadline_came_ = false;
  out.kind = static_cast<uint32_t>(DescriptorKind::deadline);
  return true;
}

bool ControlQueue::release(uint32_t count) noexcept {
  const std::lock_guard lock(mutex_);
  if (count > polled_) return false;
  polled_ -= count;
  // Datagrams stand before events, so they are the first to be released.
  for (; count > 0 && taken_first_ < taken_count_; --count) {
    const uint32_t slot = taken_[taken_first_++];
    slots_[slot].handed_out = false;
    free_.push_back(slot);
  }
  return true;
}

const Arrival* ControlQueue::arrival(uint32_t handle, uint32_t& length) noexcept {
  const std::lock_guard lock(mutex_);
  if (handle >= slot_count_ || !slots_[handle].handed_out) return nullptr;
  length = slots_[handle].length;
  return &slots_[handle].from;
}

void ControlQueue::wipe() noexcept {
  const std::lock_guard lock(mutex_);
  std::memset(slab_.get(), 0, size_t{slot_count_} * kSlabSlotBytes);
  waiting_count_ = 0;
}

}  // namespace warren
