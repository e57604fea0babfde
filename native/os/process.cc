// prctl, capset on every thread, mmap. See process.h.
#include "os/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "hash/secure.h"
#include "os/unique_fd.h"

namespace warren {

Status disable_core_dumps() noexcept {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) < 0) return Error{errno, "set RLIMIT_CORE to 0"};
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return Error{errno, "make the process undumpable"};
  return {};
}

Status raise_memlock_limit() noexcept {
  const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &all) == 0) return {};
  const Error refused{errno, "lift RLIMIT_MEMLOCK"};
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
  }
  return refused;
}

// — capabilities —

namespace {

constexpr uint64_t kKept = (uint64_t{1} << CAP_NET_ADMIN) | (uint64_t{1} << CAP_NET_BIND_SERVICE);

// What every thread is told to become; written before the first signal, only read afterwards.
struct CapabilitySets {
  __user_cap_data_struct data[2];
};
CapabilitySets wanted{};

// On the calling thread; only system calls, so that it may run in a signal handler. Results are read from /proc.
__attribute__((no_sanitize("thread", "address", "undefined"))) void become_wanted() noexcept {
  const int saved = errno;
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  ::syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L);
  if (::syscall(SYS_capset, &header, wanted.data) != 0) {  // this thread has less than the others: then nothing
    const __user_cap_data_struct nothing[2] = {};
    ::syscall(SYS_capset, &header, nothing);
  }
  errno = saved;
}

__attribute__((no_sanitize("thread", "address", "undefined"))) void on_signal(int) noexcept { become_wanted(); }

// The kernel's sigaction as opaque bytes: its layout (with a restorer or without) differs between machines.
struct RawAction {
  unsigned char bytes[64] = {};
};
constexpr std::size_t kKernelSigsetBytes = 8;

long raw_sigaction(int number, const RawAction* set, RawAction* get) noexcept {
  return ::syscall(SYS_rt_sigaction, number, set != nullptr ? set->bytes : nullptr, get != nullptr ? get->bytes : nullptr, kKernelSigsetBytes);
}

/**
 * Lends the signal that libc keeps for setuid(2) on all threads: no thread can block it (Node's inspector thread blocks every
 * other). libc refuses to install a handler for it, so it is installed by system call, as a copy of what libc makes of an
 * ordinary signal's handler, with its return trampoline.
 */
class BorrowedSignal {
 public:
  static constexpr int kNumber = 33;  // SIGSETXID of glibc, SIGCANCEL of musl: both unmask it in every thread

  BorrowedSignal() noexcept {
    const int ordinary = SIGRTMAX;
    struct sigaction handler {};
    struct sigaction previous {};
    handler.sa_handler = on_signal;
    handler.sa_flags = SA_RESTART;
    sigfillset(&handler.sa_mask);
    RawAction raw;
    if (::sigaction(ordinary, &handler, &previous) != 0) return;
    const bool read = raw_sigaction(ordinary, nullptr, &raw) == 0;
    ::sigaction(ordinary, &previous, nullptr);
    // The handler stands first; what was read there may be a wrapper's (a sanitizer's) that knows the other signal only.
    void (*const direct)(int) = on_signal;
    std::memcpy(raw.bytes, &direct, sizeof direct);
    ok_ = read && raw_sigaction(kNumber, &raw, &previous_) == 0;
  }
  BorrowedSignal(const BorrowedSignal&) = delete;
  BorrowedSignal& operator=(const BorrowedSignal&) = delete;
  bool ok() const noexcept { return ok_; }
  /** Only when the signal is pending nowhere: libc's own handler would take ours for a setuid(2) that never was. */
  void give_back() noexcept { raw_sigaction(kNumber, &previous_, nullptr); }

 private:
  RawAction previous_;
  bool ok_ = false;
};

struct DirectoryClose {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

// io_uring's workers are kernel threads that show among ours: they take no signal and run no code of ours.
bool is_kernel_worker(const char* status) noexcept { return std::strncmp(status, "Name:\tiou-", 10) == 0; }

struct ThreadStatus {
  ThreadCapabilities capabilities;
  bool kernel_worker = false;
  /** Our signal waits for the thread to take it. */
  bool pending = false;
};

Result<ThreadStatus> read_status(int tid) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
  UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return Error{errno, "open a thread's status"};
  char text[8192];
  std::size_t length = 0;
  for (;;) {
    const ssize_t got = ::read(fd.get(), text + length, sizeof text - 1 - length);
    if (got < 0) return Error{errno, "read a thread's status"};
    if (got == 0 || length + static_cast<std::size_t>(got) == sizeof text - 1) {
      length += static_cast<std::size_t>(got);
      break;
    }
    length += static_cast<std::size_t>(got);
  }
  text[length] = '\0';
  ThreadStatus status;
  status.kernel_worker = is_kernel_worker(text);
  ThreadCapabilities& found = status.capabilities;
  const auto field = [&text](const char* name, int base, uint64_t& value) {
    const char* at = std::strstr(text, name);
    if (at == nullptr) return false;
    value = std::strtoull(at + std::strlen(name), nullptr, base);
    return true;
  };
  uint64_t no_new_privs = 0;
  uint64_t pending = 0;
  if (!field("\nCapInh:", 16, found.inheritable) || !field("\nCapPrm:", 16, found.permitted) || !field("\nCapEff:", 16, found.effective) ||
      !field("\nNoNewPrivs:", 10, no_new_privs) || !field("\nSigPnd:", 16, pending))
    return Error{EPROTO, "find the capabilities in a thread's status"};
  found.no_new_privs = no_new_privs == 1;
  status.pending = (pending >> (BorrowedSignal::kNumber - 1) & 1) != 0;
  return status;
}

