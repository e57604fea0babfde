// What leaves: sealing runs, stamping peers, staged packets, single messages that commands send, and handing runs to the
// sockets with what follows from their outcome (docs/dataplane.md, "Tunnel to network" 4–8).

#include <cerrno>
#include <cstring>
#include <mutex>

#include "dataplane/plane.h"
#include "dataplane/relayed.h"
#include "packet/headers.h"
#include "packet/message.h"

namespace warren {

namespace {

/** DSCP of handshake messages (rule 8): 0x88 is AF41, as kernel WireGuard marks them. */
constexpr uint8_t kHandshakeTos = 0x88;
constexpr int kSendAttempts = 4;

bool is_full(int error) noexcept { return error == EAGAIN || error == ENOBUFS; }

uint8_t tos_of(std::span<const uint8_t> datagram) noexcept {
  if (datagram.size() < 4) return 0;
  const uint32_t type = load_le32(datagram.data());
  return type >= 1 && type <= 3 ? kHandshakeTos : 0;
}

}  // namespace

/** Rule 5, for messages that lie one behind the other, from `bytes` on, with their plaintext in place. */
void Plane::seal(Context& ctx, const Keypair& keypair, uint64_t first_counter, uint8_t* bytes,
                 const OpenRun& run) noexcept {
  for (uint32_t i = 0; i < run.count; ++i) {
    uint8_t* message = bytes + run.message_at(i);
    store_le32(message, 4);
    store_le32(message + 4, keypair.remote_index);
    store_le64(message + 8, first_counter + i);
    ctx.seal_jobs[i] = SealJob{message + kMessageHeader, run.length_of(i) - kMessageOverhead, first_counter + i};
  }
  ctx.aead->seal(keypair.send_key(), {ctx.seal_jobs.data(), run.count});
}

/** Rules 6 and 7: something authentic goes out. The peer's lock is held, and the send counter is advanced already. */
void Plane::stamp_sent(Peer& peer, uint32_t slot, uint32_t messages, uint64_t bytes, double now) noexcept {
  Record record = records_.record(slot);
  record.add(RecordField::tx_bytes, static_cast<double>(bytes));
  record.add(RecordField::tx_packets, messages);
  record.set(RecordField::last_authenticated_send, now);
  record.set(RecordField::answer_owed_since, 0);
  if (peer.current == nullptr) return;
  record.set(RecordField::send_counter, static_cast<double>(peer.current->send_counter));
}

/** Rule 6: it was data. */
void Plane::stamp_data_sent(Peer& peer, uint32_t slot, double now) noexcept {
  Record record = records_.record(slot);
  want_rekey_after_send(peer, slot, *peer.current, now);
  record.set(RecordField::last_data_send, now);
  if (record.get(RecordField::answer_awaited_since) != 0) return;
  record.set(RecordField::answer_awaited_since, now);
  notify(peer, slot, notify::kAnswerAwaited, pending::kAnswerAwaited);
}

void Plane::want_rekey_after_send(Peer& peer, uint32_t slot, const Keypair& keypair, double now) noexcept {
  const bool old = now >= keypair.rekey_on_send_at;
  if (!old && keypair.send_counter <= keypair.rekey_after_messages) return;
  if ((peer.armed & notify::kRekeyOnSend) == 0) return;
  peer.armed = static_cast<uint8_t>(peer.armed & ~notify::kRekeyOnSend);
  control_.raise_rekey(slot, old ? RekeyReason::send_age : RekeyReason::messages);
}

/** Sends what is staged, oldest first, while the keypair lets it; at once, so that nothing overtakes. Peer's lock held. */
uint32_t Plane::flush_staged_locked(Context& ctx, Peer& peer, uint32_t slot, double now) noexcept {
  Keypair* keypair = peer.current;
  Way way;
  if (!bound_ || keypair == nullptr || !way_to(peer.endpoint, way)) return 0;
  const auto header = static_cast<uint8_t>(way.header);
  uint8_t* const arena = ctx.flush_arena.get();
  uint32_t sent = 0;
  OpenRun run;
  uint64_t first_counter = 0;
  const auto send_run = [&]() noexcept {
    if (run.count == 0) return;
    seal(ctx, *keypair, first_counter, arena, run);
    stamp_sent(peer, slot, run.count, run.bytes() - size_t{header} * run.count, now);
    stamp_data_sent(peer, slot, now);
    iovec part{arena, run.bytes()};
    SendRun out;
    out.parts = {&part, 1};
    out.segment_size = run.count > 1 ? run.stride() : 0;
    out.destination = way.destination;
    out.source = peer.source;
    out.tos = run.ecn;
    send_now(ctx, &peer, slot, out);
    sent += run.count;
    run = OpenRun{};
  };
  size_t used = 0;
  while (peer.staged.count > 0 && keypair->may_send(now)) {
    const uint32_t length = staging_.front_length(peer.staged);
    const uint32_t message = padded_length(length, peer.path_mtu) + kMessageOverhead;
    if (used + header + message > kFlushArenaBytes || run.count == kRunMessagesMax) {
      send_run();
      used = 0;
    }
    uint8_t* plaintext = arena + used + header + kMessageHeader;
    staging_.pop(peer.staged, plaintext);
    const auto ecn = static_cast<uint8_t>(ip_traffic_class(plaintext) & 0x03);
    const bool continues = run.count != 0 && run.ecn == ecn && run.last_length == run.message_length &&
                           message <= run.message_length;
    if (!continues) {
      send_run();
      std::memmove(arena + header + kMessageHeader, plaintext, length);
      plaintext = arena + header + kMessageHeader;
      used = 0;
      run = OpenRun{slot, 0, 0, message, message, ecn, header};
      first_counter = keypair->send_counter;
    }
    if (header != 0) put_relay_header(arena + used, relay_slot_of(peer.endpoint));
    std::memset(plaintext + length, 0, message - kMessageOverhead - length);
    used += header + message;
    run.last_length = message;
    ++run.count;
    ++keypair->send_counter;
  }
  send_run();
  records_.record(slot).set(RecordField::staged, peer.staged.count);
  return sent;
}

/** Sends one run at once and sees to its outcome. `peer`: whose it is, its lock held; null for nobody's. */
SendReport Plane::send_now(Context& ctx, Peer* peer, uint32_t slot, SendRun& run) noexcept {
  const SendReport report = ctx.sink.send({&run, 1});
  ctx.counters.add(Total::udpSendCalls, report.calls);
  ctx.counters.add(Total::udpDatagramsOut, report.datagrams_sent);
  ctx.counters.add(Drop::outSocketFull, report.datagrams_full);
  ctx.counters.add(Drop::outSocketError, report.datagrams_failed);
  if (peer == nullptr) return report;
  if (run.forget_source) forget_source(*peer, run.source);
  if (run.error != 0 && !is_full(run.error)) control_.raise_send_failed(slot, run.error);
  return report;
}

/** It is of no use any more; the peer may have another by now. The peer's lock is held. */
void Plane::forget_source(Peer& peer, const LocalSource& source) noexcept {
  if (peer.source == source) stick_source(peer, LocalSource{});
}

/** One message of the JavaScript thread's. False, and nothing done, when there is no way there. */
bool Plane::send_single(Peer* peer, uint32_t slot, const SocketAddress& to, const LocalSource& source,
                        std::span<const uint8_t> message, uint8_t tos) noexcept {
  Way way;
  if (!bound_ || !way_to(to, way)) return false;
  uint8_t header[kRelayHeader];
  if (way.header != 0) put_relay_header(header, relay_slot_of(to));
  const iovec parts[2] = {{header, way.header}, {const_cast<uint8_t*>(message.data()), message.size()}};
  const size_t first = way.header == 0 ? 1 : 0;
  SendRun run;
  run.parts = {parts + first, 2 - first};
  run.destination = way.destination;
  run.source = source;
  run.tos = tos;
  send_now(commands_, peer, slot, run);
  return true;
}

/** Into the commands' flush arena; uses a counter. Returns the message's length. The peer's lock is held. */
uint32_t Plane::seal_frame(Context& ctx, Keypair& keypair, std::span<const uint8_t> frame) noexcept {
  const auto length = static_cast<uint32_t>(frame.size());
  const uint32_t message = padded_length(length) + kMessageOverhead;
  uint8_t* const out = ctx.flush_arena.get();
  if (length > 0) std::memcpy(out + kMessageHeader, frame.data(), length);
  std::memset(out + kMessageHeader + length, 0, message - kMessageOverhead - length);
  seal(ctx, keypair, keypair.send_counter++, out, OpenRun{kNoPeer, 1, 0, message, message, 0, 0});
  return message;
}

/** An empty frame is a keepalive (rule 7). */
bool Plane::send_frame(uint32_t slot, std::span<const uint8_t> frame, double now) noexcept {
  {
    const std::lock_guard lock(peer_locks_.of(slot));
    Peer& peer = peers_.at(slot);
    Keypair* keypair = peer.current;
    Way way;
    if (keypair == nullptr || !keypair->may_send(now)) return false;
    if (!bound_ || !way_to(peer.endpoint, way)) return false;
    const uint32_t message = seal_frame(commands_, *keypair, frame);
    stamp_sent(peer, slot, 1, message, now);
    want_rekey_after_send(peer, slot, *keypair, now);
    send_single(&peer, slot, peer.endpoint, peer.source, {commands_.flush_arena.get(), message}, 0);
  }
  control_.wake_if_due(commands_.counters);
  return true;
}

/**
 * Rule 9. For a probe that is not to be fragmented the sockets are told so for this one send: with the device lock held exclusively, when
 * no other thread sends.
 */
FrameSent Plane::send_frame_to(uint32_t slot, std::span<const uint8_t> frame, const SocketAddress& to,
                               bool dont_fragment, double now) noexcept {
  FrameSent outcome = FrameSent::sent;
  {
    std::unique_lock<DeviceLock> alone(lock_, std::defer_lock);
    if (dont_fragment) alone.lock();
    const std::lock_guard lock(peer_locks_.of(slot));
    outcome = send_frame_locked(peers_.at(slot), slot, frame, to, dont_fragment, now);
  }
  control_.wake_if_due(commands_.counters);
  return outcome;
}

FrameSent Plane::send_frame_locked(Peer& peer, uint32_t slot, std::span<const uint8_t> frame, const SocketAddress& to,
                                   bool dont_fragment, double now) noexcept {
  Context& ctx = commands_;
  Keypair* keypair = peer.current;
  Way way;
  if (keypair == nullptr || !keypair->may_send(now)) return FrameSent::no_keypair;
  if (!bound_ || !way_to(to, way)) return FrameSent::failed;
  const bool home = to == peer.endpoint;
  const sa_family_t family = way.destination.family();
  if (dont_fragment && !ctx.sink.set_fragmenting(family, false)) return FrameSent::failed;
  const uint32_t length = seal_frame(ctx, *keypair, frame);
  uint8_t header[kRelayHeader];
  if (way.header != 0) put_relay_header(header, relay_slot_of(to));
  const iovec parts[2] = {{header, way.header}, {ctx.flush_arena.get(), length}};
  const size_t first = way.header == 0 ? 1 : 0;
  SendRun run;
  run.parts = {parts + first, 2 - first};
  run.destination = way.destination;
  if (home) run.source = peer.source;
  const SendReport report = ctx.sink.send({&run, 1});
  if (dont_fragment) (void)ctx.sink.set_fragmenting(family, true);
  ctx.counters.add(Total::udpSendCalls, report.calls);
  ctx.counters.add(Total::udpDatagramsOut, report.datagrams_sent);
  if (run.forget_source) forget_source(peer, run.source);
  records_.record(slot).set(RecordField::send_counter, static_cast<double>(keypair->send_counter));
  want_rekey_after_send(peer, slot, *keypair, now);
  if (run.error == EMSGSIZE) return FrameSent::too_big;
  if (run.error != 0) {
    ctx.counters.add(is_full(run.error) ? Drop::outSocketFull : Drop::outSocketError);
    return FrameSent::failed;
  }
  if (home) {
    stamp_sent(peer, slot, 1, length, now);
  } else {
    Record record = records_.record(slot);
    record.add(RecordField::tx_bytes, length);
    record.add(RecordField::tx_packets, 1);
  }
  return FrameSent::sent;
}

bool Plane::send_handshake(uint32_t slot, std::span<const uint8_t> message, double now) noexcept {
  {
    const std::lock_guard lock(peer_locks_.of(slot));
    Peer& peer = peers_.at(slot);
    Way way;
    if (!bound_ || !way_to(peer.endpoint, way)) return false;
    stamp_sent(peer, slot, 1, message.size(), now);
    send_single(&peer, slot, peer.endpoint, peer.source, message, kHandshakeTos);
  }
  control_.wake_if_due(commands_.counters);
  return true;
}

bool Plane::send_to(const SocketAddress& to, std::span<const uint8_t> datagram) noexcept {
  return send_single(nullptr, kNoPeer, to, LocalSource{}, datagram, tos_of(datagram));
}

bool Plane::reply(uint32_t handle, std::span<const uint8_t> datagram) noexcept {
  uint32_t length = 0;
  const Arrival* arrival = control_.arrival(handle, length);
  if (arrival == nullptr) return false;
  return send_single(nullptr, kNoPeer, arrival->source, arrival->local, datagram, tos_of(datagram));
}

// — runs of a batch —

/**
 * Sends the collected runs. While the send buffer is full this thread waits a little, without any lock, and tries again;
 * what does not leave then is lost. Nothing that was looked up before may be used after.
 */
void Plane::emit(Context& ctx) noexcept {
  for (int attempt = 1; ctx.run_count > 0; ++attempt) {
    const SendReport report = ctx.sink.send({ctx.runs.data(), ctx.run_count});
    ctx.counters.add(Total::udpSendCalls, report.calls);
    ctx.counters.add(Total::udpDatagramsOut, report.datagrams_sent);
    const bool again = report.datagrams_full > 0 && report.datagrams_failed == 0 && attempt < kSendAttempts;
    if (!again || !keep_unsent(ctx)) {
      for (uint32_t i = 0; i < ctx.run_count; ++i) settle(ctx, ctx.runs[i], ctx.run_owners[i]);
      break;
    }
  }
  ctx.run_count = 0;
  ctx.arena_used = 0;
  let_writers_in(ctx);
}

/** Waits for room and keeps the runs, cut to what has not left, of peers that are still there. False: give up. */
bool Plane::keep_unsent(Context& ctx) noexcept {
  lock_.unlock_shared();
  const bool room = ctx.sink.wait_for_room();
  lock_.lock_shared();
  if (!room || !bound_) return false;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < ctx.run_count; ++i) {
    SendRun run = ctx.runs[i];
    const RunOwner owner = ctx.run_owners[i];
    if (run.datagrams_failed == 0) {
      settle(ctx, run, owner);
      continue;
    }
    if (peers_.at(owner.peer).generation != owner.generation) {
      ctx.counters.add(Drop::outStagedFlushed, run.datagrams_failed);
      continue;
    }
    iovec bytes = ctx.run_bytes[i];
    const size_t gone = size_t{run.datagrams_sent} * run.segment_size;
    bytes.iov_base = static_cast<uint8_t*>(bytes.iov_base) + gone;
    bytes.iov_len -= gone;
    ctx.run_bytes[kept] = bytes;
    run.parts = {&ctx.run_bytes[kept], 1};
    ctx.runs[kept] = run;
    ctx.run_owners[kept] = owner;
    ++kept;
  }
  ctx.run_count = kept;
  return true;
}

/** Counts what a run lost and tells about it. */
void Plane::settle(Context& ctx, SendRun& run, const RunOwner& owner) noexcept {
  if (run.error == 0 && !run.forget_source) return;
  Peer& peer = peers_.at(owner.peer);
  const bool there = peer.generation == owner.generation;
  if (run.forget_source && there) {
    const std::lock_guard lock(peer_locks_.of(owner.peer));
    forget_source(peer, run.source);
  }
  if (run.error == 0) return;
  ctx.counters.add(is_full(run.error) ? Drop::outSocketFull : Drop::outSocketError, run.datagrams_failed);
  if (there && !is_full(run.error)) control_.raise_send_failed(owner.peer, run.error);
}

/** Between runs, when nothing is looked up: a command need not wait for the rest of the batch. */
void Plane::let_writers_in(Context& ctx) noexcept {
  if (!lock_.contended()) return;
  // What was collected for a peer that a command now removes must be gone before.
  send_forwards(ctx);
  lock_.unlock_shared();
  lock_.lock_shared();
}

}  // namespace warren
