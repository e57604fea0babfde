// One session: keys, indexes, limits, send counter and replay window (paper §6; docs/dataplane.md, "Keypairs"), and the
// pool that numbers them for the index table. A keypair exists only while its session does, so an idle peer has none.
// Leaves out who may change what when: see plane.h, "Locks".

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/key_slab.h"
#include "tables/replay_window.h"

namespace warren {

/** What installing a session needs; keys are borrowed. */
struct KeypairConfig {
  uint32_t local_index = 0;
  uint32_t remote_index = 0;
  const uint8_t* send_key = nullptr;
  const uint8_t* receive_key = nullptr;
  bool initiator = false;
  double reject_at = 0;
  double rekey_on_send_at = 0;
  double rekey_on_receive_at = 0;
  uint64_t rekey_after_messages = 0;
  uint64_t reject_after_messages = 0;
  uint64_t first_send_counter = 0;
};

struct Keypair {
  uint8_t* keys = nullptr;
  uint32_t id = 0;
  uint32_t peer = 0;
  uint32_t local_index = 0;
  uint32_t remote_index = 0;
  double reject_at = 0;
  double rekey_on_send_at = 0;
  double rekey_on_receive_at = 0;
  uint64_t rekey_after_messages = 0;
  uint64_t reject_after_messages = 0;

  // Under the peer's lock.
  uint64_t send_counter = 0;
  bool receive_only = false;
  ReplayWindow replay;

  /** Displaced by a worker: refused from now on, destroyed when the exclusive lock is next held. */
  std::atomic<bool> retired{false};

  const uint8_t* send_key() const noexcept { return keys; }
  const uint8_t* receive_key() const noexcept { return keys + 32; }
  bool may_send(double now) const noexcept {
    return !receive_only && now < reject_at && send_counter < reject_after_messages;
  }
};

class KeypairPool {
 public:
  /** Copies the keys. Aborts when memory is exhausted. */
  Keypair* create(uint32_t peer, const KeypairConfig& config) noexcept;
  /** Zeroes the keys. */
  void destroy(Keypair* keypair) noexcept;
  Keypair* at(uint32_t id) const noexcept { return keypairs_[id].get(); }
  size_t size() const noexcept { return slab_.used(); }
  bool locked() const noexcept { return slab_.locked(); }

 private:
  KeySlab slab_;
  std::vector<std::unique_ptr<Keypair>> keypairs_;
  std::vector<uint32_t> free_;
};

}  // namespace warren
