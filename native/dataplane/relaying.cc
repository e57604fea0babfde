// Relayed datagrams, both ends and the middle (docs/paths.md; docs/dataplane.md, "Relayed endpoints" and "Relay"): the way to a relayed
// endpoint, what comes in by a relay, and what this plane forwards from one of its users to another. Forwarded bytes stay where they
// were received: of each datagram the slot alone is written over, and those that follow one another to one user leave as one send.

#include <mutex>
#include <utility>

#include "dataplane/plane.h"
#include "dataplane/relayed.h"
#include "packet/headers.h"
#include "packet/message.h"

namespace warren {

namespace {

constexpr uint8_t kEcnMask = 0x03;

bool is_wireguard(const uint8_t* message, uint32_t length) noexcept {
  switch (classify(message, length)) {
    case MessageKind::data:
    case MessageKind::initiation:
    case MessageKind::response:
    case MessageKind::cookie: return true;
    default: return false;
  }
}

}  // namespace

// — where peers are —

/** False when there is no endpoint, or the relay is not set. */
bool Plane::way_to(const SocketAddress& endpoint, Way& way) const noexcept {
  const uint32_t relay = relay_of(endpoint);
  way.destination = relay == 0 ? endpoint : relays_[relay];
  way.header = relay == 0 ? 0 : kRelayHeader;
  return way.destination.family() != AF_UNSPEC;
}

/** The peer's lock is held. */
void Plane::move_peer(Peer& peer, const SocketAddress& endpoint, const LocalSource& source) noexcept {
  peer.endpoint = endpoint;
  peer.source = source;
  peer.relayed.store(relay_of(endpoint) != 0, std::memory_order_relaxed);
  if (peer.relay_user != kNoPeer) relay_table_.follow(peer.relay_user, endpoint, source);
}

/** The peer's lock is held. */
void Plane::stick_source(Peer& peer, const LocalSource& source) noexcept {
  peer.source = source;
  if (peer.relay_user != kNoPeer) relay_table_.set_source(peer.relay_user, source);
}

/** The lowest number of the relays that are there, or 0. */
uint32_t Plane::relay_at(const SocketAddress& address) const noexcept {
  for (uint32_t number = 1; number < relays_end_; ++number) {
    if (relays_[number] == address) return number;
  }
  return 0;
}

// — coming in —

/** The bytes from `begin` to `end` of a received run: datagrams of type 0x20. */
void Plane::inbound_relayed(Context& ctx, uint32_t run_number, uint32_t begin, uint32_t end) noexcept {
  const ReceivedRun& run = ctx.received[run_number];
  const uint32_t relay = relay_at(run.source);
  if (relay == 0) return forward(ctx, run, begin, end);
  for (uint32_t at = begin; at < end; at += run.segment_size) {
    const uint32_t left = end - at;
    inbound_by_relay(ctx, run_number, relay, run.data + at, left < run.segment_size ? left : run.segment_size);
  }
}

void Plane::inbound_by_relay(Context& ctx, uint32_t run_number, uint32_t relay, uint8_t* data,
                             uint32_t length) noexcept {
  ctx.counters.add(Total::udpDatagramsIn);
  if (length < kRelayHeader) return ctx.counters.add(Drop::inBadLength);
  if (load<uint64_t>(data + kRelaySlotAt) == 0) return ctx.counters.add(Drop::inRelayUnknown);
  ReceivedRun run = ctx.received[run_number];
  run.source = relayed_endpoint(relay, data + kRelaySlotAt);
  data += kRelayHeader;
  length -= kRelayHeader;
  switch (classify(data, length)) {
    case MessageKind::data: return inbound_data(ctx, run_number, data, length, &run.source);
    case MessageKind::initiation: return inbound_initiation(ctx, run, {data, length});
    case MessageKind::response: return inbound_response(ctx, run, {data, length});
    case MessageKind::cookie: return inbound_cookie(ctx, run, {data, length});
    case MessageKind::bad_length: return ctx.counters.add(Drop::inBadLength);
    case MessageKind::stun:
    case MessageKind::unknown: return ctx.counters.add(Drop::inUnknownType);
  }
}

// — forwarding —

/** From one user to others: everything that came in one run, hence from one place, under one lock. */
void Plane::forward(Context& ctx, const ReceivedRun& run, uint32_t begin, uint32_t end) noexcept {
  std::unique_lock lock(relay_table_.mutex());
  RelayUser* const from = relay_table_.at(run.source);
  const RelayUser* to = nullptr;
  uint64_t named = 0;
  uint32_t packets = 0;
  uint64_t bytes = 0;
  for (uint32_t at = begin; at < end; at += run.segment_size) {
    uint8_t* const data = run.data + at;
    const uint32_t left = end - at;
    const uint32_t length = left < run.segment_size ? left : run.segment_size;
    ctx.counters.add(Total::udpDatagramsIn);
    if (length < kRelayHeader) {
      ctx.counters.add(Drop::inBadLength);
      continue;
    }
    if (from == nullptr) {
      ctx.counters.add(Drop::inRelayUnknown);
      continue;
    }
    if (!is_wireguard(data + kRelayHeader, length - kRelayHeader)) {
      ctx.counters.add(Drop::relayBadInner);
      continue;
    }
    if (ctx.forward_count == kForwardRunsMax || ctx.forward_part_count == kForwardPartsMax) {
      // Not under the table's lock: what the kernel says of a source address is for the peer, whose lock comes first.
      lock.unlock();
      send_forwards(ctx);
      lock.lock();
      named = 0;
    }
    const uint64_t slot = load<uint64_t>(data + kRelaySlotAt);
    if (slot != named) {
      named = slot;
      to = relay_table_.with(slot);
      const bool usable = to != nullptr && to != from && to->endpoint.family() != AF_UNSPEC &&
                          !(to->endpoint == run.source) && relay_of(to->endpoint) == 0;
      if (!usable) to = nullptr;
    }
    if (to == nullptr) {
      ctx.counters.add(Drop::relayNoSlot);
      continue;
    }
    if (!from->take(length, ctx.now)) {
      ctx.counters.add(Drop::relayLimited);
      continue;
    }
    store(data + kRelaySlotAt, from->slot);
    records_.record(to->peer).add(RecordField::relay_tx_bytes, length);
    collect(ctx, run, *to, data, length);
    ++packets;
    bytes += length;
  }
  if (packets == 0) return;
  Record record = records_.record(from->peer);
  record.add(RecordField::relay_rx_bytes, static_cast<double>(bytes));
  record.add(RecordField::relay_rx_packets, packets);
  ctx.counters.add(Total::relayPackets, packets);
  ctx.counters.add(Total::relayBytes, bytes);
}

/** To the send that is being collected if it goes to the same user and the length allows, else to a new one. There is room. */
void Plane::collect(Context& ctx, const ReceivedRun& run, const RelayUser& to, uint8_t* data, uint32_t length) noexcept {
  const auto tos = static_cast<uint8_t>(run.tos & kEcnMask);
  ForwardRun* last = ctx.forward_count == 0 ? nullptr : &ctx.forwards[ctx.forward_count - 1];
  SendRun* out = ctx.forward_count == 0 ? nullptr : &ctx.forward_runs[ctx.forward_count - 1];
  const bool continues = last != nullptr && !last->ended && last->user == to.number && length <= last->datagram_length &&
                         out->tos == tos && out->destination == to.endpoint && out->source == to.source;
  if (!continues) {
    last = &ctx.forwards[ctx.forward_count];
    out = &ctx.forward_runs[ctx.forward_count];
    ++ctx.forward_count;
    *last = ForwardRun{to.number, to.peer, peers_.at(to.peer).generation, ctx.forward_part_count, 0, 0, length, false};
    out->destination = to.endpoint;
    out->source = to.source;
    out->tos = tos;
  }
  iovec* const part = last->part_count == 0 ? nullptr : &ctx.forward_parts[ctx.forward_part_count - 1];
  if (part != nullptr && static_cast<uint8_t*>(part->iov_base) + part->iov_len == data) {
    part->iov_len += length;
  } else {
    ctx.forward_parts[ctx.forward_part_count++] = {data, length};
    ++last->part_count;
  }
  ++last->datagrams;
  last->ended = length < last->datagram_length;
}

/** What does not leave at once is lost: a relay does not wait for one user's way while others send. */
void Plane::send_forwards(Context& ctx) noexcept {
  const uint32_t count = std::exchange(ctx.forward_count, 0);
  ctx.forward_part_count = 0;
  if (count == 0) return;
  for (uint32_t i = 0; i < count; ++i) {
    const ForwardRun& forward = ctx.forwards[i];
    ctx.forward_runs[i].parts = {&ctx.forward_parts[forward.first_part], forward.part_count};
    ctx.forward_runs[i].segment_size = forward.datagrams > 1 ? forward.datagram_length : 0;
  }
  const SendReport report = ctx.sink.send({ctx.forward_runs.data(), count});
  ctx.counters.add(Total::udpSendCalls, report.calls);
  ctx.counters.add(Total::udpDatagramsOut, report.datagrams_sent);
  ctx.counters.add(Drop::outSocketFull, report.datagrams_full);
  ctx.counters.add(Drop::outSocketError, report.datagrams_failed);
  for (uint32_t i = 0; i < count; ++i) {
    const ForwardRun& forward = ctx.forwards[i];
    Peer& peer = peers_.at(forward.peer);
    if (!ctx.forward_runs[i].forget_source || peer.generation != forward.generation) continue;
    const std::lock_guard lock(peer_locks_.of(forward.peer));
    forget_source(peer, ctx.forward_runs[i].source);
  }
}

}  // namespace warren
