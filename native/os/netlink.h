// The little of rtnetlink that native/os needs: one request with attributes, its acknowledgement, and reading a link's
// state. netlink(7), rtnetlink(7). Internal to native/os. Leaves out everything but links.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstddef>
#include <cstdint>

#include "os/result.h"
#include "os/unique_fd.h"

namespace warren::netlink {

/** A request under construction, in a fixed buffer large enough for every request made here. */
class LinkRequest {
 public:
  LinkRequest(uint16_t type, uint16_t flags, uint32_t interface_index) noexcept;
  void add_u32(uint16_t attribute, uint32_t value) noexcept;
  const void* data() const noexcept { return buffer_; }
  std::size_t size() const noexcept;

 private:
  alignas(nlmsghdr) unsigned char buffer_[256] = {};
};

/** Opens an rtnetlink socket of the calling thread's namespace, subscribed to `groups` (0 = none). */
Result<UniqueFd> open_socket(uint32_t groups, bool non_blocking) noexcept;
Status send(int fd, const LinkRequest& request) noexcept;
/** Sends a request with NLM_F_ACK on a socket of its own and waits for the answer. */
Status transact(const LinkRequest& request, const char* step) noexcept;

/** Calls `visit(const nlmsghdr&)` for each whole message of what one recv gave. Not NLMSG_NEXT: its types upset -Wsign-compare. */
template <class Visit>
void for_each_message(const unsigned char* data, std::size_t length, Visit&& visit) {
  while (length >= sizeof(nlmsghdr)) {
    const auto& message = *reinterpret_cast<const nlmsghdr*>(data);
    if (message.nlmsg_len < sizeof(nlmsghdr) || message.nlmsg_len > length) return;
    visit(message);
    const std::size_t step = NLMSG_ALIGN(message.nlmsg_len);
    if (step >= length) return;
    data += step;
    length -= step;
  }
}

/** What a RTM_NEWLINK says. */
struct LinkState {
  uint32_t index = 0;
  bool up = false;
  uint32_t mtu = 0;
};
/** False when the message is too short. `message` is complete (NLMSG_OK). */
bool parse_link(const nlmsghdr& message, LinkState& state) noexcept;
/** Asks for one link's state. ENODEV when there is none. */
Result<LinkState> get_link(uint32_t interface_index) noexcept;

}  // namespace warren::netlink
