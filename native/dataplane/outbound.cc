// From the TUN to sealed runs: docs/dataplane.md, "Tunnel to network" (paper §5.4.6, §6). A read is cut into packets that
// lie in the arena as messages of one peer, one behind the other; when the peer, the length or the ECN mark changes, the run
// is closed: only then, under the peer's lock and once per run, is it decided what becomes of it.

#include <mutex>

#include "dataplane/plane.h"
#include "packet/headers.h"

namespace warren {

uint32_t Plane::route_destination(const uint8_t* packet) const noexcept {
  const uint8_t* destination = ip_destination(packet);
  return packet[0] >> 4 == 4 ? allowed_ips_.lookup4(destination) : allowed_ips_.lookup6(destination);
}

/** Rule 5: zeros up to a multiple of 16, but not past the MTU of a packet that keeps to it. */
uint32_t Plane::padded_length(uint32_t length) const noexcept {
  const uint32_t padded = (length + kPaddingMultiple - 1) / kPaddingMultiple * kPaddingMultiple;
  const uint32_t limit = mtu();
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
  const auto ecn = static_cast<uint8_t>(ip_traffic_class(packet.data()) & 0x03);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t length = ctx.segmenter.segment_length(i);
    const uint32_t message = padded_length(length) + kMessageOverhead;
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

/** Room for one more message. False when what was collected had to be sent for it: looked up things may be gone. */
bool Plane::reserve(Context& ctx, uint32_t message_length) noexcept {
  if (ctx.arena_used + message_length <= kSendArenaBytes && ctx.run_count + 1 < kRunsMax) return true;
  close_run(ctx);
  emit(ctx);
  return false;
}

/** Cuts the segment into the arena, to the open run or to a new one. There is room. */
void Plane::append(Context& ctx, uint32_t slot, uint8_t ecn, uint32_t segment, uint32_t length,
                   uint32_t message) noexcept {
  OpenRun& run = ctx.open_run;
  const bool continues = run.count != 0 && run.count < kRunMessagesMax && run.peer == slot && run.ecn == ecn &&
                         run.last_length == run.message_length && message <= run.message_length;
  if (!continues) {
    close_run(ctx);
    run = OpenRun{slot, 0, ctx.arena_used, message, message, ecn};
  }
  uint8_t* plaintext = ctx.arena.get() + ctx.arena_used + kMessageHeader;
  ctx.segmenter.write(segment, plaintext);
  std::memset(plaintext + length, 0, message - kMessageOverhead - length);
  ctx.arena_used += message;
  run.last_length = message;
  ++run.count;
}

/** Decides under the peer's lock what becomes of the open run, seals what may go, and leaves it to `emit`. */
void Plane::close_run(Context& ctx) noexcept {
  const OpenRun run = ctx.open_run;
  if (run.count == 0) return;
  Peer& peer = peers_.at(run.peer);
  const Keypair* keypair = nullptr;
  uint64_t first_counter = 0;
  uint32_t sendable = 0;
  SendRun& out = ctx.runs[ctx.run_count];
  {
    const std::lock_guard lock(peer_locks_.of(run.peer));
    if (peer.endpoint.family() == AF_UNSPEC) return refuse_run(ctx, Drop::outNoEndpoint);
    if (!bound_) return refuse_run(ctx, Drop::outSocketError);
    Keypair* current = peer.current;
    if (current != nullptr && current->may_send(ctx.now)) {
      if (peer.staged.count > 0) flush_staged_locked(ctx, peer, run.peer, ctx.now);
      const uint64_t left = current->reject_after_messages - current->send_counter;
      sendable = left < run.count ? static_cast<uint32_t>(left) : run.count;
    }
    if (sendable > 0) {
      keypair = current;
      first_counter = current->send_counter;
      current->send_counter += sendable;
      out.destination = peer.endpoint;
      out.source = peer.source;
      const uint64_t bytes = sendable == run.count
                                 ? uint64_t{run.message_length} * (run.count - 1) + run.last_length
                                 : uint64_t{run.message_length} * sendable;
      stamp_sent(peer, run.peer, sendable, bytes, ctx.now);
      stamp_data_sent(peer, run.peer, ctx.now);
    }
    if (sendable < run.count) stage_run(ctx, peer, sendable);
  }
  ctx.open_run = OpenRun{};
  if (sendable == 0) {
    ctx.arena_used = run.begin;
    return;
  }
  const uint32_t last = sendable == run.count ? run.last_length : run.message_length;
  const size_t bytes = size_t{run.message_length} * (sendable - 1) + last;
  uint8_t* messages = ctx.arena.get() + run.begin;
  // Lives on while this thread holds the device lock, whatever becomes of the session.
  seal(ctx, *keypair, first_counter, messages, sendable, run.message_length, last);
  ctx.arena_used = run.begin + bytes;
  ctx.run_bytes[ctx.run_count] = {messages, bytes};
  out.parts = {&ctx.run_bytes[ctx.run_count], 1};
  out.segment_size = sendable > 1 ? run.message_length : 0;
  // Rule 8: the ECN mark of the packets inside, DSCP 0.
  out.tos = run.ecn;
  ctx.run_owners[ctx.run_count] = RunOwner{run.peer, peer.generation};
  ++ctx.run_count;
}

/** Rule 3 and an unbound device: drops the open run. The peer's lock is held. */
void Plane::refuse_run(Context& ctx, Drop why) noexcept {
  const OpenRun run = ctx.open_run;
  ctx.open_run = OpenRun{};
  ctx.arena_used = run.begin;
  ctx.counters.add(why, run.count);
  if (why != Drop::outNoEndpoint) return;
  for (uint32_t i = 0; i < run.count; ++i) {
    const uint32_t message = i + 1 == run.count ? run.last_length : run.message_length;
    const uint8_t* packet = ctx.arena.get() + run.begin + size_t{i} * run.message_length + kMessageHeader;
    unreachable(ctx, IcmpError::address_unreachable, {packet, message - kMessageOverhead}, ctx.now);
  }
}

/** Rule 4: the open run's packets from number `from` on wait for a keypair. The peer's lock is held. */
void Plane::stage_run(Context& ctx, Peer& peer, uint32_t from) noexcept {
  const OpenRun& run = ctx.open_run;
  for (uint32_t i = from; i < run.count; ++i) {
    const uint32_t message = i + 1 == run.count ? run.last_length : run.message_length;
    const uint8_t* packet = ctx.arena.get() + run.begin + size_t{i} * run.message_length + kMessageHeader;
    stage(ctx, peer, run.peer, {packet, inner_length(packet, message - kMessageOverhead)});
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

/** Tells the local sender, at most once in kIcmpIntervalMs for the whole device. */
void Plane::unreachable(Context& ctx, IcmpError error, std::span<const uint8_t> packet, double now) noexcept {
  double allowed_at = icmp_allowed_at_.load(std::memory_order_relaxed);
  if (now < allowed_at) return;
  uint8_t answer[kIcmpAnswerMax];
  const size_t length = icmp_answer(error, packet, mtu(), answer);
  if (length == 0) return;
  if (!icmp_allowed_at_.compare_exchange_strong(allowed_at, now + kIcmpIntervalMs, std::memory_order_relaxed)) return;
  write_packet(ctx, answer, static_cast<uint32_t>(length));
}

}  // namespace warren
