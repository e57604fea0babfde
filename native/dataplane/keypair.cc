// See keypair.h. Numbers of destroyed keypairs are used again, so the index table stays dense.
// Leaves out the rotation of previous, current and next (sessions.cc, inbound.cc).

#include "dataplane/keypair.h"

#include <cstring>

namespace warren {

Keypair* KeypairPool::create(uint32_t peer, const KeypairConfig& config) noexcept {
  auto keypair = std::make_unique<Keypair>();
  keypair->keys = slab_.take();
  std::memcpy(keypair->keys, config.send_key, 32);
  std::memcpy(keypair->keys + 32, config.receive_key, 32);
  keypair->peer = peer;
  keypair->local_index = config.local_index;
  keypair->remote_index = config.remote_index;
  keypair->reject_at = config.reject_at;
  keypair->rekey_on_send_at = config.rekey_on_send_at;
  keypair->rekey_on_receive_at = config.rekey_on_receive_at;
  keypair->rekey_after_messages = config.rekey_after_messages;
  keypair->reject_after_messages = config.reject_after_messages;
  keypair->send_counter = config.first_send_counter;
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(keypairs_.size()));
    keypairs_.emplace_back();
  }
  keypair->id = free_.back();
  free_.pop_back();
  Keypair* raw = keypair.get();
  keypairs_[raw->id] = std::move(keypair);
  return raw;
}

void KeypairPool::destroy(Keypair* keypair) noexcept {
  slab_.give_back(keypair->keys);
  free_.push_back(keypair->id);
  keypairs_[keypair->id].reset();
}

}  // namespace warren
