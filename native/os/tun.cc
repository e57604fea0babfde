// /dev/net/tun and rtnetlink. See tun.h.
#include "os/tun.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "os/netlink.h"
#include "packet/virtio.h"

namespace warren {
namespace {

static_assert(kVnetHeaderBytes == sizeof(VirtioNetHeader));

constexpr const char* kDevicePath = "/dev/net/tun";

Result<UniqueFd> open_device() noexcept {
  UniqueFd fd(::open(kDevicePath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return Error{errno, "open /dev/net/tun"};
  return fd;
}

int set_offload_ioctl(int fd, unsigned flags) { return ::ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(flags)) == 0 ? 0 : -errno; }

unsigned offload_bits(const TunFeatures& features) noexcept {
  unsigned bits = 0;
  if (features.csum) bits |= kTunOffloadChecksum;
  if (features.tso) bits |= kTunOffloadTso4 | kTunOffloadTso6;
  if (features.tso_ecn) bits |= kTunOffloadTsoEcn;
  if (features.uso) bits |= kTunOffloadUso4 | kTunOffloadUso6;
  return bits;
}

bool valid_name(const std::string& name) noexcept {
  return !name.empty() && name.size() < IFNAMSIZ && name.find('/') == std::string::npos && name != "." && name != "..";
}

}  // namespace

uint32_t segments_per_run(uint32_t mtu, uint32_t overhead, uint32_t max_segments) noexcept {
  constexpr uint32_t kRunBytesMax = 65507;  // UDP payload over IPv4: 65,535 − 20 − 8
  const uint64_t sealed = uint64_t{mtu} + overhead;
  const uint64_t fit = sealed == 0 ? max_segments : kRunBytesMax / sealed;
  return static_cast<uint32_t>(std::clamp<uint64_t>(fit, 1, std::max(1u, max_segments)));
}

TunFeatures negotiate_offloads(int fd, TunFeatures want, SetOffload set_offload) noexcept {
  // The kernel takes segmentation only together with checksums, and the ECN variant only together with TSO.
  want.csum = want.csum && want.vnet_hdr;
  want.tso = want.tso && want.csum;
  want.tso_ecn = want.tso_ecn && want.tso;
  want.uso = want.uso && want.csum;
  // One thing is given up at a time, the newest first; each step is what some kernel has.
  bool TunFeatures::* const ladder[] = {&TunFeatures::uso, &TunFeatures::tso_ecn, &TunFeatures::tso, &TunFeatures::csum};
  for (bool TunFeatures::*const step : ladder) {
    if (set_offload(fd, offload_bits(want)) == 0) return want;
    want.*step = false;
  }
  set_offload(fd, 0);  // an adopted descriptor may have had some; nothing more can be given up if this is refused
  return want;
}

Result<TunDevice> TunDevice::open(const std::string& name, const TunOptions& options) noexcept {
  TunDevice device;
  const Status first = options.adopt_fd >= 0 ? device.adopt_first(options) : device.open_first(name, options);
  if (!first) return first.error();
  if (const Status configured = device.configure(options); !configured) return configured.error();
  if (const Status further = device.open_further(options); !further) return further.error();
  return device;
}

Status TunDevice::open_first(const std::string& name, const TunOptions& options) noexcept {
  if (!valid_name(name)) return Error{EINVAL, "check the interface name (1 to 15 bytes, no slash)"};
  auto fd = open_device();
  if (!fd) return fd.error();
  unsigned known = 0;
  if (::ioctl(fd->get(), TUNGETFEATURES, &known) < 0) return Error{errno, "ask /dev/net/tun for its features"};

  flags_ = IFF_TUN | IFF_NO_PI;
  if (options.want.vnet_hdr && (known & IFF_VNET_HDR) != 0) flags_ |= IFF_VNET_HDR;
  if (options.queues > 1 && (known & IFF_MULTI_QUEUE) != 0) flags_ |= IFF_MULTI_QUEUE;
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(flags_);
  if (::ioctl(fd->get(), TUNSETIFF, &request) < 0) return Error{errno, "create the TUN interface (TUNSETIFF)"};
  name_ = std::string(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
  queues_.push_back(std::move(fd.value()));
  return {};
}

Status TunDevice::adopt_first(const TunOptions& options) noexcept {
  UniqueFd fd(options.adopt_fd);
  ifreq request{};
  if (::ioctl(fd.get(), TUNGETIFF, &request) < 0) return Error{errno, "read the adopted descriptor's interface (TUNGETIFF)"};
  flags_ = static_cast<uint16_t>(request.ifr_flags);
  if ((flags_ & IFF_TUN) == 0) return Error{EINVAL, "adopt a descriptor that is a TAP device, not a TUN"};
  // Whether it was opened with IFF_NO_PI cannot be read back (IFF_NOFILTER has the same bit); it is the convention of WG_TUN_FD.
  flags_ |= IFF_NO_PI;
  name_ = std::string(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
  const int status = ::fcntl(fd.get(), F_GETFL);
  if (status < 0 || ::fcntl(fd.get(), F_SETFL, status | O_NONBLOCK) < 0) return Error{errno, "make the adopted descriptor non-blocking"};
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  queues_.push_back(std::move(fd));
  return {};
}

Status TunDevice::open_further(const TunOptions& options) noexcept {
  if ((flags_ & IFF_MULTI_QUEUE) == 0) return {};
  const uint32_t wanted = std::min(options.queues, kTunQueuesMax);
  for (uint32_t queue = 1; queue < wanted; ++queue) {
    auto fd = open_device();
    if (!fd) return fd.error();
    ifreq request{};
    std::memcpy(request.ifr_name, name_.data(), name_.size());
    request.ifr_flags = static_cast<short>(flags_ & (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NAPI));
    if (::ioctl(fd->get(), TUNSETIFF, &request) < 0) return Error{errno, "attach a further TUN queue (TUNSETIFF)"};
    queues_.push_back(std::move(fd.value()));
  }
  return {};
}

Status TunDevice::configure(const TunOptions& options) noexcept {
  const int fd = queues_.front().get();
  ifreq request{};
  std::memcpy(request.ifr_name, name_.data(), name_.size());
  UniqueFd control(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control || ::ioctl(control.get(), SIOCGIFINDEX, &request) < 0) return Error{errno, "look up the TUN interface's index"};
  index_ = static_cast<uint32_t>(request.ifr_ifindex);

  TunFeatures want = options.want;
  want.vnet_hdr = (flags_ & IFF_VNET_HDR) != 0;
  if (want.vnet_hdr) {
    int header = static_cast<int>(kVnetHeaderBytes);
    if (::ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) return Error{errno, "set the virtio header's size"};
  }
  features_ = negotiate_offloads(fd, want, set_offload_ioctl);

  overhead_ = options.overhead;
  max_segments_ = options.max_segments;
  if (options.mtu != 0) return set_mtu(options.mtu);
  const auto link = netlink::get_link(index_);
  if (!link) return link.error();
  return follow_mtu(link.value().mtu);
}

Status TunDevice::set_mtu(uint32_t mtu) noexcept {
  netlink::LinkRequest request(RTM_SETLINK, NLM_F_ACK, index_);
  request.add_u32(IFLA_MTU, mtu);
  if (const Status set = netlink::transact(request, "set the TUN interface's MTU"); !set) return set;
  return follow_mtu(mtu);
}

Status TunDevice::follow_mtu(uint32_t mtu) noexcept {
  mtu_ = mtu;
  if (!features_.tso && !features_.uso) return {};
  const uint32_t segments = segments_per_run(mtu, overhead_, max_segments_);
  netlink::LinkRequest request(RTM_SETLINK, NLM_F_ACK, index_);
  request.add_u32(IFLA_GSO_MAX_SEGS, segments);
  const Status set = netlink::transact(request, "set the TUN interface's gso_max_segs");
  // Without it the kernel still works: super-packets are then cut into two sends where one would have done.
  gso_max_segs_ = set.ok() ? segments : 0;
  return {};
}

bool TunDevice::alive() const noexcept {
  ifreq request{};
  return ::ioctl(queues_.front().get(), TUNGETIFF, &request) == 0;
}

ssize_t TunDevice::read(std::size_t queue, std::span<uint8_t> into) const noexcept {
  for (;;) {
    const ssize_t got = ::read(queues_[queue].get(), into.data(), into.size());
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
}

ssize_t TunDevice::write(std::size_t queue, std::span<const iovec> parts) const noexcept {
  for (;;) {
    const ssize_t put = ::writev(queues_[queue].get(), parts.data(), static_cast<int>(parts.size()));
    if (put >= 0) return put;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace warren
