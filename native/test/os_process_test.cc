// What the process gives up and protects. Each test runs in a child process, since nothing of it can be undone.
#include "os/process.h"

#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <vector>

#include "os/clock.h"
#include "os/link_monitor.h"
#include "os/tun.h"
#include "os/udp_socket.h"
#include "os_test_support.h"

namespace warren::test {
namespace {

int own_tid() { return static_cast<int>(::syscall(SYS_gettid)); }

constexpr uint64_t kKept = (uint64_t{1} << CAP_NET_ADMIN) | (uint64_t{1} << CAP_NET_BIND_SERVICE);

/** The words after `name:` of the mapping that holds `address` in smaps. */
std::string mapping_field(const void* address, const std::string& name) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  const auto at = reinterpret_cast<uintptr_t>(address);
  while (std::getline(maps, line)) {
    unsigned long from = 0;
    unsigned long to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) inside = from <= at && at < to;
    if (inside && line.rfind(name + ":", 0) == 0) return line.substr(name.size() + 1) + " ";
  }
  return "";
}

TEST("core dumps are off") {
  in_child([] {
    must(disable_core_dumps());
    CHECK_EQ(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    rlimit limit{};
    CHECK(::getrlimit(RLIMIT_CORE, &limit) == 0);
    CHECK_EQ(limit.rlim_cur, rlim_t{0});
    CHECK_EQ(limit.rlim_max, rlim_t{0});
  });
}

TEST("memory for keys is locked, left out of dumps, and empty in a child") {
  LockedRegion region = must(LockedRegion::create(5000));
  CHECK(region.size() >= 5000);
  CHECK(region.locked());
  CHECK(std::all_of(region.data(), region.data() + region.size(), [](uint8_t byte) { return byte == 0; }));
  const std::string flags = mapping_field(region.data(), "VmFlags");
  for (const char* flag : {" lo ", " dd ", " wf "}) CHECK(flags.find(flag) != std::string::npos);

  std::fill_n(region.data(), 5000, uint8_t{0xaa});
  in_child([&region] { CHECK(std::all_of(region.data(), region.data() + region.size(), [](uint8_t byte) { return byte == 0; })); });
  CHECK_EQ(region.data()[4999], uint8_t{0xaa});

  const uint8_t* const where = region.data();
  LockedRegion moved = std::move(region);
  CHECK(moved.data() == where && region.data() == nullptr);
  moved = must(LockedRegion::create(1));
  CHECK(mapping_field(where, "VmFlags").find(" lo ") == std::string::npos || moved.data() == where);
}

TEST("memory for keys is given even where it cannot be locked") {
  in_child([] {
    const rlimit none{0, 0};
    CHECK(::setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    must(drop_capabilities());
    LockedRegion region = must(LockedRegion::create(4096));
    CHECK(!region.locked());
    region.data()[4095] = 1;
    CHECK(mapping_field(region.data(), "VmFlags").find(" dd ") != std::string::npos);
  });
}

TEST("with the limit lifted, keys are locked after capabilities are dropped") {
  in_child([] {
    const Status lifted = raise_memlock_limit();
    must(drop_capabilities());
    LockedRegion region = must(LockedRegion::create(16 << 20));  // beyond the usual 8 MiB
    CHECK_EQ(region.locked(), lifted.ok());
  });
}

// — threads of every kind: asleep in the kernel, busy, waiting for another, and with every signal blocked —

struct Threads {
  std::atomic<bool> stop{false};
  std::atomic<int> started{0};
  std::mutex mutex;
  std::condition_variable wake;
  int pipe_ends[2];
  std::vector<std::thread> threads;
  std::array<std::atomic<int>, 4> tids{};

  Threads() {
    CHECK(::pipe(pipe_ends) == 0);
    start([this](int) {
      char byte;
      CHECK(::read(pipe_ends[0], &byte, 1) == 0);
    });
    start([this](int) {
      while (!stop) {
        // Reads the clock so that the loop gives way to no optimiser and to no lock.
        (void)boottime_ms();
      }
    });
    start([this](int) {
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return stop.load(); });
    });
    start([this](int) {
      sigset_t all;
      sigfillset(&all);
      CHECK(::pthread_sigmask(SIG_SETMASK, &all, nullptr) == 0);
      ++started;
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return stop.load(); });
    });
    while (started < 5) std::this_thread::yield();  // the last one counts twice: once its signals are blocked
  }
  void start(const std::function<void(int)>& body) {
    const auto i = threads.size();
    threads.emplace_back([this, i, body] {
      tids[i] = own_tid();
      ++started;
      body(static_cast<int>(i));
    });
  }
  void end() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    ::close(pipe_ends[1]);
    for (std::thread& thread : threads) thread.join();
    ::close(pipe_ends[0]);
  }
};