bool is_as_wanted(const ThreadCapabilities& found) noexcept {
  const uint64_t beyond = ~uint64_t{wanted.data[0].permitted};
  return found.no_new_privs && (found.permitted & beyond) == 0 && (found.effective & beyond) == 0 && found.inheritable == 0;
}

/** Signals every thread that still has more than it should. Says in `behind` how many have, or have not yet taken the signal. */
Status signal_threads_behind(int& behind) noexcept {
  behind = 0;
  const std::unique_ptr<DIR, DirectoryClose> tasks(::opendir("/proc/self/task"));
  if (!tasks) return Error{errno, "list the process's threads"};
  while (const dirent* entry = ::readdir(tasks.get())) {
    const int tid = std::atoi(entry->d_name);
    if (tid <= 0) continue;
    const auto status = read_status(tid);
    if (!status) {
      if (status.error().code == ENOENT || status.error().code == ESRCH) continue;  // it has just ended
      return status.error();
    }
    if (status.value().kernel_worker) continue;
    if (is_as_wanted(status.value().capabilities) && !status.value().pending) continue;
    ++behind;
    if (status.value().pending) continue;
    if (::syscall(SYS_tgkill, ::getpid(), tid, BorrowedSignal::kNumber) != 0 && errno != ESRCH) return Error{errno, "signal a thread"};
  }
  return {};
}

int64_t monotonic_ms() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

Result<ThreadCapabilities> read_capabilities(int tid) noexcept {
  const auto status = read_status(tid);
  if (!status) return status.error();
  return status.value().capabilities;
}

namespace {

Status keep_at_most(uint64_t most) noexcept {
  constexpr int64_t kPatienceMs = 5000;
  // Each thread keeps only what the process has: capset may not add.
  const auto own = read_capabilities(static_cast<int>(::syscall(SYS_gettid)));
  if (!own) return own.error();
  const auto kept = static_cast<uint32_t>(own.value().permitted & most);
  wanted = {};
  wanted.data[0].effective = kept;
  wanted.data[0].permitted = kept;

  BorrowedSignal borrowed;
  if (!borrowed.ok()) return Error{errno != 0 ? errno : EINVAL, "install the handler that drops capabilities"};
  become_wanted();
  // On failure the signal stays borrowed: it may still be on its way to some thread.
  // New threads inherit from their creator, which may have been behind when it made them: hence until none is left.
  const int64_t deadline = monotonic_ms() + kPatienceMs;
  for (;;) {
    int behind = 0;
    if (const Status signalled = signal_threads_behind(behind); !signalled) return signalled;
    if (behind == 0) {
      borrowed.give_back();
      return {};
    }
    if (monotonic_ms() >= deadline) return Error{ETIMEDOUT, "drop capabilities on every thread"};
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace

Status drop_capabilities() noexcept { return keep_at_most(kKept); }

Status drop_all_capabilities() noexcept { return keep_at_most(0); }

// — memory for keys —

Result<LockedRegion> LockedRegion::create(std::size_t size) noexcept {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t rounded = (size + page - 1) / page * page;
  if (rounded == 0 || rounded < size) return Error{EINVAL, "map memory for keys"};
  void* const memory = ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error{errno, "map memory for keys"};
  // Each of these is a protection more, and none is needed to work.
  ::madvise(memory, rounded, MADV_DONTDUMP);
  ::madvise(memory, rounded, MADV_WIPEONFORK);
  // By system call: a sanitizer makes nothing of the library's mlock, and says that it worked.
  const bool locked = ::syscall(SYS_mlock, memory, rounded) == 0;
  return LockedRegion(static_cast<uint8_t*>(memory), rounded, locked);
}

LockedRegion::LockedRegion(LockedRegion&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), locked_(std::exchange(other.locked_, false)) {}

LockedRegion& LockedRegion::operator=(LockedRegion&& other) noexcept {
  if (this == &other) return *this;
  release();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  locked_ = std::exchange(other.locked_, false);
  return *this;
}

LockedRegion::~LockedRegion() { release(); }

void LockedRegion::release() noexcept {
  if (data_ == nullptr) return;
  secure_zero(data_, size_);
  ::munmap(data_, size_);
  data_ = nullptr;
}

}  // namespace warren
