// Methods about the device: time, sockets, counters, shared memory, the end; the further side of memory mode; and what only a
// live plane can tell.

#include "binding/methods.h"

namespace warren::binding {

namespace {

double now(Call& call) noexcept { return call.plane.device->now(); }

/** The port, or minus the errno. */
napi_value bind(Call& call, uint32_t port, uint32_t fwmark) noexcept {
  if (call.plane.device->closed()) return raise(call.env, "broken invariant: a closed plane is not bound");
  const BindOutcome outcome = call.plane.device->bind(static_cast<uint16_t>(port), fwmark);
  return number(call.env, outcome.error != 0 ? -static_cast<double>(outcome.error) : static_cast<double>(outcome.port));
}
void unbind(Call& call) noexcept { call.plane.device->unbind(); }
void set_fwmark(Call& call, uint32_t fwmark) noexcept { call.plane.device->set_fwmark(fwmark); }
void set_deadline(Call& call, double at) noexcept { call.plane.device->set_deadline(at); }
void set_relay(Call& call, uint32_t relay) noexcept {
  if (relay < 1 || relay > kRelaysMax) {
    raise(call.env, "broken invariant: relays are numbered 1 to 64");
    return;
  }
  call.plane.device->plane().set_relay(relay, call.plane.shared->scratch.first);
}
void close(Call& call) noexcept { call.plane.close(call.env); }

/** Into the scratch memory: drops, then totals. */
void counters(Call& call) noexcept {
  double* out = call.plane.shared->scratch.counters;
  const Device& device = *call.plane.device;
  for (size_t i = 0; i < kDrops; ++i) *out++ = static_cast<double>(device.sum(static_cast<Drop>(i)));
  for (size_t i = 0; i < kTotals; ++i) *out++ = static_cast<double>(device.sum(static_cast<Total>(i)));
}

napi_value scratch_memory(Call& call) noexcept {
  auto shared = call.plane.shared;
  Scratch* data = &shared->scratch;
  return lend(call.env, std::move(shared), data, sizeof(Scratch));
}
napi_value descriptor_memory(Call& call) noexcept {
  auto shared = call.plane.shared;
  Descriptor* data = shared->descriptors.data();
  return lend(call.env, std::move(shared), data, sizeof(Descriptor) * kPollMax);
}
napi_value slab_memory(Call& call) noexcept {
  ControlQueue& control = call.plane.device->plane().control();
  auto slab = control.slab();
  uint8_t* data = slab.get();
  return lend(call.env, std::move(slab), data, size_t{control.slots()} * kSlabSlotBytes);
}

// — memory mode —

MemoryDevice* memory(Call& call) noexcept {
  if (call.plane.memory == nullptr) raise(call.env, "only an in-memory plane has that");
  return call.plane.memory;
}
void set_now(Call& call, double at) noexcept {
  if (MemoryDevice* device = memory(call)) device->set_now(at);
}
void set_mtu(Call& call, uint32_t mtu) noexcept {
  if (MemoryDevice* device = memory(call)) device->set_mtu(mtu);
}
void tun_input(Call& call, Bytes packet) noexcept {
  if (MemoryDevice* device = memory(call)) device->tun_input(packet);
}
void udp_input(Call& call, Bytes datagram) noexcept {
  const Scratch& scratch = call.plane.shared->scratch;
  if (MemoryDevice* device = memory(call)) device->udp_input(datagram, scratch.first, scratch.second);
}
napi_value take(Call& call, std::vector<uint8_t>& from) noexcept {
  napi_value out = copy(call.env, from);
  from.clear();
  return out;
}
napi_value take_tun(Call& call) noexcept {
  MemoryDevice* device = memory(call);
  return device == nullptr ? nullptr : take(call, device->sink().tun);
}
napi_value take_udp(Call& call) noexcept {
  MemoryDevice* device = memory(call);
  return device == nullptr ? nullptr : take(call, device->sink().udp);
}

// — live mode —

void hold_loop(Call& call, bool hold) noexcept { call.plane.waker.hold_loop(call.env, hold); }

napi_value status(Call& call) noexcept {
  const LiveDevice* live = call.plane.live;
  if (live == nullptr) return raise(call.env, "only a live plane has that");
  napi_env env = call.env;
  napi_value out = nullptr;
  napi_create_object(env, &out);
  const TunFeatures& tun = live->tun_features();
  const UdpSockets* sockets = live->first_sockets();
  Plane& plane = call.plane.device->plane();
  set(env, out, "ifname", text(env, live->ifname().c_str()));
  set(env, out, "ifindex", number(env, live->ifindex()));
  set(env, out, "mtu", number(env, plane.mtu()));
  set(env, out, "queues", number(env, static_cast<uint32_t>(live->queues())));
  set(env, out, "aead", text(env, live->aead_tier()));
  set(env, out, "keysLocked", boolean(env, plane.keys_locked()));
  set(env, out, "tunVnetHeader", boolean(env, tun.vnet_hdr));
  set(env, out, "tunChecksum", boolean(env, tun.csum));
  set(env, out, "tunTso", boolean(env, tun.tso));
  set(env, out, "tunUso", boolean(env, tun.uso));
  set(env, out, "gsoMaxSegments", number(env, live->gso_max_segs()));
  set(env, out, "udpGro", boolean(env, sockets != nullptr && sockets->gro()));
  set(env, out, "udpGso", boolean(env, sockets != nullptr && sockets->gso()));
  set(env, out, "udpSegmentsMax", number(env, sockets == nullptr ? 0 : sockets->max_segments()));
  set(env, out, "receiveBufferBytes", number(env, sockets == nullptr ? 0 : sockets->receive_buffer_bytes()));
  set(env, out, "sendBufferBytes", number(env, sockets == nullptr ? 0 : sockets->send_buffer_bytes()));
  set(env, out, "workerWakeUps", number(env, static_cast<double>(live->worker_wakes())));
  return out;
}

}  // namespace

void add_device_methods(std::vector<napi_property_descriptor>& methods) {
  method<now>(methods, "now");
  method<bind, uint32_t, uint32_t>(methods, "bind");
  method<unbind>(methods, "unbind");
  method<set_fwmark, uint32_t>(methods, "setFwmark");
  method<set_deadline, double>(methods, "setDeadline");
  method<set_relay, uint32_t>(methods, "setRelay");
  method<close>(methods, "close");
  method<counters>(methods, "counters");
  method<scratch_memory>(methods, "scratchMemory");
  method<descriptor_memory>(methods, "descriptorMemory");
  method<slab_memory>(methods, "slabMemory");
  method<set_now, double>(methods, "setNow");
  method<set_mtu, uint32_t>(methods, "setMtu");
  method<tun_input, Bytes>(methods, "tunInput");
  method<udp_input, Bytes>(methods, "udpInput");
  method<take_tun>(methods, "takeTun");
  method<take_udp>(methods, "takeUdp");
  method<hold_loop, bool>(methods, "holdLoop");
  method<status>(methods, "status");
}

}  // namespace warren::binding