void check_dropped(int tid, uint64_t kept) {
  const ThreadCapabilities found = must(read_capabilities(tid));
  CHECK_EQ(found.effective, kept);
  CHECK_EQ(found.permitted, kept);
  CHECK_EQ(found.inheritable, uint64_t{0});
  CHECK(found.no_new_privs);
}

TEST("every thread keeps CAP_NET_ADMIN and CAP_NET_BIND_SERVICE only, and new ones get no more") {
  in_child([] {
    enter_namespace();
    CHECK((must(read_capabilities(own_tid())).permitted & ~kKept) != 0);  // else there is nothing to drop
    Threads threads;
    must(drop_capabilities());
    check_dropped(own_tid(), kKept);
    for (const auto& tid : threads.tids) check_dropped(tid, kKept);
    std::thread([] { check_dropped(own_tid(), kKept); }).join();
    must(drop_capabilities());  // again: nothing left to do

    // libc's own use of the borrowed signal still works on all threads.
    CHECK(::setgid(::getgid()) == 0);
    // What needs more is refused, also after exec.
    CHECK(::unshare(CLONE_NEWNS) != 0 && errno == EPERM);
    CHECK(shell_output("grep CapEff /proc/self/status").find("1400") != std::string::npos);
    threads.end();
  });
}

TEST("capabilities that were not there are not gained") {
  in_child([] {
    enter_namespace();
    // Gives up what is kept.
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    CHECK(::syscall(SYS_capget, &header, data) == 0);
    data[0].effective &= ~static_cast<uint32_t>(kKept);
    data[0].permitted &= ~static_cast<uint32_t>(kKept);
    CHECK(::syscall(SYS_capset, &header, data) == 0);
    must(drop_capabilities());
    check_dropped(own_tid(), 0);
    TunOptions options;
    const auto refused = TunDevice::open("ostun0", options);
    CHECK_EQ(refused.error().code, EPERM);
    CHECK_EQ(std::string(refused.error().step), std::string("create the TUN interface (TUNSETIFF)"));
  });
}

TEST("a process that needs none keeps none, and what is open goes on working") {
  in_child([] {
    enter_namespace();
    UdpOptions udp;
    udp.port = 443;
    UdpSockets sockets = must(UdpSockets::bind(udp));
    Threads threads;
    must(drop_all_capabilities());
    check_dropped(own_tid(), 0);
    for (const auto& tid : threads.tids) check_dropped(tid, 0);
    std::thread([] { check_dropped(own_tid(), 0); }).join();
    CHECK(sockets.port() == 443);
    UdpOptions other;
    other.port = 444;
    CHECK_EQ(UdpSockets::bind(other).error().code, EACCES);
    must(drop_capabilities());  // and does not come back by it
    check_dropped(own_tid(), 0);
    threads.end();
  });
}

TEST("what the tunnel needs still works afterwards") {
  in_child([] {
    enter_namespace();
    TunOptions options;
    options.mtu = 1420;
    TunDevice tun = must(TunDevice::open("ostun0", options));
    (void)raise_memlock_limit();  // may be refused, also to root
    must(disable_core_dumps());
    must(drop_capabilities());
    must(tun.set_mtu(1380));
    CHECK_EQ(tun.gso_max_segs(), 46u);
    LinkMonitor monitor = must(LinkMonitor::open(tun.index()));
    CHECK_EQ(monitor.mtu(), 1380u);
    UdpOptions udp;
    udp.fwmark = 51820;
    udp.port = 443;
    UdpSockets sockets = must(UdpSockets::bind(udp));
    must(sockets.set_fwmark(1));
    TunDevice second = must(TunDevice::open("ostun1", options));
    CHECK_EQ(second.name(), std::string("ostun1"));
  });
}

}  // namespace
}  // namespace warren::test
