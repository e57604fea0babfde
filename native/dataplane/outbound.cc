// From the TUN to sealed runs: docs/dataplane.md, "Tunnel to network" (paper §5.4.6, §6). A read is cut into packets that
// lie in the arena as messages of one peer, one behind the other; when the peer, the length or the ECN mark changes, the run
// is closed: only then, under the peer's lock and once per run, is it decided what becomes of it.

#include <cstring>
#include <mutex>

#include "dataplane/plane.h"
#include "dataplane/relayed.h"
#include "packet/headers.h"
#include "packet/path_mtu.h"

namespace warren {

static_assert(kHeaderSlack >= size_t{kRunMessagesMax} * kRelayHeader);

uint32_t Plane::route_destination(const uint8_t* packet) const noexcept {
  const uint8_t* destination = ip_destination(packet);
  return packet[0] >> 4 == 4 ? allowed_ips_.lookup4(destination) : allowed_ips_.lookup6(destination);
}

/** Rule 5: zeros up to a multiple of 16, but not past the MTU, the device's or the path's, of a packet that keeps to it. */
uint32_t Plane::padded_length(uint32_t length, uint32_t path_mtu) const noexcept {
  const uint32_t padded = (length + kPaddingMultiple - 1) / kPaddingMultiple * kPaddingMultiple;
  uint32_t limit = mtu();
  if (path_mtu != 0 && length <= path_mtu && path_mtu < limit) limit = path_mtu;
  return length <= limit && padded > limit ? limit : padded;
}

void Plane::outbound(Context& ctx, const VirtioNetHeader& header, std::span<const uint8_t> packet) noexcept {
  ctx.counters.add(Total::tunReads);
  const uint32_t count = ctx.segmenter.prepare(header, packet);
  if (count == 0) {
    ctx.counters.add(Total::tunPacketsIn);
    ctx.counters.add(Drop::outMalformed);
    return;
  }
  ctx.counters.add(Total::tunPacketsIn, count);
  uint32_t slot = route_destination(packet.data());
  if (slot == AllowedIps::kNone) return drop_unroutable(ctx, 0);
  const uint32_t path_mtu = peers_.at(slot).path_mtu;
  if (path_mtu != 0 && is_too_big(packet.data(), ctx.segmenter.segment_length(0), path_mtu)) {
    return drop_too_big(ctx, packet.data(), path_mtu);
  }
  const auto ecn = static_cast<uint8_t>(ip_traffic_class(packet.data()) & 0x03);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t length = ctx.segmenter.segment_length(i);
    const uint32_t message = padded_length(length, path_mtu) + kMessageOverhead;
    if (!reserve(ctx, message)) {
      // The lock was let go meanwhile: the peer may be gone.
      slot = route_destination(packet.data());
      if (slot == AllowedIps::kNone) return drop_unroutable(ctx, i);
    }
    append(ctx, slot, ecn, i, length, message);
  }
}

/** Rule 2: nobody has the destination. `from`: the first segment that is dropped. */
void Plane::drop_unroutable(Context& ctx, uint32_t from) noexcept {
  ctx.counters.add(Drop::outNoPeer, ctx.segmenter.count() - from);
  if (ctx.now < icmp_allowed_at_.load(std::memory_order_relaxed)) return;
  ctx.segmenter.write(from, ctx.flush_arena.get());
  unreachable(ctx, IcmpError::no_route, {ctx.flush_arena.get(), ctx.segmenter.segment_length(from)}, ctx.now);
}

/** Path MTU: the first segment is the largest, and one answer speaks for all. */
void Plane::drop_too_big(Context& ctx, const uint8_t* packet, uint32_t path_mtu) noexcept {
  ctx.counters.add(Drop::outTooBig, ctx.segmenter.count());
  if (ctx.now < too_big_allowed_at_.load(std::memory_order_relaxed)) return;
  ctx.segmenter.write(0, ctx.flush_arena.get());
  const std::span<const uint8_t> segment(ctx.flush_arena.get(), ctx.segmenter.segment_length(0));
  answer(ctx, IcmpError::too_big, segment, packet_bytes_max(packet, path_mtu), ctx.now, too_big_allowed_at_);
}

