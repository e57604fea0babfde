// LinkMonitor on an interface of the test's own namespace.
#include "os/link_monitor.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <vector>

#include "os/netlink.h"
#include "os_test_support.h"

namespace warren::test {
namespace {

struct Link {
  Link() {
    enter_namespace();
    shell("ip link add oslink type veth peer name ospeer");
  }
  Link(const Link&) = delete;
  ~Link() { shell("ip link del oslink 2>/dev/null || true"); }
  uint32_t index() const { return ::if_nametoindex("oslink"); }
};

std::vector<LinkEvent> events_of(LinkMonitor& monitor) {
  std::array<LinkEvent, kLinkEventsMax> events{};
  const std::size_t count = monitor.poll(events);
  return {events.begin(), events.begin() + static_cast<std::ptrdiff_t>(count)};
}

/** The one event that a command causes. */
LinkEvent event_after(LinkMonitor& monitor, const std::string& command, int line = __builtin_LINE()) {
  shell(command, line);
  await_ready(monitor.fd(), POLLIN, line);
  const std::vector<LinkEvent> events = events_of(monitor);
  CHECK_EQ(events.size(), std::size_t{1});
  return events[0];
}

TEST("up, down, MTU and deletion are told once each") {
  const Link link;
  LinkMonitor monitor = must(LinkMonitor::open(link.index()));
  CHECK(!monitor.up());
  CHECK_EQ(monitor.mtu(), 1500u);
  CHECK(events_of(monitor).empty());

  CHECK(event_after(monitor, "ip link set oslink up").change == LinkChange::up);
  CHECK(monitor.up());
  const LinkEvent mtu = event_after(monitor, "ip link set oslink mtu 1280");
  CHECK(mtu.change == LinkChange::mtu);
  CHECK_EQ(mtu.value, 1280u);
  CHECK(event_after(monitor, "ip link set oslink down").change == LinkChange::down);

  // What says nothing new, and other interfaces, give no event.
  shell("ip link set oslink alias again && ip link set oslink mtu 1280 && ip link add osother type veth peer name osother2 && ip link set osother up && ip link del osother");
  await_ready(monitor.fd());
  CHECK(events_of(monitor).empty());

  CHECK(event_after(monitor, "ip link del oslink").change == LinkChange::deleted);
  CHECK(monitor.deleted());
  CHECK(events_of(monitor).empty());
}

TEST("the state at opening is known") {
  const Link link;
  shell("ip link set oslink up mtu 9000");
  LinkMonitor monitor = must(LinkMonitor::open(link.index()));
  CHECK(monitor.up());
  CHECK_EQ(monitor.mtu(), 9000u);
}

TEST("an interface that is not there is ENODEV") {
  enter_namespace();
  CHECK_EQ(LinkMonitor::open(99999).error().code, ENODEV);
}

TEST("several changes between two polls give their net difference") {
  const Link link;
  LinkMonitor monitor = must(LinkMonitor::open(link.index()));
  shell("ip link set oslink up && ip link set oslink mtu 1400 && ip link set oslink down && ip link set oslink mtu 1300 && ip link set oslink up");
  const std::vector<LinkEvent> events = events_of(monitor);
  CHECK_EQ(events.size(), std::size_t{2});
  CHECK(events[0].change == LinkChange::mtu && events[0].value == 1300);
  CHECK(events[1].change == LinkChange::up);
}

/** Changes the MTU until the monitor's socket has lost messages, and leaves it at `last`. */
void overrun(LinkMonitor& monitor, uint32_t index, uint32_t last) {
  const int smallest = 1;
  CHECK(::setsockopt(monitor.fd(), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest) == 0);
  for (uint32_t i = 0; i <= 64; ++i) {
    netlink::LinkRequest request(RTM_SETLINK, NLM_F_ACK, index);
    request.add_u32(IFLA_MTU, i == 64 ? last : 1000 + i);
    must(netlink::transact(request, "set the MTU"));
  }
  // Room for the answers to come.
  const int enough = 1 << 20;
  CHECK(::setsockopt(monitor.fd(), SOL_SOCKET, SO_RCVBUF, &enough, sizeof enough) == 0);
}

TEST("lost messages are made good") {
  const Link link;
  LinkMonitor monitor = must(LinkMonitor::open(link.index()));
  overrun(monitor, link.index(), 1234);
  const std::vector<LinkEvent> events = events_of(monitor);
  CHECK_EQ(events.size(), std::size_t{1});
  CHECK(events[0].change == LinkChange::mtu);
  CHECK_EQ(events[0].value, 1234u);
}

TEST("a deletion among lost messages is told") {
  const Link link;
  LinkMonitor monitor = must(LinkMonitor::open(link.index()));
  const int smallest = 1;
  const uint32_t index = link.index();
  for (uint32_t i = 0; i < 64; ++i) {
    CHECK(::setsockopt(monitor.fd(), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest) == 0);
    netlink::LinkRequest request(RTM_SETLINK, NLM_F_ACK, index);
    request.add_u32(IFLA_MTU, 1000 + i);
    must(netlink::transact(request, "set the MTU"));
  }
  shell("ip link del oslink");  // its message finds no room
  const int enough = 1 << 20;
  CHECK(::setsockopt(monitor.fd(), SOL_SOCKET, SO_RCVBUF, &enough, sizeof enough) == 0);
  const std::vector<LinkEvent> events = events_of(monitor);
  CHECK_EQ(events.size(), std::size_t{1});
  CHECK(events[0].change == LinkChange::deleted);
}

}  // namespace
}  // namespace warren::test
