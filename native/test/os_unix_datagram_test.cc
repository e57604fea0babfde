// Datagrams to unix sockets, by path and by abstract name, and the failures a service can meet.
#include "os/unix_datagram.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "os_test_support.h"

namespace warren::test {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

struct Receiver {
  explicit Receiver(const std::string& at) : path(at), fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un self{};
    self.sun_family = AF_UNIX;
    std::memcpy(self.sun_path, path.data(), path.size());
    const bool abstract = path[0] == '@';
    if (abstract) self.sun_path[0] = 0;
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
    CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&self), length) == 0);
  }
  Receiver(const Receiver&) = delete;
  ~Receiver() {
    if (path[0] != '@') ::unlink(path.c_str());
  }
  std::string next() const {
    char buffer[4096];
    const ssize_t got = ::recv(fd.get(), buffer, sizeof buffer, 0);
    CHECK(got >= 0);
    return {buffer, static_cast<std::size_t>(got)};
  }
  std::string path;
  UniqueFd fd;
};

std::string name(const char* kind) { return std::string(kind) + "warren-dgram-" + std::to_string(::getpid()); }

TEST("a datagram arrives at a path") {
  const Receiver receiver(name("/tmp/"));
  must(send_unix_datagram(receiver.path, bytes_of("READY=1\nSTATUS=here")));
  CHECK_EQ(receiver.next(), std::string("READY=1\nSTATUS=here"));
}

TEST("a datagram arrives at an abstract name") {
  const Receiver receiver(name("@"));
  must(send_unix_datagram(receiver.path, bytes_of("WATCHDOG=1")));
  CHECK_EQ(receiver.next(), std::string("WATCHDOG=1"));
}

TEST("a full queue is an error, not a wait") {
  const Receiver receiver(name("@full-"));
  Status status;
  for (int i = 0; i < 100'000 && status.ok(); ++i) status = send_unix_datagram(receiver.path, bytes_of("x"));
  CHECK_EQ(status.error().code, EAGAIN);
}

TEST("nobody there, and addresses that are none") {
  CHECK_EQ(send_unix_datagram("/tmp/warren-nobody-is-here", bytes_of("x")).error().code, ENOENT);
  CHECK_EQ(send_unix_datagram("@warren-nobody-is-here", bytes_of("x")).error().code, ECONNREFUSED);
  CHECK_EQ(send_unix_datagram("", bytes_of("x")).error().code, EINVAL);
  CHECK_EQ(send_unix_datagram("@", bytes_of("x")).error().code, EINVAL);
  CHECK_EQ(send_unix_datagram(std::string(108, 'a'), bytes_of("x")).error().code, ENAMETOOLONG);
  CHECK_EQ(send_unix_datagram("@" + std::string(107, 'a'), bytes_of("x")).error().code, ECONNREFUSED);
}

}  // namespace
}  // namespace warren::test
