// Everything that goes up to JavaScript (docs/dataplane.md, "Events"; docs of `poll`, `release`, `reply`): control datagrams
// and frames in the slots of a slab that both sides see, events per peer as sets so that nothing grows, events of the
// device, and the one outstanding wake-up. Locks itself; any thread may push and raise, one thread polls. Leaves out
// which event is due when.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "dataplane/counters.h"
#include "dataplane/descriptor.h"
#include "dataplane/limits.h"
#include "dataplane/peer.h"
#include "os/link_monitor.h"
#include "tables/source_limiter.h"

namespace warren {

/** Told when something waits: once until the next poll. Called from any thread; must not call back. */
class Waker {
 public:
  virtual ~Waker() = default;
  virtual void wake() noexcept = 0;
};

/** Where a control datagram came from, and to which address of ours. */
struct Arrival {
  SocketAddress source;
  LocalSource local;
  double time = 0;
};

class ControlQueue {
 public:
  ControlQueue(PeerTable& peers, Waker& waker, uint32_t slots, uint64_t seed0, uint64_t seed1);

  // — any thread —
  /** One token of the source's bucket; false when it has none. */
  bool allow(const SocketAddress& source, double now) noexcept;
  /** False when no slot is free. Copies the bytes, at most kControlBytesMax. */
  bool push(DescriptorKind kind, uint32_t peer, std::span<const uint8_t> bytes, const Arrival& from) noexcept;
  /** A set of events without details. */
  void raise(uint32_t peer, uint8_t events) noexcept;
  void raise_confirmed(uint32_t peer, uint32_t local_index) noexcept;
  /** The peer's lock is held. */
  void raise_roamed(uint32_t peer, const SocketAddress& to) noexcept;
  enum class Raised : uint8_t { no, anew, waiting };
  /** As above, but if there is none yet that waits for `poll`, only when it is due. */
  Raised raise_roamed_if(uint32_t peer, const SocketAddress& to, bool due) noexcept;
  void raise_rekey(uint32_t peer, RekeyReason reason) noexcept;
  void raise_send_failed(uint32_t peer, int error) noexcept;
  void raise_link(LinkChange change, uint32_t value) noexcept;
  void raise_deadline() noexcept;
  /** Wakes JavaScript if something was pushed or raised since the last poll and it was not woken yet. */
  void wake_if_due(CounterBlock& counters) noexcept;

  // — the JavaScript thread —
  /** True when the event was pending. */
  bool withdraw(uint32_t peer, uint8_t event) noexcept;
  void withdraw_deadline() noexcept;
  /** Drops the peer's events and what waits of its datagrams. What a poll has handed out stays until its release. */
  void remove_peer(uint32_t peer) noexcept;
  /** Fills at most kPollMax descriptors. Nothing may be unreleased. */
  uint32_t poll(double now, Descriptor* out, CounterBlock& counters) noexcept;
  /** Gives back the first `count` of the last poll; false when there were fewer. */
  bool release(uint32_t count) noexcept;
  /** What is behind a handle between its poll and its release; null otherwise. */
  const Arrival* arrival(uint32_t handle, uint32_t& length) noexcept;
  /** Datagrams that waited at the last poll. */
  uint32_t backlog() const noexcept { return backlog_; }
  void wipe() noexcept;

  uint32_t slots() const noexcept { return slot_count_; }
  /** Shared with JavaScript, which may hold on to it longer than this object lives. */
  std::shared_ptr<uint8_t[]> slab() const noexcept { return slab_; }

 private:
  struct Slot {
    Arrival from;
    uint32_t peer = kNoPeer;
    uint32_t length = 0;
    DescriptorKind kind = DescriptorKind::handshake;
    bool handed_out = false;
  };
  struct LinkNews {
    LinkChange change;
    uint32_t value;
  };

  void mark(uint32_t peer, uint8_t events) noexcept;
  void unlink(uint32_t peer) noexcept;
  uint32_t take_datagrams(Descriptor* out) noexcept;
  bool take_event(Descriptor& out) noexcept;
  bool take_device_event(Descriptor& out) noexcept;

  std::mutex mutex_;
  PeerTable& peers_;
  Waker& waker_;
  SourceLimiter limiter_;
  uint32_t slot_count_;
  std::shared_ptr<uint8_t[]> slab_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  /** Slots in order of arrival, a ring. */
  std::vector<uint32_t> waiting_;
  uint32_t waiting_first_ = 0;
  uint32_t waiting_count_ = 0;
  std::array<uint32_t, kPollMax> taken_;
  uint32_t taken_first_ = 0;
  uint32_t taken_count_ = 0;
  uint32_t polled_ = 0;
  uint32_t backlog_ = 0;
  /** Peers with pending events, a list through PeerNews. */
  uint32_t first_peer_ = kNoPeer;
  uint32_t last_peer_ = kNoPeer;
  std::array<LinkNews, kLinkEventsKept> link_news_;
  uint32_t link_count_ = 0;
  bool deadline_came_ = false;

  std::atomic<bool> due_{false};
  std::atomic<bool> outstanding_{false};
};

}  // namespace warren