/** Room for one more message. False when what was collected had to be sent for it: looked up things may be gone. */
bool Plane::reserve(Context& ctx, uint32_t message_length) noexcept {
  if (ctx.arena_used + kRelayHeader + message_length <= kSendArenaBytes && ctx.run_count + 1 < kRunsMax) return true;
  close_run(ctx);
  emit(ctx);
  return false;
}

/** Cuts the segment into the arena, to the open run or to a new one. There is room. */
void Plane::append(Context& ctx, uint32_t slot, uint8_t ecn, uint32_t segment, uint32_t length,
                   uint32_t message) noexcept {
  OpenRun& run = ctx.open_run;
  const Peer& peer = peers_.at(slot);
  // Without the lock it may be wrong by the time the run is closed, which then mends it.
  const uint8_t header = peer.relayed.load(std::memory_order_relaxed) ? kRelayHeader : 0;
  const bool continues = run.count != 0 && run.count < kRunMessagesMax && run.peer == slot && run.ecn == ecn &&
                         run.header == header && run.last_length == run.message_length &&
                         message <= run.message_length;
  if (!continues) {
    close_run(ctx);
    run = OpenRun{slot, 0, ctx.arena_used, message, message, ecn, header};
  }
  uint8_t* plaintext = ctx.arena.get() + ctx.arena_used + header + kMessageHeader;
  ctx.segmenter.write(segment, plaintext);
  if (peer.path_mtu != 0) clamp_mss(plaintext, length, peer.path_mtu);
  std::memset(plaintext + length, 0, message - kMessageOverhead - length);
  ctx.arena_used += header + message;
  run.last_length = message;
  ++run.count;
}

/** Decides under the peer's lock what becomes of the open run, seals what may go, and leaves it to `emit`. */
void Plane::close_run(Context& ctx) noexcept {
  OpenRun run = ctx.open_run;
  if (run.count == 0) return;
  Peer& peer = peers_.at(run.peer);
  const Keypair* keypair = nullptr;
  uint64_t first_counter = 0;
  uint32_t sendable = 0;
  SendRun& out = ctx.runs[ctx.run_count];
  Way way;
  uint8_t relay_slot[kRelaySlotBytes] = {};
  {
    const std::lock_guard lock(peer_locks_.of(run.peer));
    if (peer.endpoint.family() == AF_UNSPEC) return refuse_run(ctx, Drop::outNoEndpoint);
    if (!bound_) return refuse_run(ctx, Drop::outSocketError);
    Keypair* current = peer.current;
    if (current != nullptr && current->may_send(ctx.now)) {
      if (peer.staged.count > 0) flush_staged_locked(ctx, peer, run.peer, ctx.now);
      if (!way_to(peer.endpoint, way)) return refuse_run(ctx, Drop::outRelayUnknown);
      const uint64_t left = current->reject_after_messages - current->send_counter;
      sendable = left < run.count ? static_cast<uint32_t>(left) : run.count;
    }
    if (sendable > 0) {
      keypair = current;
      first_counter = current->send_counter;
      current->send_counter += sendable;
      out.destination = way.destination;
      out.source = peer.source;
      if (way.header != 0) std::memcpy(relay_slot, relay_slot_of(peer.endpoint), kRelaySlotBytes);
      run.last_length = run.length_of(sendable - 1);
      run.count = sendable;
      const uint64_t bytes = uint64_t{run.message_length} * (run.count - 1) + run.last_length;
      stamp_sent(peer, run.peer, sendable, bytes, ctx.now);
      stamp_data_sent(peer, run.peer, ctx.now);
    }
    if (sendable < ctx.open_run.count) stage_run(ctx, peer, sendable);
  }
  ctx.open_run = OpenRun{};
  ctx.arena_used = run.begin;
  if (sendable == 0) return;
  if (run.header != way.header) refit(ctx, run, way.header);
  uint8_t* const bytes = ctx.arena.get() + run.begin;
  for (uint32_t i = 0; run.header != 0 && i < run.count; ++i) {
    put_relay_header(bytes + run.message_at(i) - kRelayHeader, relay_slot);
  }
  // Lives on while this thread holds the device lock, whatever becomes of the session.
  seal(ctx, *keypair, first_counter, bytes, run);
  ctx.arena_used = run.begin + run.bytes();
  ctx.run_bytes[ctx.run_count] = {bytes, run.bytes()};
  out.parts = {&ctx.run_bytes[ctx.run_count], 1};
  out.segment_size = run.count > 1 ? run.stride() : 0;
  // Rule 8: the ECN mark of the packets inside, DSCP 0.
  out.tos = run.ecn;
  ctx.run_owners[ctx.run_count] = RunOwner{run.peer, peer.generation};
  ++ctx.run_count;
}

