// The data plane's core: all state of a device, the commands of src/dataplane/dataplane.ts, and the two ways of a packet.
// Plain C++ with its further sides injected: the live plane, memory mode, the sanitizer tests and the fuzzers run this very
// code. docs/dataplane.md gives the rules; comments name them by section and number. Leaves out threads, sockets, TUN
// (live_plane.h) and JavaScript (native/binding).
//
// Commands are called from one thread, "the JavaScript thread", with its own Context. `outbound` and `inbound` are called
// by any number of threads, each with its Context, between `begin_batch` and `end_batch`. Locks: locks.h.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/control_queue.h"
#include "dataplane/keypair.h"
#include "dataplane/locks.h"
#include "dataplane/peer.h"
#include "dataplane/record_table.h"
#include "dataplane/relay_table.h"
#include "dataplane/staging_pool.h"
#include "hash/mac1.h"
#include "packet/icmp.h"
#include "packet/message.h"
#include "packet/virtio.h"
#include "tables/allowed_ips.h"
#include "tables/index_table.h"

namespace warren {

/** What is held for peers and sessions; all zero when there are none. */
struct PlaneUsage {
  size_t keypairs = 0;
  size_t indexes = 0;
  size_t prefixes = 0;
  size_t staging_blocks = 0;
};

struct PlaneOptions {
  uint32_t peers_max = 65'536;
  uint32_t mtu = 1420;
  uint32_t slab_slots = kSlabSlots;
};

/** What became of `send_frame_to`; the numbers are those of FRAME_SENT in src/dataplane/native/native-plane.ts. */
enum class FrameSent : uint32_t { sent = 0, no_keypair = 1, too_big = 2, failed = 3 };

class Plane {
 public:
  /** `commands` is the JavaScript thread's context; both outlive the plane's use. */
  Plane(const PlaneOptions& options, Waker& waker, Context& commands);
  ~Plane();
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  // — device —
  /** 32 bytes or null. */
  void set_public_key(const uint8_t* key) noexcept;
  /** Whether there are sockets; to be called with the device lock held exclusively. */
  void set_bound(bool bound) noexcept { bound_ = bound; }
  bool bound() const noexcept { return bound_; }
  void set_mtu(uint32_t mtu) noexcept { mtu_.store(mtu, std::memory_order_relaxed); }
  uint32_t mtu() const noexcept { return mtu_.load(std::memory_order_relaxed); }
  /** `relay`: 1 … kRelaysMax; family AF_UNSPEC forgets it. */
  void set_relay(uint32_t relay, const SocketAddress& endpoint) noexcept;

  // — peers; slots given are those of peers that exist —
  /** kNoPeer when there are peers_max. */
  uint32_t add_peer(bool roaming) noexcept;
  void remove_peer(uint32_t slot, double now) noexcept;
  bool peer_exists(uint32_t slot) noexcept { return peers_.exists(slot); }
  void set_endpoint(uint32_t slot, const SocketAddress& endpoint) noexcept;
  SocketAddress endpoint(uint32_t slot) noexcept;
  void clear_source(uint32_t slot) noexcept;
  /** 0 = no limit. */
  void set_path_mtu(uint32_t slot, uint32_t mtu) noexcept;
  /** `relay_slot`: kRelaySlotBytes, or null for none. */
  void set_relay_slot(uint32_t slot, const uint8_t* relay_slot, const RelayLimits& limits, double now) noexcept;
  /** False when the table is full. */
  bool insert_allowed_ip(uint32_t slot, Family family, const uint8_t* address, uint8_t length) noexcept;
  void remove_allowed_ip(uint32_t slot, Family family, const uint8_t* address, uint8_t length) noexcept;
  const RecordTable& records() const noexcept { return records_; }
  size_t relay_users() noexcept { return relay_table_.size(); }

  // — sessions —
  bool expect_index(uint32_t index, uint32_t slot) noexcept;
  void forget_index(uint32_t index) noexcept;
  /** False, and nothing done, when the index belongs to somebody else. */
  bool install_keypair(uint32_t slot, const KeypairConfig& config) noexcept;
  void expire_sending(uint32_t slot) noexcept;
  void clear_keypairs(uint32_t slot) noexcept;
  bool can_send(uint32_t slot, double now) noexcept;
  uint32_t flush_staged(uint32_t slot, double now) noexcept;
  uint32_t drop_staged(uint32_t slot, bool unreachable, double now) noexcept;
  bool send_keepalive(uint32_t slot, double now) noexcept { return send_frame(slot, {}, now); }
  bool send_frame(uint32_t slot, std::span<const uint8_t> frame, double now) noexcept;
  FrameSent send_frame_to(uint32_t slot, std::span<const uint8_t> frame, const SocketAddress& to, bool dont_fragment,
                          double now) noexcept;

