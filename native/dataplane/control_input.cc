// Handshake messages, cookie replies and STUN on their way to JavaScript: docs/dataplane.md, "Network to tunnel" 1 and 2.
// The order of checks is length, mac1, index, bucket, slab; a flood of garbage ends here and is only counted. What the
// messages mean is TypeScript's.

#include "dataplane/plane.h"
#include "packet/headers.h"
#include "packet/message.h"

namespace warren {

void Plane::inbound_initiation(Context& ctx, const ReceivedRun& run, std::span<const uint8_t> message) noexcept {
  if (!mac1_.check(message.data(), message.size())) return ctx.counters.add(Drop::inBadMac1);
  inbound_control(ctx, run, DescriptorKind::handshake, kNoPeer, message);
}

void Plane::inbound_response(Context& ctx, const ReceivedRun& run, std::span<const uint8_t> message) noexcept {
  if (!mac1_.check(message.data(), message.size())) return ctx.counters.add(Drop::inBadMac1);
  const uint32_t value = indexes_.find(load_le32(message.data() + 8));
  // A keypair's index had its response already.
  if (value == IndexTable::kNone || (value & kExpectedBit) == 0) return ctx.counters.add(Drop::inUnknownIndex);
  inbound_control(ctx, run, DescriptorKind::handshake, index_owner(value), message);
}

/** It may answer our initiation, or our response, whose index is a keypair's by now. */
void Plane::inbound_cookie(Context& ctx, const ReceivedRun& run, std::span<const uint8_t> message) noexcept {
  const uint32_t value = indexes_.find(load_le32(message.data() + 4));
  const uint32_t peer = value == IndexTable::kNone ? kNoPeer : index_owner(value);
  if (peer == kNoPeer) return ctx.counters.add(Drop::inUnknownIndex);
  inbound_control(ctx, run, DescriptorKind::handshake, peer, message);
}

/** The peer that an entry of the index table belongs to; kNoPeer for a keypair that is gone. */
uint32_t Plane::index_owner(uint32_t value) const noexcept {
  if ((value & kExpectedBit) != 0) return expected_[value & ~kExpectedBit].peer;
  const Keypair* keypair = keypairs_.at(value);
  return keypair->retired.load(std::memory_order_relaxed) ? kNoPeer : keypair->peer;
}

void Plane::inbound_control(Context& ctx, const ReceivedRun& run, DescriptorKind kind, uint32_t peer,
                            std::span<const uint8_t> message) noexcept {
  if (!control_.allow(run.source, ctx.now)) return ctx.counters.add(Drop::inRateLimited);
  to_slab(ctx, run, run.source, kind, peer, message);
}

void Plane::to_slab(Context& ctx, const ReceivedRun& run, const SocketAddress& source, DescriptorKind kind,
                    uint32_t peer, std::span<const uint8_t> bytes) noexcept {
  const Arrival from{source, run.local, ctx.now};
  if (!control_.push(kind, peer, bytes, from)) ctx.counters.add(Drop::inControlFull);
}

}  // namespace warren
