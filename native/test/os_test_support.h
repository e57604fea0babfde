// What the os_*_test programs share: checks that end the program, a network namespace of the test's own, commands run in
// it, waiting for a descriptor. A test needs CAP_SYS_ADMIN and CAP_NET_ADMIN, or user namespaces; without them it fails and
// says so, unless WARREN_TEST_WITHOUT_NAMESPACES=skip (exit status 77). Leaves out any framework.
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
#include <iostream>
#include <string>
#include <thread>

#include "os/result.h"
#include "os/unique_fd.h"

namespace warren::test {

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  std::cerr << file << ":" << line << ": " << what << std::endl;
  std::_Exit(1);
}

#define CHECK(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) ::warren::test::fail(__FILE__, __LINE__, "not so: " #condition);    \
  } while (false)

#define CHECK_EQ(actual, expected)                                                                                              \
  do {                                                                                                                          \
    const auto actual_ = (actual);                                                                                              \
    const auto expected_ = (expected);                                                                                          \
    if (!(actual_ == expected_))                                                                                                \
      ::warren::test::fail(__FILE__, __LINE__, std::string(#actual " is ") + ::warren::test::show(actual_) + ", not " + ::warren::test::show(expected_)); \
  } while (false)

inline std::string show(const std::string& value) { return value; }
template <class T>
std::string show(const T& value) {
  return std::to_string(value);
}

/** The value of a result that must be good. */
template <class T>
T must(Result<T> result, int line = __builtin_LINE()) {
  if (!result) fail("must", line, std::string(result.error().step) + ": " + std::strerror(result.error().code));
  return std::move(result).value();
}
inline void must(const Status& status, int line = __builtin_LINE()) {
  if (!status) fail("must", line, std::string(status.error().step) + ": " + std::strerror(status.error().code));
}

inline void run_case(const char* name, const std::function<void()>& body) {
  body();
  std::cout << "ok " << name << std::endl;
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

inline void write_file(const char* path, const std::string& text) {
  const UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) fail("write_file", 0, path);
}

/** Moves the process into a network namespace of its own, with loopback up. It goes with the process. Call before any thread is made. */
inline void enter_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) {
    const uid_t uid = ::getuid();
    const gid_t gid = ::getgid();
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      const char* without = std::getenv("WARREN_TEST_WITHOUT_NAMESPACES");
      if (without != nullptr && std::string(without) == "skip") {
        std::cerr << "skipped: no network namespace can be made here" << std::endl;
        std::_Exit(77);
      }
      fail("enter_namespace", 0,
           std::string("this test needs a network namespace of its own (root, or user namespaces): unshare: ") + std::strerror(errno) +
               "; WARREN_TEST_WITHOUT_NAMESPACES=skip leaves it out");
    }
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
    write_file("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
  }
  shell("ip link set lo up");
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
  std::cout.flush();
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
