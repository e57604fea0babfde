// What the binding drives: a plane together with its further sides, live or in memory. Leaves out what only one of the two
// can do (memory_device.h, live_device.h).

#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/plane.h"

namespace warren {

struct BindOutcome {
  /** errno, or 0. */
  int error = 0;
  uint16_t port = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual Plane& plane() noexcept = 0;
  virtual double now() noexcept = 0;
  virtual BindOutcome bind(uint16_t port, uint32_t fwmark) noexcept = 0;
  virtual void unbind() noexcept = 0;
  virtual void set_fwmark(uint32_t fwmark) noexcept = 0;
  /** Infinity cancels. */
  virtual void set_deadline(double at) noexcept = 0;
  /** Counters of every thread, added up. */
  virtual uint64_t sum(Drop which) const noexcept = 0;
  virtual uint64_t sum(Total which) const noexcept = 0;
  /** Idempotent. Afterwards nothing is sent, received or raised. */
  virtual void close() noexcept = 0;
  virtual bool closed() const noexcept = 0;
};

}  // namespace warren
