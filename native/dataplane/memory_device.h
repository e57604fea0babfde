// Memory mode: the pipeline with an injected clock and with arrays for TUN and network, one packet at a time, on one
// thread, coalescing off. The conformance suite holds it against the reference plane (MemoryIo in
// src/dataplane/dataplane.ts). Leaves out everything that the kernel would do.

#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/context.h"
#include "dataplane/device.h"

namespace warren {

/** Collects what leaves. Layouts are those that `takeTunOutput` and `takeUdpOutput` read in TypeScript. */
class MemorySink final : public Sink {
 public:
  SendReport send(std::span<SendRun> runs) noexcept override;
  bool wait_for_room() noexcept override { return false; }
  bool set_fragmenting(sa_family_t, bool) noexcept override { return true; }
  bool write(std::span<const iovec> pieces) noexcept override;
  bool vnet_header() const noexcept override { return false; }

  /** Each packet: u32 length, bytes. */
  std::vector<uint8_t> tun;
  /** Each datagram: destination and source (28 bytes each, family 0 = none), u32 length, bytes. */
  std::vector<uint8_t> udp;
};

/** In memory mode a local address carries its port: the high half of the interface number. */
LocalSource memory_local(const SocketAddress& local) noexcept;

class MemoryDevice final : public Device {
 public:
  /** `aead` is one tier of make_aead. */
  MemoryDevice(const PlaneOptions& options, Waker& waker, std::unique_ptr<Aead> aead);

  Plane& plane() noexcept override { return plane_; }
  double now() noexcept override { return now_; }
  BindOutcome bind(uint16_t port, uint32_t fwmark) noexcept override;
  void unbind() noexcept override;
  void set_fwmark(uint32_t) noexcept override {}
  void set_deadline(double at) noexcept override;
  uint64_t sum(Drop which) const noexcept override { return context_.counters.get(which); }
  uint64_t sum(Total which) const noexcept override { return context_.counters.get(which); }
  void close() noexcept override;
  bool closed() const noexcept override { return closed_; }

  void set_now(double now) noexcept;
  void set_mtu(uint32_t mtu) noexcept;
  void tun_input(std::span<const uint8_t> packet) noexcept;
  void udp_input(std::span<const uint8_t> datagram, const SocketAddress& source, const SocketAddress& local,
                 uint8_t tos = 0) noexcept;
  MemorySink& sink() noexcept { return sink_; }

 private:
  void check_deadline() noexcept;

  MemorySink sink_;
  Context context_;
  Plane plane_;
  /** Messages are opened in place: here, not in the caller's buffer. */
  std::vector<uint8_t> received_;
  double now_ = 0;
  double deadline_ = std::numeric_limits<double>::infinity();
  bool closed_ = false;
};

}  // namespace warren
