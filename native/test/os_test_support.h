// What the os_*_test programs share beyond check.h: a network namespace of the test's own, commands run in it, waiting for
// a descriptor. A test needs CAP_SYS_ADMIN and CAP_NET_ADMIN, or user namespaces; without them it fails and says so, unless
// WARREN_TEST_WITHOUT_NAMESPACES=skip: then the program ends with status 77.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "check.h"
#include "os/result.h"
#include "os/unique_fd.h"

namespace warren::test {

/** The value of a result that must be good. */
template <class T>
T must(Result<T> result, int line = __builtin_LINE()) {
  if (!result) fail("a result", line, std::string(result.error().step) + ": " + std::strerror(result.error().code));
  return std::move(result).value();
}
inline void must(const Status& status, int line = __builtin_LINE()) {
  if (!status) fail("a result", line, std::string(status.error().step) + ": " + std::strerror(status.error().code));
}

/** Runs a command of the system in the calling thread's namespace; it must succeed. */
inline void shell(const std::string& command, int line = __builtin_LINE()) {
  const int status = std::system(command.c_str());
  if (status != 0) fail("shell", line, command + ": status " + std::to_string(status));
}

inline std::string shell_output(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) fail("shell_output", 0, command);
  std::string output;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, got);
  if (::pclose(pipe) != 0) fail("shell_output", 0, command);
  return output;
}

inline bool write_file(const char* path, const std::string& text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/** A network namespace, in a user namespace where that is the only way. 0 or errno. */
inline int try_namespace() {
  if (::unshare(CLONE_NEWNET) == 0) return 0;
  const std::string uid = std::to_string(::getuid());
  const std::string gid = std::to_string(::getgid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return errno;
  const bool mapped = write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", "0 " + uid + " 1") &&
                      write_file("/proc/self/gid_map", "0 " + gid + " 1");
  return mapped ? 0 : EPERM;
}

/**
 * Moves the process into a network namespace of its own, with loopback up; it goes with the process. Every test that
 * touches the network begins with this, before it makes a thread; only the first call does anything.
 */
inline void enter_namespace() {
  static bool entered = false;
  if (entered) return;
  if (const int error = try_namespace(); error != 0) {
    const char* const without = std::getenv("WARREN_TEST_WITHOUT_NAMESPACES");
    if (without != nullptr && std::strcmp(without, "skip") == 0) {
      std::fprintf(stderr, "skipped: no network namespace can be made here: %s\n", std::strerror(error));
      std::_Exit(77);
    }
    fail(__FILE__, __LINE__,
         std::string("this test needs a network namespace of its own (root, or user namespaces), and the kernel says: ") + std::strerror(error) +
             ". WARREN_TEST_WITHOUT_NAMESPACES=skip leaves it out.");
  }
  shell("ip link set lo up");
  entered = true;
}

/** A second namespace. Sockets and devices made in `run` live there and may be used from anywhere. */
class OtherNamespace {
 public:
  OtherNamespace() {
    std::thread([this] {
      CHECK(::unshare(CLONE_NEWNET) == 0);
      fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      CHECK(static_cast<bool>(fd_));
      shell("ip link set lo up");
    }).join();
  }
  void run(const std::function<void()>& body) const {
    std::thread([this, &body] {
      CHECK(::setns(fd_.get(), CLONE_NEWNET) == 0);
      body();
    }).join();
  }

 private:
  UniqueFd fd_;
};

/** Waits until the descriptor is ready; ends the test when that takes ten seconds. */
inline void await_ready(int fd, short events = POLLIN, int line = __builtin_LINE()) {
  pollfd wait{fd, events, 0};
  int ready;
  do {
    ready = ::poll(&wait, 1, 10'000);
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) fail("await_ready", line, "nothing came within ten seconds");
}

inline bool is_ready(int fd, short events = POLLIN) {
  pollfd wait{fd, events, 0};
  return ::poll(&wait, 1, 0) == 1;
}

/** Runs the body in a child process, for what cannot be undone. The child ends without any clean-up of the parent's. */
inline void in_child(const std::function<void()>& body, int line = __builtin_LINE()) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) fail("in_child", line, "fork");
  if (child == 0) {
    body();
    std::_Exit(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) fail("in_child", line, "the child failed with status " + std::to_string(status));
}

}  // namespace warren::test