/** The endpoint became a relayed one, or ceased to be, while the run was open: its messages move to where they belong. */
void Plane::refit(Context& ctx, OpenRun& run, uint32_t header) noexcept {
  const OpenRun before = run;
  run.header = static_cast<uint8_t>(header);
  uint8_t* const bytes = ctx.arena.get() + run.begin;
  for (uint32_t n = 0; n < run.count; ++n) {
    // From the end that has room: behind the arena there is enough for any run (kHeaderSlack).
    const uint32_t i = run.header > before.header ? run.count - 1 - n : n;
    std::memmove(bytes + run.message_at(i), bytes + before.message_at(i), run.length_of(i));
  }
}

/** Rule 3, an unbound device and an unknown relay: drops the open run. The peer's lock is held. */
void Plane::refuse_run(Context& ctx, Drop why) noexcept {
  const OpenRun run = ctx.open_run;
  ctx.open_run = OpenRun{};
  ctx.arena_used = run.begin;
  ctx.counters.add(why, run.count);
  if (why != Drop::outNoEndpoint) return;
  for (uint32_t i = 0; i < run.count; ++i) {
    const uint8_t* packet = ctx.arena.get() + run.begin + run.message_at(i) + kMessageHeader;
    unreachable(ctx, IcmpError::address_unreachable, {packet, run.length_of(i) - kMessageOverhead}, ctx.now);
  }
}

/** Rule 4: the open run's packets from number `from` on wait for a keypair. The peer's lock is held. */
void Plane::stage_run(Context& ctx, Peer& peer, uint32_t from) noexcept {
  const OpenRun& run = ctx.open_run;
  for (uint32_t i = from; i < run.count; ++i) {
    const uint8_t* packet = ctx.arena.get() + run.begin + run.message_at(i) + kMessageHeader;
    stage(ctx, peer, run.peer, {packet, inner_length(packet, run.length_of(i) - kMessageOverhead)});
  }
}

void Plane::stage(Context& ctx, Peer& peer, uint32_t slot, std::span<const uint8_t> packet) noexcept {
  if (peer.staged.count == kStagedPacketsMax) {
    staging_.drop(peer.staged);
    ctx.counters.add(Drop::outStagedOverflow);
  }
  while (!staging_.push(peer.staged, packet)) {
    // The pool of the whole device is used up: this peer's oldest makes room, or else the packet itself goes.
    ctx.counters.add(Drop::outStagedOverflow);
    if (peer.staged.count == 0) break;
    staging_.drop(peer.staged);
  }
  Record record = records_.record(slot);
  record.set(RecordField::staged, peer.staged.count);
  record.set(RecordField::last_staged, ctx.now);
  notify(peer, slot, notify::kSessionWanted, pending::kSessionWanted);
}

void Plane::unreachable(Context& ctx, IcmpError error, std::span<const uint8_t> packet, double now) noexcept {
  answer(ctx, error, packet, 0, now, icmp_allowed_at_);
}

/** Tells the local sender, at most once in kIcmpIntervalMs for the whole device. */
void Plane::answer(Context& ctx, IcmpError error, std::span<const uint8_t> packet, uint32_t mtu, double now,
                   std::atomic<double>& allowed_at) noexcept {
  double at = allowed_at.load(std::memory_order_relaxed);
  if (now < at) return;
  uint8_t bytes[kIcmpAnswerMax];
  const size_t length = icmp_answer(error, packet, mtu, bytes);
  if (length == 0) return;
  if (!allowed_at.compare_exchange_strong(at, now + kIcmpIntervalMs, std::memory_order_relaxed)) return;
  write_packet(ctx, bytes, static_cast<uint32_t>(length));
}

}  // namespace warren
