// What `poll` hands to JavaScript: kinds, notification bits and the layout of one descriptor. The numbers and words are
// those of src/dataplane/dataplane.ts. Leaves out how descriptors are collected (control_queue.h).

#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "os/udp_socket.h"
#include "packet/headers.h"

namespace warren {

enum class DescriptorKind : uint32_t {
  handshake = 1,
  stun = 2,
  frame = 3,
  session_wanted = 16,
  keypair_confirmed = 17,
  roamed = 18,
  answer_owed = 19,
  answer_awaited = 20,
  rekey_wanted = 21,
  send_failed = 22,
  link = 32,
  deadline = 33,
};

enum class RekeyReason : uint32_t { send_age = 1, receive_age = 2, messages = 3 };

/** Bits of Notify. */
namespace notify {
inline constexpr uint8_t kSessionWanted = 1;
inline constexpr uint8_t kAnswerOwed = 2;
inline constexpr uint8_t kAnswerAwaited = 4;
inline constexpr uint8_t kRekeyOnSend = 8;
inline constexpr uint8_t kRekeyOnReceive = 16;
}  // namespace notify

inline constexpr uint32_t kDescriptorWords = 16;

/** One descriptor as it lies in the shared array. */
struct Descriptor {
  uint32_t kind = 0;
  uint32_t peer = 0;
  uint32_t offset = 0;
  uint32_t length = 0;
  uint32_t source_family = 0;
  uint32_t source_port = 0;
  uint32_t source_scope = 0;
  uint32_t handle = 0;
  /** Network order as it comes off the wire. */
  uint8_t source_address[16] = {};
  uint32_t value = 0;
  uint32_t value2 = 0;
  double time = 0;

  void set_source(const SocketAddress& from) noexcept {
    if (from.family() == AF_UNSPEC) return;
    source_family = from.family() == AF_INET6 ? 6 : 4;
    source_port = from.port();
    source_scope = from.scope_id();
    const auto bytes = from.bytes();
    std::memcpy(source_address, bytes.data(), bytes.size());
  }
};
static_assert(sizeof(Descriptor) == kDescriptorWords * 4);

}  // namespace warren
