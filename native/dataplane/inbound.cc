// From the network to the TUN: docs/dataplane.md, "Network to tunnel" (paper §5.4.6, §6; checklist 17, 22, 23, 28). Messages
// of one keypair that follow one another are opened by one call, then each is judged in its order under the peer's lock.

#include <cstring>
#include <mutex>
#include <utility>

#include "dataplane/plane.h"
#include "dataplane/relayed.h"
#include "packet/headers.h"
#include "packet/message.h"
#include "packet/path_mtu.h"

namespace warren {

namespace {

constexpr uint8_t kEcnCongestion = 0x03;

/** Plaintext of a control frame begins with a zero nibble. The item is open. */
bool is_frame(const OpenItem& item) noexcept {
  return item.length > kMessageOverhead && item.message[kMessageHeader] >> 4 == 0;
}

}  // namespace

void Plane::inbound(Context& ctx, std::span<const ReceivedRun> runs) noexcept {
  ctx.counters.add(Total::udpReceiveCalls);
  ctx.received = runs;
  for (uint32_t number = 0; number < runs.size(); ++number) inbound_run(ctx, number);
  open_all(ctx);
  flush_writes(ctx);
  send_forwards(ctx);
  ctx.received = {};
}

void Plane::inbound_run(Context& ctx, uint32_t number) noexcept {
  const ReceivedRun& run = ctx.received[number];
  if (relay_of(run.source) != 0) {
    // Nobody has such an address: only a relay of ours may give one.
    for_each_datagram(run, [&](uint8_t*, uint32_t) {
      ctx.counters.add(Total::udpDatagramsIn);
      ctx.counters.add(Drop::inRelayUnknown);
    });
    return;
  }
  if (run.segment_size == 0) return inbound_datagram(ctx, run, number, run.data, 0);
  const auto length_at = [&](uint32_t at) noexcept {
    const uint32_t left = run.length - at;
    return left < run.segment_size ? left : run.segment_size;
  };
  for (uint32_t at = 0; at < run.length;) {
    // Relayed ones that follow one another are looked at together.
    uint32_t end = at;
    while (end < run.length && has_relay_type(run.data + end, length_at(end))) end += length_at(end);
    if (end > at) {
      inbound_relayed(ctx, number, at, end);
      at = end;
      continue;
    }
    inbound_datagram(ctx, run, number, run.data + at, length_at(at));
    at += run.segment_size;
  }
}

void Plane::inbound_datagram(Context& ctx, const ReceivedRun& run, uint32_t run_number, uint8_t* data,
                             uint32_t length) noexcept {
  ctx.counters.add(Total::udpDatagramsIn);
  switch (classify(data, length)) {
    case MessageKind::data: return inbound_data(ctx, run_number, data, length, nullptr);
    case MessageKind::bad_length: return ctx.counters.add(Drop::inBadLength);
    case MessageKind::unknown: return ctx.counters.add(Drop::inUnknownType);
    case MessageKind::initiation: return inbound_initiation(ctx, run, {data, length});
    case MessageKind::response: return inbound_response(ctx, run, {data, length});
    case MessageKind::cookie: return inbound_cookie(ctx, run, {data, length});
    case MessageKind::stun:
      if (length > kControlBytesMax) return ctx.counters.add(Drop::inBadLength);
      return inbound_control(ctx, run, DescriptorKind::stun, kNoPeer, {data, length});
  }
}

/** Rule 3 as far as it goes without the cipher. `relayed`: its source, borrowed, if that is not the run's. */
void Plane::inbound_data(Context& ctx, uint32_t run_number, uint8_t* data, uint32_t length,
                         const SocketAddress* relayed) noexcept {
  const uint32_t index = load_le32(data + 4);
  if (ctx.open_keypair == nullptr || ctx.open_index != index || ctx.open_count == kOpenJobsMax) {
    open_all(ctx);
    const uint32_t value = indexes_.find(index);
    if (value == IndexTable::kNone || (value & kExpectedBit) != 0) return ctx.counters.add(Drop::inUnknownIndex);
    Keypair* keypair = keypairs_.at(value);
    if (keypair->retired.load(std::memory_order_relaxed)) return ctx.counters.add(Drop::inUnknownIndex);
    ctx.open_keypair = keypair;
    ctx.open_index = index;
  }
  const Keypair& keypair = *ctx.open_keypair;
  if (ctx.now >= keypair.reject_at) return ctx.counters.add(Drop::inExpired);
  const uint64_t counter = load_le64(data + 8);
  if (counter >= keypair.reject_after_messages) return ctx.counters.add(Drop::inCounterExhausted);
  ctx.open_jobs[ctx.open_count] =
      OpenJob{data + kMessageHeader, length - kMessageHeader, counter, false};
  ctx.open_items[ctx.open_count] = OpenItem{data, length, run_number, keep_source(ctx, run_number, relayed)};
  ++ctx.open_count;
}

/** A place where the source stands until the item is opened. One after the other mostly have the same. */
const SocketAddress* Plane::keep_source(Context& ctx, uint32_t run_number, const SocketAddress* relayed) noexcept {
  if (relayed == nullptr) return &ctx.received[run_number].source;
  const uint32_t count = ctx.relayed_source_count;
  if (count > 0 && ctx.relayed_sources[count - 1] == *relayed) return &ctx.relayed_sources[count - 1];
  // There are no more of them than items.
  ctx.relayed_sources[count] = *relayed;
  ++ctx.relayed_source_count;
  return &ctx.relayed_sources[count];
}

/** Opens what has been collected under one keypair and judges it. Nothing that was looked up before may be used after. */
void Plane::open_all(Context& ctx) noexcept {
  Keypair* keypair = std::exchange(ctx.open_keypair, nullptr);
  const uint32_t count = std::exchange(ctx.open_count, 0);
  ctx.relayed_source_count = 0;
  if (count == 0) return;
  ctx.aead->open(keypair->receive_key(), {ctx.open_jobs.data(), count});
  {
    Peer& peer = peers_.at(keypair->peer);
    const std::lock_guard lock(peer_locks_.of(keypair->peer));
    for (uint32_t i = 0; i < count; ++i) {
      if (!ctx.open_jobs[i].ok) {
        ctx.counters.add(Drop::inBadTag);
      } else if (keypair->retired.load(std::memory_order_relaxed)) {
        ctx.counters.add(Drop::inUnknownIndex);
      } else if (!keypair->replay.accept(ctx.open_jobs[i].counter)) {
        ctx.counters.add(Drop::inReplayed);
      } else {
        authenticated_data(ctx, peer, *keypair, ctx.open_items[i]);
        deliver(ctx, peer, *keypair, ctx.open_items[i]);
      }
    }
  }
  let_writers_in(ctx);
}

/** Rule 4: what any authentic message means, whatever is in it. The peer's lock is held. */
void Plane::authenticated_data(Context& ctx, Peer& peer, Keypair& keypair, const OpenItem& item) noexcept {
  const ReceivedRun& run = ctx.received[item.run];
  stamp_receipt(keypair.peer, item.length, ctx.now);
  const bool confirmed = &keypair == peer.next;
  if (confirmed) confirm_next(ctx, peer, keypair);
  if (peer.roaming) {
    if (!(*item.source == peer.endpoint)) control_.raise_roamed(keypair.peer, *item.source);
  } else if (!is_frame(item)) {
    seen_at(peer, keypair.peer, *item.source, ctx.now);
  }
  follow_source(peer, *item.source, run.local);
  if (&keypair == peer.current && ctx.now >= keypair.rekey_on_receive_at &&
      (peer.armed & notify::kRekeyOnReceive) != 0) {
    peer.armed = static_cast<uint8_t>(peer.armed & ~notify::kRekeyOnReceive);
    control_.raise_rekey(keypair.peer, RekeyReason::receive_age);
  }
  if (confirmed) flush_staged_locked(ctx, peer, keypair.peer, ctx.now);
}

/** The other side has the keys: `next` takes its place. */
void Plane::confirm_next(Context& ctx, Peer& peer, Keypair& keypair) noexcept {
  retire(ctx, peer.previous);
  peer.previous = peer.current;
  peer.current = std::exchange(peer.next, nullptr);
  show_send_counter(peer, keypair.peer);
  control_.raise_confirmed(keypair.peer, keypair.local_index);
}

void Plane::stamp_receipt(uint32_t slot, uint32_t bytes, double now) noexcept {
  Record record = records_.record(slot);
  record.add(RecordField::rx_bytes, bytes);
  record.add(RecordField::rx_packets, 1);
  record.set(RecordField::last_authenticated_receive, now);
  record.set(RecordField::answer_awaited_since, 0);
}

/** A roaming peer is where its newest message came from; what it sent to is where our answers come from. */
void Plane::follow_source(Peer& peer, const SocketAddress& source, const LocalSource& local) noexcept {
  if (peer.endpoint == source) {
    peer.source = local;
    // A relay wants to know although nothing is new: somebody else may have been there meanwhile.
    if (peer.relay_user != kNoPeer) relay_table_.follow(peer.relay_user, source, local);
  } else if (peer.roaming) {
    move_peer(peer, source, local);
  }
}

/**
 * A peer that does not roam was seen there. Each place is told once until the peer is seen at its endpoint again; another place at most
 * once in kRoamedIntervalMs, unless it can go into a report that nobody has fetched yet. The peer's lock is held.
 */
void Plane::seen_at(Peer& peer, uint32_t slot, const SocketAddress& source, double now) noexcept {
  if (source == peer.endpoint) {
    peer.roamed_told = false;
    return;
  }
  // Written under the peer's lock too, so it may be read here.
  if (peer.roamed_told && source == peer.news.roamed_to) return;
  const bool due = peer.roamed_at == 0 || now >= peer.roamed_at + kRoamedIntervalMs;
  switch (control_.raise_roamed_if(slot, source, due)) {
    case ControlQueue::Raised::no: return;
    case ControlQueue::Raised::anew: peer.roamed_at = now; break;
    case ControlQueue::Raised::waiting: break;
  }
  peer.roamed_told = true;
}

void Plane::authenticated(uint32_t slot, uint32_t handle, double now) noexcept {
  uint32_t length = 0;
  const Arrival* arrival = control_.arrival(handle, length);
  if (arrival == nullptr) return;
  const std::lock_guard lock(peer_locks_.of(slot));
  stamp_receipt(slot, length, now);
  follow_source(peers_.at(slot), arrival->source, arrival->local);
}

/** Rules 5 to 7. The peer's lock is held. */
void Plane::deliver(Context& ctx, Peer& peer, Keypair& keypair, const OpenItem& item) noexcept {
  uint8_t* plaintext = item.message + kMessageHeader;
  const uint32_t length = item.length - kMessageOverhead;
  const ReceivedRun& run = ctx.received[item.run];
  if (length == 0) return;
  if (is_frame(item)) {
    if (length > kControlBytesMax) return ctx.counters.add(Drop::inFrameUnknown);
    return to_slab(ctx, run, *item.source, DescriptorKind::frame, keypair.peer, {plaintext, length});
  }
  const uint32_t inner = inner_length(plaintext, length);
  if (inner == 0) return ctx.counters.add(Drop::inInnerMalformed);
  const uint8_t* source = ip_source(plaintext);
  const uint32_t owner = plaintext[0] >> 4 == 4 ? allowed_ips_.lookup4(source) : allowed_ips_.lookup6(source);
  if (owner != keypair.peer) return ctx.counters.add(Drop::inWrongSource);

  Record record = records_.record(keypair.peer);
  record.set(RecordField::last_data_receive, ctx.now);
  if (record.get(RecordField::answer_owed_since) == 0) {
    record.set(RecordField::answer_owed_since, ctx.now);
    notify(peer, keypair.peer, notify::kAnswerOwed, pending::kAnswerOwed);
  }
  // Congestion on the way is told to the inner hosts; packets that are not ECN-capable stay as they are, as in the kernel.
  if ((run.tos & 0x03) == kEcnCongestion) ip_mark_congestion(plaintext);
  if (peer.path_mtu != 0) clamp_mss(plaintext, inner, peer.path_mtu);
  if (ctx.coalescer == nullptr) return write_packet(ctx, plaintext, inner);
  if (ctx.coalescer->add(plaintext, inner)) return;
  flush_writes(ctx);
  ctx.coalescer->add(plaintext, inner);
}

// — writing to the TUN —

void Plane::write_packet(Context& ctx, uint8_t* packet, uint32_t length) noexcept {
  VirtioNetHeader header{};
  const iovec pieces[2] = {{&header, sizeof header}, {packet, length}};
  const size_t first = ctx.sink.vnet_header() ? 0 : 1;
  if (!ctx.sink.write({pieces + first, 2 - first})) return ctx.counters.add(Drop::tunWriteFailed);
  ctx.counters.add(Total::tunWrites);
  ctx.counters.add(Total::tunPacketsOut);
}

void Plane::flush_writes(Context& ctx) noexcept {
  if (ctx.coalescer == nullptr) return;
  ctx.coalescer->flush([&](const Coalescer::Write& write) {
    if (!ctx.sink.write(write.pieces)) return ctx.counters.add(Drop::tunWriteFailed, write.packets);
    ctx.counters.add(Total::tunWrites);
    ctx.counters.add(Total::tunPacketsOut, write.packets);
  });
}

}  // namespace warren
