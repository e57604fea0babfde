// See unix_datagram.h.
#include "os/unix_datagram.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "os/unique_fd.h"

namespace warren {

Status send_unix_datagram(std::string_view path, std::span<const uint8_t> datagram) noexcept {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  // An abstract name begins with a zero byte, written '@', and is as long as the address says; a path ends with one.
  const bool abstract = path.starts_with('@');
  if (path.size() < 2 || path.size() + (abstract ? 0 : 1) > sizeof to.sun_path) {
    return Error{path.size() < 2 ? EINVAL : ENAMETOOLONG, "address the unix socket"};
  }
  std::memcpy(to.sun_path, path.data(), path.size());
  if (abstract) to.sun_path[0] = 0;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));

  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{errno, "open a unix socket"};
  ssize_t sent;
  do {
    sent = ::sendto(fd.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                    reinterpret_cast<const sockaddr*>(&to), length);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return Error{errno, "send to the unix socket"};
  return {};
}

}  // namespace warren
