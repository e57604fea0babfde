// TUN device through /dev/net/tun: IFF_TUN | IFF_NO_PI | IFF_VNET_HDR with checksum, TSO and USO offloads, each with a
// fallback for the kernel that lacks it; several queues; adoption of a descriptor that somebody else opened (WG_TUN_FD).
// Kernel: Documentation/networking/tuntap.rst, uapi/linux/if_tun.h, virtio 1.2 §5.1.6. Never persistent: the device goes
// with its last descriptor. Leaves out addresses and routes, and what is inside a packet (native/packet).
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "os/result.h"
#include "os/unique_fd.h"

namespace warren {

/** What the kernel does for us on this device. Without `vnet_hdr` packets are read and written bare and the rest is false. */
struct TunFeatures {
  /** Each read and write begins with the 10-byte virtio_net_hdr (kVnetHeaderBytes). */
  bool vnet_hdr = false;
  /** The kernel may hand over packets whose checksum is still to be computed (NEEDS_CSUM). */
  bool csum = false;
  /** TCP super-packets of IPv4 and IPv6 may be read; they may be written whenever there is a vnet_hdr. */
  bool tso = false;
  /** The ECN variant of TSO (a super-packet whose first segment carries CWR). */
  bool tso_ecn = false;
  /** UDP super-packets (GSO_UDP_L4), Linux 6.2 and later; they may be written only when this is true. */
  bool uso = false;
};

inline constexpr std::size_t kVnetHeaderBytes = 10;
/** Largest read: a virtio header and an IP packet of 65,535 bytes. */
inline constexpr std::size_t kTunReadMax = kVnetHeaderBytes + 65535;
inline constexpr uint32_t kTunQueuesMax = 64;

struct TunOptions {
  /** 0 leaves the MTU as it is. */
  uint32_t mtu = 0;
  /** How many queues; more than 1 needs IFF_MULTI_QUEUE and becomes 1 where the kernel lacks it. */
  uint32_t queues = 1;
  /** ≥ 0: adopt this descriptor (owned from here on, also on failure) instead of opening one; `name` is ignored. */
  int adopt_fd = -1;
  /** What to ask for; the kernel may still lack it. False is for measurements and tests. */
  TunFeatures want{true, true, true, true, true};
  /** Bytes that the tunnel adds to each packet (header and tag) and the largest UDP payload that a run may have. */
  uint32_t overhead = 32;
  /** Segments that one UDP_SEGMENT send takes; see UdpSockets::max_segments. */
  uint32_t max_segments = 64;
};

class TunDevice {
 public:
  /** `name` may be a pattern ("wg%d"). Errors: EBUSY taken, EPERM no CAP_NET_ADMIN, ENOENT/ENODEV no /dev/net/tun, EINVAL bad name. */
  static Result<TunDevice> open(const std::string& name, const TunOptions& options) noexcept;

  const std::string& name() const noexcept { return name_; }
  uint32_t index() const noexcept { return index_; }
  const TunFeatures& features() const noexcept { return features_; }
  std::size_t queue_count() const noexcept { return queues_.size(); }
  /** Non-blocking, for poll. Stays the device's. */
  int queue_fd(std::size_t queue) const noexcept { return queues_[queue].get(); }
  uint32_t mtu() const noexcept { return mtu_; }
  /** What the kernel was told: at most so many segments in one super-packet. 0 = it did not take it. */
  uint32_t gso_max_segs() const noexcept { return gso_max_segs_; }

  /** Sets the MTU and adapts gso_max_segs. Errors: EINVAL out of range, EPERM. */
  Status set_mtu(uint32_t mtu) noexcept;
  /** To be called when the link monitor tells a new MTU that somebody else set: adapts gso_max_segs only. */
  Status follow_mtu(uint32_t mtu) noexcept;
  /** False once the device was deleted. A device that was moved to another namespace lives on. */
  bool alive() const noexcept;

  /** One packet (with its virtio header when there is one). Bytes read, or −errno: −EAGAIN none, −EIO link down, −EBADFD deleted. */
  ssize_t read(std::size_t queue, std::span<uint8_t> into) const noexcept;
  /** One packet from parts, the virtio header first when there is one. Bytes written or −errno: −EIO link down, −EINVAL malformed. */
  ssize_t write(std::size_t queue, std::span<const iovec> parts) const noexcept;

 private:
  TunDevice() = default;
  Status open_first(const std::string& name, const TunOptions& options) noexcept;
  Status adopt_first(const TunOptions& options) noexcept;
  Status open_further(const TunOptions& options) noexcept;
  Status configure(const TunOptions& options) noexcept;

  std::string name_;
  uint32_t index_ = 0;
  uint32_t mtu_ = 0;
  uint32_t gso_max_segs_ = 0;
  uint32_t overhead_ = 32;
  uint32_t max_segments_ = 64;
  uint16_t flags_ = 0;
  TunFeatures features_{};
  std::vector<UniqueFd> queues_;
};

/** Largest number of MTU-sized segments whose sealed run fits one UDP send: segs × (mtu + overhead) ≤ 65,507, and ≤ max_segments. */
uint32_t segments_per_run(uint32_t mtu, uint32_t overhead, uint32_t max_segments) noexcept;

/** How offloads are asked for; replaced in tests by a kernel that lacks some. Returns 0 or −errno. */
using SetOffload = int (*)(int fd, unsigned flags);
/** Steps down from `want` to what the kernel grants: USO, then the ECN variant, then TSO, then checksums. */
TunFeatures negotiate_offloads(int fd, TunFeatures want, SetOffload set_offload) noexcept;

}  // namespace warren
