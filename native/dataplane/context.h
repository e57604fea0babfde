// What one thread needs to carry packets, made once: cipher, buffers, counters and the further sides. A worker has one, and
// so has the JavaScript thread for what it sends itself. Leaves out all state that threads share (plane.h).

#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "aead/aead.h"
#include "dataplane/counters.h"
#include "dataplane/keypair.h"
#include "dataplane/limits.h"
#include "os/udp_socket.h"
#include "packet/coalescer.h"
#include "packet/segmenter.h"

namespace warren {

/** The further sides, TUN and network: the kernel's in live mode, arrays in memory mode. */
class Sink {
 public:
  virtual ~Sink() = default;
  /** Sends in order, without blocking; the outcome stands in each run. The plane is bound. */
  virtual SendReport send(std::span<SendRun> runs) noexcept = 0;
  /** Waits a little for room in the send buffer; false when it does not pay to try again. Called without any lock. */
  virtual bool wait_for_room() noexcept = 0;
  /** False: what is sent next in that family has DF set and ignores the path's known MTU. False is returned when it cannot be had. */
  virtual bool set_fragmenting(sa_family_t family, bool allowed) noexcept = 0;
  /** One write to the TUN, the virtio header in front if it wants one. False when the kernel refused it. */
  virtual bool write(std::span<const iovec> pieces) noexcept = 0;
  /** Whether `write` wants a virtio header in front. */
  virtual bool vnet_header() const noexcept = 0;
};

/** Messages for one peer that lie one behind the other in the arena, not yet sealed. */
struct OpenRun {
  uint32_t peer = kNoPeer;
  uint32_t count = 0;
  size_t begin = 0;
  uint32_t message_length = 0;
  /** Of the last message, which may be shorter and then ends the run. */
  uint32_t last_length = 0;
  uint8_t ecn = 0;
  /** Room in front of each message: kRelayHeader, or 0. */
  uint8_t header = 0;

  uint32_t stride() const noexcept { return header + message_length; }
  /** All messages and what stands in front of them. */
  size_t bytes() const noexcept { return size_t{stride()} * (count - 1) + header + last_length; }
  /** Offset of message `i` from `begin`. */
  size_t message_at(uint32_t i) const noexcept { return size_t{i} * stride() + header; }
  uint32_t length_of(uint32_t i) const noexcept { return i + 1 == count ? last_length : message_length; }
};

/** Whom a sealed run was for, to report its outcome. */
struct RunOwner {
  uint32_t peer = kNoPeer;
  uint32_t generation = 0;
};

/** A packet to open: how it came stands in the run that it is part of. */
struct OpenItem {
  uint8_t* message = nullptr;
  uint32_t length = 0;
  uint32_t run = 0;
  /** The run's, or one of `Context::relayed_sources`. */
  const SocketAddress* source = nullptr;
};

/** Relayed datagrams to one user, collected into one send. */
struct ForwardRun {
  uint32_t user = 0;
  uint32_t peer = kNoPeer;
  uint32_t generation = 0;
  uint32_t first_part = 0;
  uint32_t part_count = 0;
  uint32_t datagrams = 0;
  uint32_t datagram_length = 0;
  /** The last one was shorter: nothing may follow it. */
  bool ended = false;
};

struct Context {
  /** `coalescer` may be null: then every packet is a write of its own. */
  Context(Sink& sink_, std::unique_ptr<Aead> aead_, std::unique_ptr<Coalescer> coalescer_);

  Sink& sink;
  std::unique_ptr<Aead> aead;
  std::unique_ptr<Coalescer> coalescer;
  CounterBlock counters;
  Segmenter segmenter;
  /** Instant of the batch at hand. */
  double now = 0;
  /** Set while an exclusive section should destroy what was retired. */
  bool reap_wanted = false;
  /** KeysEpoch of the plane when `aead` last forgot. */
  uint64_t keys_epoch = 0;

  // — sending —
  std::unique_ptr<uint8_t[]> arena;
  size_t arena_used = 0;
  OpenRun open_run;
  uint32_t run_count = 0;
  std::array<SendRun, kRunsMax> runs;
  std::array<iovec, kRunsMax> run_bytes;
  std::array<RunOwner, kRunsMax> run_owners;
  std::vector<SealJob> seal_jobs;
  /** For staged packets on their way out, and for what an ICMP answer quotes. */
  std::unique_ptr<uint8_t[]> flush_arena;

  // — receiving —
  /** What is being worked on; `OpenItem::run` counts in it. */
  std::span<const ReceivedRun> received;
  Keypair* open_keypair = nullptr;
  uint32_t open_index = 0;
  uint32_t open_count = 0;
  std::array<OpenJob, kOpenJobsMax> open_jobs;
  std::array<OpenItem, kOpenJobsMax> open_items;
  /** Sources of items that came by a relay, until they are opened. */
  uint32_t relayed_source_count = 0;
  std::array<SocketAddress, kOpenJobsMax> relayed_sources;

  // — forwarding; the bytes are those that were received —
  uint32_t forward_count = 0;
  uint32_t forward_part_count = 0;
  std::array<ForwardRun, kForwardRunsMax> forwards;
  std::array<SendRun, kForwardRunsMax> forward_runs;
  std::array<iovec, kForwardPartsMax> forward_parts;
};

}  // namespace warren