  // — control datagrams —
  bool send_handshake(uint32_t slot, std::span<const uint8_t> message, double now) noexcept;
  bool send_to(const SocketAddress& to, std::span<const uint8_t> datagram) noexcept;
  bool reply(uint32_t handle, std::span<const uint8_t> datagram) noexcept;
  void authenticated(uint32_t slot, uint32_t handle, double now) noexcept;

  // — what comes up —
  ControlQueue& control() noexcept { return control_; }
  uint32_t poll(double now, Descriptor* out) noexcept { return control_.poll(now, out, commands_.counters); }
  void rearm(uint32_t slot, uint8_t notifications, double now) noexcept;
  /** Removes every peer and wipes the slab. Threads have ended. */
  void close(double now) noexcept;
  bool keys_locked() const noexcept { return keypairs_.locked(); }
  PlaneUsage usage() noexcept;

  // — packets —
  DeviceLock& lock() noexcept { return lock_; }
  /** Takes the device lock shared and sets the instant of what follows. */
  void begin_batch(Context& ctx, double now) noexcept;
  /** Sends and writes what is left, lets the lock go, tidies up, wakes JavaScript if there is news. */
  void end_batch(Context& ctx) noexcept;
  /** One read from the TUN. */
  void outbound(Context& ctx, const VirtioNetHeader& header, std::span<const uint8_t> packet) noexcept;
  /** What one receive call gave. The bytes are opened in place and stay until `end_batch`. */
  void inbound(Context& ctx, std::span<const ReceivedRun> runs) noexcept;

 private:
  struct ExpectedIndex {
    uint32_t index;
    uint32_t peer;
    uint32_t previous;
    uint32_t next;
  };
  /** What an index belongs to: an expected answer if this bit is set, else a keypair. */
  static constexpr uint32_t kExpectedBit = 0x8000'0000;

  class Exclusive;

  /** Where a datagram for an endpoint really goes. */
  struct Way {
    SocketAddress destination;
    /** Bytes in front of the datagram: kRelayHeader, or 0. */
    uint32_t header = 0;
  };

  // sessions.cc
  void erase_expected(uint32_t id) noexcept;
  void destroy_keypair(Keypair* keypair) noexcept;
  void clear_keypairs_locked(Peer& peer, uint32_t slot) noexcept;
  void show_send_counter(const Peer& peer, uint32_t slot) noexcept;
  void retire(Context& ctx, Keypair* keypair) noexcept;
  void reap_locked() noexcept;

  // outbound.cc
  uint32_t route_destination(const uint8_t* packet) const noexcept;
  void drop_unroutable(Context& ctx, uint32_t from) noexcept;
  void drop_too_big(Context& ctx, const uint8_t* packet, uint32_t path_mtu) noexcept;
  bool reserve(Context& ctx, uint32_t message_length) noexcept;
  void append(Context& ctx, uint32_t slot, uint8_t ecn, uint32_t segment, uint32_t length, uint32_t message) noexcept;
  void close_run(Context& ctx) noexcept;
  void refit(Context& ctx, OpenRun& run, uint32_t header) noexcept;
  void refuse_run(Context& ctx, Drop why) noexcept;
  void stage_run(Context& ctx, Peer& peer, uint32_t from) noexcept;
  void stage(Context& ctx, Peer& peer, uint32_t slot, std::span<const uint8_t> packet) noexcept;
  void unreachable(Context& ctx, IcmpError error, std::span<const uint8_t> packet, double now) noexcept;
  void answer(Context& ctx, IcmpError error, std::span<const uint8_t> packet, uint32_t mtu, double now,
              std::atomic<double>& allowed_at) noexcept;
  uint32_t padded_length(uint32_t length, uint32_t path_mtu = 0) const noexcept;

  // sending.cc
  void seal(Context& ctx, const Keypair& keypair, uint64_t first_counter, uint8_t* bytes, const OpenRun& run) noexcept;
  uint32_t seal_frame(Context& ctx, Keypair& keypair, std::span<const uint8_t> frame) noexcept;
  void stamp_sent(Peer& peer, uint32_t slot, uint32_t messages, uint64_t bytes, double now) noexcept;
  void stamp_data_sent(Peer& peer, uint32_t slot, double now) noexcept;
  void want_rekey_after_send(Peer& peer, uint32_t slot, const Keypair& keypair, double now) noexcept;
  void notify(Peer& peer, uint32_t slot, uint8_t bit, uint8_t event) noexcept;
  uint32_t flush_staged_locked(Context& ctx, Peer& peer, uint32_t slot, double now) noexcept;
  SendReport send_now(Context& ctx, Peer* peer, uint32_t slot, SendRun& run) noexcept;
  bool send_single(Peer* peer, uint32_t slot, const SocketAddress& to, const LocalSource& source,
                   std::span<const uint8_t> message, uint8_t tos) noexcept;
  FrameSent send_frame_locked(Peer& peer, uint32_t slot, std::span<const uint8_t> frame, const SocketAddress& to,
                              bool dont_fragment, double now) noexcept;
  void emit(Context& ctx) noexcept;
  bool keep_unsent(Context& ctx) noexcept;
  void settle(Context& ctx, SendRun& run, const RunOwner& owner) noexcept;
  void let_writers_in(Context& ctx) noexcept;
  void forget_source(Peer& peer, const LocalSource& source) noexcept;

