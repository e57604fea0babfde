// One datagram to a unix socket: what a service tells its manager (sd_notify). unix(7). Leaves out descriptors and
// credentials: the kernel adds the latter where the receiver wants them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "os/result.h"

namespace warren {

/** `path` is a file's, or an abstract name after '@'. Never waits: EAGAIN when the receiver's queue is full. */
Status send_unix_datagram(std::string_view path, std::span<const uint8_t> datagram) noexcept;

}  // namespace warren
