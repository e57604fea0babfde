// Every bound of the data plane and its name. Those that TypeScript knows too are in docs/dataplane.md; the others size
// buffers and stand here alone.

#pragma once

#include <cstddef>
#include <cstdint>

namespace warren {

inline constexpr uint32_t kNoPeer = 0xffff'ffff;
/** Peers live in chunks of this many; RECORD_CHUNK_PEERS in dataplane.ts. */
inline constexpr uint32_t kChunkPeers = 1024;
inline constexpr uint32_t kChunksMax = 1024;
inline constexpr uint32_t kPeersMax = kChunkPeers * kChunksMax;

/** Relays that a plane knows at once, numbered from 1; RELAYS_MAX in src/base/relayed.ts. */
inline constexpr uint32_t kRelaysMax = 64;

/** Packets that wait for a keypair, per peer; checklist "staged packets". */
inline constexpr uint32_t kStagedPacketsMax = 128;
/** Memory of all staged packets of a device together: 16,384 blocks of 2 KiB. */
inline constexpr uint32_t kStagingBlocksMax = 16'384;

inline constexpr uint32_t kSlabSlots = 1024;
inline constexpr uint32_t kSlabSlotBytes = 1536;
/** A frame of 1,500 bytes with its padding is the longest thing that goes up. */
inline constexpr uint32_t kControlBytesMax = 1504;
inline constexpr uint32_t kFrameBytesMax = 1500;
/** Descriptors of one poll. */
inline constexpr uint32_t kPollMax = 256;
inline constexpr uint32_t kLinkEventsKept = 16;

/** `roamed` of a peer that does not roam by itself; ROAMED_INTERVAL_MS in dataplane.ts. */
inline constexpr double kRoamedIntervalMs = 100;

/** ICMP answers of the whole device: at most one in so many milliseconds, those about packets too big reckoned apart. */
inline constexpr double kIcmpIntervalMs = 10;

/** Header in front of the ciphertext of a data message, and the tag behind it (paper §5.4.6). */
inline constexpr uint32_t kMessageHeader = 16;
inline constexpr uint32_t kMessageTag = 16;
inline constexpr uint32_t kMessageOverhead = kMessageHeader + kMessageTag;
inline constexpr uint32_t kPaddingMultiple = 16;

/**
 * Sealed messages collected before they are sent: about three super-packets. Small enough to stay in the second-level
 * cache between sealing and the kernel's copy, large enough that one sendmmsg carries many runs of small packets.
 */
inline constexpr size_t kSendArenaBytes = 224 * 1024;
inline constexpr uint32_t kRunsMax = 128;
/** Messages of one run: what one super-packet of 64-byte segments gives, and more than one UDP_SEGMENT send takes. */
inline constexpr uint32_t kRunMessagesMax = 1024;
/** Behind the arena: an endpoint that becomes a relayed one while a run is open needs a header in front of each message. */
inline constexpr size_t kHeaderSlack = size_t{kRunMessagesMax} * 12;
/** Messages opened by one call under one keypair. */
inline constexpr uint32_t kOpenJobsMax = 256;
/** Relayed datagrams collected before they are forwarded: sends, and the pieces of received buffers in them. */
inline constexpr uint32_t kForwardRunsMax = 128;
inline constexpr uint32_t kForwardPartsMax = 512;
/** A staged queue leaves through a buffer of its own; it has room for any single packet. */
inline constexpr size_t kFlushArenaBytes = 80 * 1024;

}  // namespace warren
