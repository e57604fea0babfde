// Methods about peers, sessions, control datagrams and what comes up: DataPlane of src/dataplane/dataplane.ts, with endpoints
// and limits in the shared scratch memory (plane_object.h).

#include "binding/methods.h"

namespace warren::binding {

namespace {

Plane& core(Call& call) noexcept { return call.plane.device->plane(); }
const Scratch& scratch(Call& call) noexcept { return call.plane.shared->scratch; }
Family family_of(bool ipv6) noexcept { return ipv6 ? Family::ipv6 : Family::ipv4; }

// — peers —

napi_value add_peer(Call& call, bool roaming) noexcept {
  if (call.plane.device->closed()) return raise(call.env, "broken invariant: a closed plane takes no peers");
  const uint32_t slot = core(call).add_peer(roaming);
  if (slot == kNoPeer) return raise(call.env, "broken invariant: there are at most peersMax peers");
  return number(call.env, slot);
}
void remove_peer(Call& call, PeerArgument peer) noexcept { core(call).remove_peer(peer.slot, call.plane.device->now()); }
void set_endpoint(Call& call, PeerArgument peer) noexcept { core(call).set_endpoint(peer.slot, scratch(call).first); }
void endpoint(Call& call, PeerArgument peer) noexcept { call.plane.shared->scratch.first = core(call).endpoint(peer.slot); }
void clear_source(Call& call, PeerArgument peer) noexcept { core(call).clear_source(peer.slot); }
void set_path_mtu(Call& call, PeerArgument peer, uint32_t mtu) noexcept { core(call).set_path_mtu(peer.slot, mtu); }
napi_value set_relay_slot(Call& call, PeerArgument peer, napi_value slot, double bytes_per_second, double burst_bytes) noexcept {
  napi_valuetype type = napi_undefined;
  napi_typeof(call.env, slot, &type);
  const RelayLimits limits{bytes_per_second, burst_bytes};
  Bytes bytes;
  if (type == napi_null) {
    core(call).set_relay_slot(peer.slot, nullptr, limits, call.plane.device->now());
  } else if (read(call.env, slot, bytes)) {
    if (bytes.size() != kRelaySlotBytes) return raise(call.env, "broken invariant: a relay slot has 8 bytes");
    core(call).set_relay_slot(peer.slot, bytes.data(), limits, call.plane.device->now());
  }
  return undefined(call.env);
}
napi_value insert_allowed_ip(Call& call, PeerArgument peer, bool ipv6, uint32_t length) noexcept {
  const bool fits = core(call).insert_allowed_ip(peer.slot, family_of(ipv6), scratch(call).address, static_cast<uint8_t>(length));
  return fits ? undefined(call.env) : raise(call.env, "broken invariant: the prefixes fit the table");
}
void remove_allowed_ip(Call& call, PeerArgument peer, bool ipv6, uint32_t length) noexcept {
  core(call).remove_allowed_ip(peer.slot, family_of(ipv6), scratch(call).address, static_cast<uint8_t>(length));
}
napi_value record_chunk(Call& call, uint32_t index) noexcept {
  auto chunk = index < kChunksMax ? core(call).records().chunk(index) : nullptr;
  if (chunk == nullptr) return raise(call.env, "broken invariant: the chunk exists");
  void* data = chunk->data();
  return lend(call.env, std::move(chunk), data, kRecordChunkBytes);
}

// — sessions —

bool expect_index(Call& call, uint32_t index, PeerArgument peer) noexcept { return core(call).expect_index(index, peer.slot); }
void forget_index(Call& call, uint32_t index) noexcept { core(call).forget_index(index); }

napi_value install_keypair(Call& call, PeerArgument peer, uint32_t local, uint32_t remote, Bytes send_key,
                           Bytes receive_key, bool initiator) noexcept {
  if (send_key.size() != 32 || receive_key.size() != 32) return raise(call.env, "broken invariant: session keys have 32 bytes");
  const Scratch& limits = scratch(call);
  KeypairConfig config;
  config.local_index = local;
  config.remote_index = remote;
  config.send_key = send_key.data();
  config.receive_key = receive_key.data();
  config.initiator = initiator;
  config.reject_at = limits.reject_at;
  config.rekey_on_send_at = limits.rekey_on_send_at;
  config.rekey_on_receive_at = limits.rekey_on_receive_at;
  config.rekey_after_messages = limits.rekey_after_messages;
  config.reject_after_messages = limits.reject_after_messages;
  config.first_send_counter = limits.first_send_counter;
  if (core(call).install_keypair(peer.slot, config)) return undefined(call.env);
  return raise(call.env, "broken invariant: a keypair's index is its own");
}

void expire_sending(Call& call, PeerArgument peer) noexcept { core(call).expire_sending(peer.slot); }
void clear_keypairs(Call& call, PeerArgument peer) noexcept { core(call).clear_keypairs(peer.slot); }
bool can_send(Call& call, PeerArgument peer, double now) noexcept { return core(call).can_send(peer.slot, now); }
uint32_t flush_staged(Call& call, PeerArgument peer, double now) noexcept { return core(call).flush_staged(peer.slot, now); }
uint32_t drop_staged(Call& call, PeerArgument peer, bool unreachable, double now) noexcept {
  return core(call).drop_staged(peer.slot, unreachable, now);
}
bool send_keepalive(Call& call, PeerArgument peer, double now) noexcept { return core(call).send_keepalive(peer.slot, now); }
bool is_frame(Call& call, Bytes frame) noexcept {
  if (!frame.empty() && frame.size() <= kFrameBytesMax && frame[0] >> 4 == 0) return true;
  raise(call.env, "broken invariant: a frame begins with a zero nibble and has at most 1,500 bytes");
  return false;
}
napi_value send_frame(Call& call, PeerArgument peer, Bytes frame, double now) noexcept {
  if (!is_frame(call, frame)) return nullptr;
  return boolean(call.env, core(call).send_frame(peer.slot, frame, now));
}
napi_value send_frame_to(Call& call, PeerArgument peer, Bytes frame, bool dont_fragment, double now) noexcept {
  if (!is_frame(call, frame)) return nullptr;
  const FrameSent sent = core(call).send_frame_to(peer.slot, frame, scratch(call).first, dont_fragment, now);
  return number(call.env, static_cast<uint32_t>(sent));
}

// — control datagrams —

bool send_handshake(Call& call, PeerArgument peer, Bytes message, double now) noexcept {
  return core(call).send_handshake(peer.slot, message, now);
}
bool send_to(Call& call, Bytes datagram) noexcept { return core(call).send_to(scratch(call).first, datagram); }
bool reply(Call& call, uint32_t handle, Bytes datagram) noexcept { return core(call).reply(handle, datagram); }
void authenticated(Call& call, PeerArgument peer, uint32_t handle, double now) noexcept {
  core(call).authenticated(peer.slot, handle, now);
}

// — what comes up —

uint32_t poll(Call& call, double now) noexcept { return core(call).poll(now, call.plane.shared->descriptors.data()); }
uint32_t backlog(Call& call) noexcept { return core(call).control().backlog(); }
napi_value release(Call& call, uint32_t count) noexcept {
  if (core(call).control().release(count)) return undefined(call.env);
  return raise(call.env, "broken invariant: only what was polled is released");
}
void rearm(Call& call, PeerArgument peer, uint32_t notifications, double now) noexcept {
  core(call).rearm(peer.slot, static_cast<uint8_t>(notifications), now);
}

napi_value set_public_key(Call& call, napi_value key) noexcept {
  napi_valuetype type = napi_undefined;
  napi_typeof(call.env, key, &type);
  Bytes bytes;
  if (type == napi_null) {
    core(call).set_public_key(nullptr);
  } else if (read(call.env, key, bytes)) {
    if (bytes.size() != 32) return raise(call.env, "broken invariant: a public key has 32 bytes");
    core(call).set_public_key(bytes.data());
  }
  return undefined(call.env);
}

}  // namespace

void add_plane_methods(std::vector<napi_property_descriptor>& methods) {
  method<add_peer, bool>(methods, "addPeer");
  method<remove_peer, PeerArgument>(methods, "removePeer");
  method<set_endpoint, PeerArgument>(methods, "setEndpoint");
  method<endpoint, PeerArgument>(methods, "endpoint");
  method<clear_source, PeerArgument>(methods, "clearSource");
  method<set_path_mtu, PeerArgument, uint32_t>(methods, "setPathMtu");
  method<set_relay_slot, PeerArgument, napi_value, double, double>(methods, "setRelaySlot");
  method<insert_allowed_ip, PeerArgument, bool, uint32_t>(methods, "insertAllowedIp");
  method<remove_allowed_ip, PeerArgument, bool, uint32_t>(methods, "removeAllowedIp");
  method<record_chunk, uint32_t>(methods, "recordChunk");
  method<expect_index, uint32_t, PeerArgument>(methods, "expectIndex");
  method<forget_index, uint32_t>(methods, "forgetIndex");
  method<install_keypair, PeerArgument, uint32_t, uint32_t, Bytes, Bytes, bool>(methods, "installKeypair");
  method<expire_sending, PeerArgument>(methods, "expireSending");
  method<clear_keypairs, PeerArgument>(methods, "clearKeypairs");
  method<can_send, PeerArgument, double>(methods, "canSend");
  method<flush_staged, PeerArgument, double>(methods, "flushStaged");
  method<drop_staged, PeerArgument, bool, double>(methods, "dropStaged");
  method<send_keepalive, PeerArgument, double>(methods, "sendKeepalive");
  method<send_frame, PeerArgument, Bytes, double>(methods, "sendFrame");
  method<send_frame_to, PeerArgument, Bytes, bool, double>(methods, "sendFrameTo");
  method<send_handshake, PeerArgument, Bytes, double>(methods, "sendHandshake");
  method<send_to, Bytes>(methods, "sendTo");
  method<reply, uint32_t, Bytes>(methods, "reply");
  method<authenticated, PeerArgument, uint32_t, double>(methods, "authenticated");
  method<poll, double>(methods, "poll");
  method<backlog>(methods, "backlog");
  method<release, uint32_t>(methods, "release");
  method<rearm, PeerArgument, uint32_t, double>(methods, "rearm");
  method<set_public_key, napi_value>(methods, "setPublicKey");
}

}  // namespace warren::binding
