// What the core_*_test programs share: further sides that keep what leaves and may refuse it, a waker that counts, and a plane
// whose peers talk to themselves. A peer whose session has the same key and the same index both ways accepts what it
// sends, so that one plane is both ends and every message can be fed back.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "aead/aead.h"
#include "check.h"
#include "dataplane/plane.h"
#include "dataplane/relayed.h"
#include "os_udp_support.h"
#include "packet/message.h"

namespace warren::test {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr uint64_t kRejectAfterMessages = std::numeric_limits<uint64_t>::max() - (uint64_t{1} << 13);

class CountingWaker final : public Waker {
 public:
  void wake() noexcept override { count.fetch_add(1, std::memory_order_relaxed); }
  std::atomic<uint32_t> count{0};
};

struct SentRun {
  Bytes bytes;
  uint32_t segment_size = 0;
  SocketAddress destination;
  LocalSource source;
  uint8_t tos = 0;
};

/** The bytes of a run, whatever parts they are in. */
inline Bytes bytes_of(const SendRun& run) {
  Bytes all;
  for (const iovec& part : run.parts) {
    const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
    all.insert(all.end(), bytes, bytes + part.iov_len);
  }
  return all;
}

/** Keeps what leaves. `room`: datagrams that the send buffer still takes. */
class TestSink final : public Sink {
 public:
  SendReport send(std::span<SendRun> out) noexcept override {
    SendReport report;
    ++report.calls;
    for (SendRun& run : out) {
      const Bytes bytes = bytes_of(run);
      const size_t length = bytes.size();
      const size_t step = run.segment_size == 0 ? length : run.segment_size;
      const auto datagrams = static_cast<uint32_t>((length + step - 1) / step);
      const uint32_t taken = std::min(datagrams, room);
      room -= taken;
      run.error = 0;
      run.forget_source = forget_source;
      run.datagrams_sent = taken;
      run.datagrams_failed = datagrams - taken;
      if (taken < datagrams) run.error = EAGAIN;
      report.datagrams_sent += taken;
      report.datagrams_full += datagrams - taken;
      if (taken == 0) continue;
      const size_t kept = std::min(length, taken * step);
      sent.push_back({Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(kept)), run.segment_size,
                      run.destination, run.source, run.tos});
      pieces.emplace_back(run.parts.begin(), run.parts.end());
    }
    return report;
  }
  bool set_fragmenting(sa_family_t, bool allowed) noexcept override {
    fragmenting = allowed;
    return true;
  }
  bool wait_for_room() noexcept override {
    ++waits;
    if (on_wait) on_wait();
    room += room_after_wait;
    return room_after_wait > 0;
  }
  bool write(std::span<const iovec> pieces) noexcept override {
    Bytes packet;
    for (const iovec& piece : pieces) {
      const auto* bytes = static_cast<const uint8_t*>(piece.iov_base);
      packet.insert(packet.end(), bytes, bytes + piece.iov_len);
    }
    written.push_back(std::move(packet));
    return true;
  }
  bool vnet_header() const noexcept override { return false; }

  std::vector<Bytes> datagrams() const {
    std::vector<Bytes> all;
    for (const SentRun& run : sent) {
      for (Bytes& datagram : cut(run.bytes, run.segment_size == 0 ? run.bytes.size() : run.segment_size)) {
        all.push_back(std::move(datagram));
      }
    }
    return all;
  }

  std::vector<SentRun> sent;
  /** Of each run that was sent: where its bytes were. */
  std::vector<std::vector<iovec>> pieces;
  bool fragmenting = true;
  std::vector<Bytes> written;
  uint32_t room = std::numeric_limits<uint32_t>::max() / 2;
  uint32_t room_after_wait = 0;
  uint32_t waits = 0;
  bool forget_source = false;
  std::function<void()> on_wait;
};

inline std::unique_ptr<Context> make_context(TestSink& sink, bool coalesce = false) {
  auto aead = make_aead();
  CHECK(aead != nullptr);
  auto coalescer = coalesce ? std::make_unique<Coalescer>(CoalesceOffloads{true, true, true}) : nullptr;
  return std::make_unique<Context>(sink, std::move(aead), std::move(coalescer));
}

/** IPv4/UDP from and to addresses of one peer, 10.<peer>.0.0/16, with its number all over the payload. */
inline Bytes packet_of(uint32_t peer, uint32_t payload, uint8_t traffic_class = 0) {
  Bytes packet(28 + payload, static_cast<uint8_t>(peer));
  packet[0] = 0x45;
  packet[1] = traffic_class;
  store_be16(packet.data() + 2, static_cast<uint16_t>(packet.size()));
  std::memset(packet.data() + 4, 0, 8);
  packet[8] = 64;
  packet[9] = 17;
  const uint8_t addresses[8] = {10, static_cast<uint8_t>(peer), 0, 1, 10, static_cast<uint8_t>(peer), 0, 2};
  std::memcpy(packet.data() + 12, addresses, 8);
  store_be16(packet.data() + 20, 4000);
  store_be16(packet.data() + 22, 4001);
  store_be16(packet.data() + 24, static_cast<uint16_t>(8 + payload));
  std::memset(packet.data() + 26, 0, 2);
  return packet;
}