  // relaying.cc
  bool way_to(const SocketAddress& endpoint, Way& way) const noexcept;
  void move_peer(Peer& peer, const SocketAddress& endpoint, const LocalSource& source) noexcept;
  void stick_source(Peer& peer, const LocalSource& source) noexcept;
  uint32_t relay_at(const SocketAddress& address) const noexcept;
  void inbound_relayed(Context& ctx, uint32_t run_number, uint32_t begin, uint32_t end) noexcept;
  void inbound_by_relay(Context& ctx, uint32_t run_number, uint32_t relay, uint8_t* data, uint32_t length) noexcept;
  void forward(Context& ctx, const ReceivedRun& run, uint32_t begin, uint32_t end) noexcept;
  void collect(Context& ctx, const ReceivedRun& run, const RelayUser& to, uint8_t* data, uint32_t length) noexcept;
  void send_forwards(Context& ctx) noexcept;

  // inbound.cc
  void inbound_run(Context& ctx, uint32_t number) noexcept;
  void inbound_datagram(Context& ctx, const ReceivedRun& run, uint32_t run_number, uint8_t* data, uint32_t length) noexcept;
  void inbound_data(Context& ctx, uint32_t run_number, uint8_t* data, uint32_t length,
                    const SocketAddress* relayed) noexcept;
  const SocketAddress* keep_source(Context& ctx, uint32_t run_number, const SocketAddress* relayed) noexcept;
  void open_all(Context& ctx) noexcept;
  void authenticated_data(Context& ctx, Peer& peer, Keypair& keypair, const OpenItem& item) noexcept;
  void confirm_next(Context& ctx, Peer& peer, Keypair& keypair) noexcept;
  void deliver(Context& ctx, Peer& peer, Keypair& keypair, const OpenItem& item) noexcept;
  void follow_source(Peer& peer, const SocketAddress& source, const LocalSource& local) noexcept;
  void seen_at(Peer& peer, uint32_t slot, const SocketAddress& source, double now) noexcept;
  void stamp_receipt(uint32_t slot, uint32_t bytes, double now) noexcept;
  void write_packet(Context& ctx, uint8_t* packet, uint32_t length) noexcept;
  void flush_writes(Context& ctx) noexcept;

  // control_input.cc
  void inbound_initiation(Context& ctx, const ReceivedRun& run, std::span<const uint8_t> message) noexcept;
  void inbound_response(Context& ctx, const ReceivedRun& run, std::span<const uint8_t> message) noexcept;
  void inbound_cookie(Context& ctx, const ReceivedRun& run, std::span<const uint8_t> message) noexcept;
  void inbound_control(Context& ctx, const ReceivedRun& run, DescriptorKind kind, uint32_t peer,
                       std::span<const uint8_t> message) noexcept;
  void to_slab(Context& ctx, const ReceivedRun& run, const SocketAddress& source, DescriptorKind kind, uint32_t peer,
               std::span<const uint8_t> bytes) noexcept;
  uint32_t index_owner(uint32_t value) const noexcept;

  DeviceLock lock_;
  PeerLocks peer_locks_;
  Context& commands_;
  PeerTable peers_;
  RecordTable records_;
  ControlQueue control_;
  KeypairPool keypairs_;
  StagingPool staging_;
  AllowedIps allowed_ips_;
  IndexTable indexes_;
  std::vector<ExpectedIndex> expected_;
  std::vector<uint32_t> expected_free_;
  Mac1Checker mac1_;
  bool bound_ = false;
  std::atomic<uint32_t> mtu_;
  /** No ICMP answer before then. */
  std::atomic<double> icmp_allowed_at_{0};
  /** No ICMP packet too big before then. */
  std::atomic<double> too_big_allowed_at_{0};
  /** By number, none at 0; family AF_UNSPEC: not set. Changed with the device lock held exclusively. */
  std::array<SocketAddress, kRelaysMax + 1> relays_{};
  /** One more than the highest that is set: a plane without any looks at none. */
  uint32_t relays_end_ = 0;
  RelayTable relay_table_;

  std::mutex retired_mutex_;
  std::vector<Keypair*> retired_;
  /** Changes when keys were destroyed: contexts then let their ciphers forget. */
  std::atomic<uint64_t> keys_epoch_{0};
};

/** A command that changes the shape of things: the device lock, and what waited to be destroyed is. */
class Plane::Exclusive {
 public:
  explicit Exclusive(Plane& plane) noexcept : plane_(plane) {
    plane_.lock_.lock();
    plane_.reap_locked();
  }
  ~Exclusive() { plane_.lock_.unlock(); }
  Exclusive(const Exclusive&) = delete;
  Exclusive& operator=(const Exclusive&) = delete;

 private:
  Plane& plane_;
};

}  // namespace warren
