// See relay_table.h. Both tables are hash maps with a secret seed; a slot or an endpoint has one user at most, the last to claim it.

#include "dataplane/relay_table.h"

#include <cmath>
#include <cstring>

namespace warren {

namespace {

constexpr double kUnit = 1000;

uint64_t mix(uint64_t value) noexcept {
  value ^= value >> 32;
  value *= 0x9e37'79b9'7f4a'7c15ull;
  return value ^ (value >> 29);
}

}  // namespace

bool RelayUser::take(uint32_t bytes, double now) noexcept {
  if (std::isinf(limits.bytes_per_second)) return true;
  if (now > filled_at) {
    // Per second and per mille: the gain of a millisecond is the rate itself.
    tokens += (now - filled_at) * limits.bytes_per_second;
    if (tokens > limits.burst_bytes * kUnit) tokens = limits.burst_bytes * kUnit;
    filled_at = now;
  }
  if (tokens < bytes * kUnit) return false;
  tokens -= bytes * kUnit;
  return true;
}

size_t RelayTable::Hash::operator()(uint64_t slot) const noexcept { return mix(mix(slot ^ seed0) * (seed1 | 1)); }

size_t RelayTable::Hash::operator()(const EndpointKey& key) const noexcept {
  uint64_t hash = seed0;
  for (const uint64_t word : key.words) hash = mix((hash ^ word) * (seed1 | 1));
  return hash;
}

RelayTable::RelayTable(uint64_t seed0, uint64_t seed1)
    : by_slot_(0, Hash{seed0, seed1}), by_endpoint_(0, Hash{seed1, seed0}) {}

RelayTable::EndpointKey RelayTable::key_of(const SocketAddress& endpoint) noexcept {
  EndpointKey key{};
  const auto bytes = endpoint.bytes();
  std::memcpy(key.words, bytes.data(), bytes.size());
  key.words[2] = uint64_t{endpoint.scope_id()} << 32 | uint64_t{endpoint.port()} << 16 | endpoint.family();
  return key;
}

uint32_t RelayTable::add(uint32_t peer, uint64_t slot, const RelayLimits& limits, double now) noexcept {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(users_.size()));
    users_.emplace_back();
  }
  const uint32_t user = free_.back();
  free_.pop_back();
  RelayUser& entry = users_[user];
  entry = RelayUser{};
  entry.slot = slot;
  entry.peer = peer;
  entry.number = user;
  entry.limits = limits;
  entry.tokens = limits.burst_bytes * kUnit;
  entry.filled_at = now;
  by_slot_[slot] = user;
  return user;
}

void RelayTable::remove(uint32_t user) noexcept {
  const std::lock_guard lock(mutex_);
  forget_endpoint(user);
  by_slot_.erase(users_[user].slot);
  users_[user] = RelayUser{};
  free_.push_back(user);
}

void RelayTable::change_limits(uint32_t user, const RelayLimits& limits) noexcept {
  const std::lock_guard lock(mutex_);
  RelayUser& entry = users_[user];
  entry.limits = limits;
  if (entry.tokens > limits.burst_bytes * kUnit) entry.tokens = limits.burst_bytes * kUnit;
}

uint32_t RelayTable::find(uint64_t slot) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = by_slot_.find(slot);
  return found == by_slot_.end() ? kNone : found->second;
}

void RelayTable::follow(uint32_t user, const SocketAddress& endpoint, const LocalSource& source) noexcept {
  const std::lock_guard lock(mutex_);
  RelayUser& entry = users_[user];
  entry.source = source;
  if (!(entry.endpoint == endpoint)) {
    forget_endpoint(user);
    entry.endpoint = endpoint;
  }
  if (endpoint.family() != AF_UNSPEC) by_endpoint_[key_of(endpoint)] = user;
}

void RelayTable::set_source(uint32_t user, const LocalSource& source) noexcept {
  const std::lock_guard lock(mutex_);
  users_[user].source = source;
}

void RelayTable::forget_endpoint(uint32_t user) noexcept {
  if (users_[user].endpoint.family() == AF_UNSPEC) return;
  const auto found = by_endpoint_.find(key_of(users_[user].endpoint));
  // Somebody else may have proved to be there since.
  if (found != by_endpoint_.end() && found->second == user) by_endpoint_.erase(found);
}

RelayUser* RelayTable::at(const SocketAddress& endpoint) noexcept {
  const auto found = by_endpoint_.find(key_of(endpoint));
  return found == by_endpoint_.end() ? nullptr : &users_[found->second];
}

RelayUser* RelayTable::with(uint64_t slot) noexcept {
  const auto found = by_slot_.find(slot);
  return found == by_slot_.end() ? nullptr : &users_[found->second];
}

}  // namespace warren