/** A session of a peer with itself. */
struct SelfSession {
  uint8_t key[32];
  KeypairConfig config;

  SelfSession(uint32_t index, bool initiator) {
    std::memset(key, static_cast<int>(index & 0xff), sizeof key);
    std::memcpy(key, &index, sizeof index);
    config.local_index = index;
    config.remote_index = index;
    config.send_key = key;
    config.receive_key = key;
    config.initiator = initiator;
    config.reject_at = config.rekey_on_send_at = config.rekey_on_receive_at = kNever;
    config.rekey_after_messages = uint64_t{1} << 60;
    config.reject_after_messages = kRejectAfterMessages;
  }
};

/** `last`: the slot's last byte; the others are 7. */
inline std::array<uint8_t, kRelaySlotBytes> relay_slot(uint8_t last) { return {7, 7, 7, 7, 7, 7, 7, last}; }
/** As it looks between a node and a relay. */
inline Bytes relayed(uint8_t last, const Bytes& inner) {
  Bytes datagram(kRelayHeader);
  put_relay_header(datagram.data(), relay_slot(last).data());
  for (const uint8_t byte : inner) datagram.push_back(byte);
  return datagram;
}
/** [100::707:707:707:7SS]:number */
inline SocketAddress relayed_at(uint32_t number, uint8_t last) { return relayed_endpoint(number, relay_slot(last).data()); }

/** A bound plane and one context that is both the commands' and the worker's. */
struct OnePlane {
  explicit OnePlane(bool coalesce = false) : context(make_context(sink, coalesce)), plane(PlaneOptions{}, waker, *context) {
    plane.lock().lock();
    plane.set_bound(true);
    plane.lock().unlock();
  }

  /** With endpoint 192.0.2.<slot + 1>:51820, prefix 10.<slot>.0.0/16. */
  uint32_t add_peer(bool roaming = true) {
    const uint32_t slot = plane.add_peer(roaming);
    const uint8_t prefix[4] = {10, static_cast<uint8_t>(slot), 0, 0};
    CHECK(plane.insert_allowed_ip(slot, Family::ipv4, prefix, 16));
    plane.set_endpoint(slot, endpoint_of(slot));
    return slot;
  }
  static SocketAddress endpoint_of(uint32_t slot) {
    const uint8_t address[4] = {192, 0, 2, static_cast<uint8_t>(slot + 1)};
    return SocketAddress::from_ipv4(address, 51820);
  }
  void install(uint32_t slot, uint32_t index, bool initiator = true) {
    CHECK(plane.install_keypair(slot, SelfSession(index, initiator).config));
  }

  void outbound(const std::vector<Bytes>& packets) {
    plane.begin_batch(*context, now);
    for (const Bytes& packet : packets) plane.outbound(*context, VirtioNetHeader{}, packet);
    plane.end_batch(*context);
  }
  /** One receive call: each of `bytes` a run of `segment_size`. */
  void inbound(std::vector<SentRun> from, const SocketAddress* source = nullptr, uint8_t tos = 0) {
    std::vector<ReceivedRun> runs;
    for (SentRun& sent : from) {
      ReceivedRun run;
      run.data = sent.bytes.data();
      run.length = static_cast<uint32_t>(sent.bytes.size());
      run.segment_size = sent.segment_size == 0 ? run.length : sent.segment_size;
      run.source = source == nullptr ? sent.destination : *source;
      run.tos = tos;
      runs.push_back(run);
    }
    plane.begin_batch(*context, now);
    plane.inbound(*context, runs);
    plane.end_batch(*context);
  }

  double record(uint32_t slot, RecordField field) const { return plane.records().record(slot).get(field); }
  uint64_t drops(Drop which) const { return context->counters.get(which); }
  std::vector<Descriptor> poll() {
    std::vector<Descriptor> out(kPollMax);
    out.resize(plane.poll(now, out.data()));
    CHECK(plane.control().release(static_cast<uint32_t>(out.size())));
    return out;
  }

  TestSink sink;
  CountingWaker waker;
  std::unique_ptr<Context> context;
  Plane plane;
  double now = 1000;
};

inline uint64_t counter_of(const Bytes& message) { return load_le64(message.data() + 8); }
inline uint32_t index_of(const Bytes& message) { return load_le32(message.data() + 4); }

}  // namespace warren::test
