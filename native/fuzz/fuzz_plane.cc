// The whole pipeline, both ways, over a plane whose peers talk to themselves (test/core_support.h): super-packets and
// rubbish from the TUN, rubbish and mutated messages from the network, true messages with arbitrary plaintext, handshake
// messages with a right mac1, relayed datagrams from relays, users and nobody, and the commands of JavaScript in between. Nothing
// crashes; what is written to the TUN is an IP packet from an address of a peer (or an ICMP error to the host); what leaves is a message,
// or one in a relayed datagram that a relay or a user of another slot gets; nothing is left at the end.

#include <algorithm>

#include "core_support.h"
#include "hash/mac1.h"
#include "input.h"
#include "packets.h"

using namespace warren;
using namespace warren::test;

namespace {

constexpr uint32_t kPeers = 3;
/** 192.0.2.201 and .202 */
constexpr uint32_t kRelays = 2;
SocketAddress relay_address(uint32_t number) { return OnePlane::endpoint_of(199 + number); }
constexpr size_t kStepsMax = 60;

/** One cipher for all inputs: making it costs more than most of them. */
class SharedAead final : public Aead {
 public:
  const char* tier() const noexcept override { return shared().tier(); }
  void seal(const uint8_t* key, std::span<SealJob> jobs) noexcept override { shared().seal(key, jobs); }
  void open(const uint8_t* key, std::span<OpenJob> jobs) noexcept override { shared().open(key, jobs); }
  void forget() noexcept override { shared().forget(); }

 private:
  static Aead& shared() noexcept {
    static const std::unique_ptr<Aead> aead = make_aead();
    return *aead;
  }
};

std::unique_ptr<Coalescer> make_coalescer(bool wanted) {
  return wanted ? std::make_unique<Coalescer>(CoalesceOffloads{true, true, true}) : nullptr;
}

class Run {
 public:
  Run(const uint8_t* data, size_t size)
      : input_(data, size),
        coalesce_((input_.byte() & 1) != 0),
        context_(std::make_unique<Context>(sink_, std::make_unique<SharedAead>(), make_coalescer(coalesce_))),
        plane_(PlaneOptions{.peers_max = 2 * kPeers, .slab_slots = 16}, waker_, *context_) {
    plane_.lock().lock();
    plane_.set_bound(true);
    plane_.lock().unlock();
    const Bytes key(32, 7);
    mac1_.set_public_key(key.data());
    plane_.set_public_key(key.data());
    for (uint32_t i = 0; i < kPeers; ++i) {
      add_peer(i != 0);
      CHECK(plane_.install_keypair(i, SelfSession(index_of_session(i), i != 1).config));
    }
  }

  void play() {
    for (size_t step = 0; step < kStepsMax && !input_.empty(); ++step) {
      this->step(input_.byte());
      check_outputs();
    }
    for (uint32_t slot = 0; slot < 2 * kPeers; ++slot) {
      if (plane_.peer_exists(slot)) plane_.remove_peer(slot, now_);
    }
    CHECK_EQ(plane_.relay_users(), size_t{0});
    const PlaneUsage usage = plane_.usage();
    CHECK_EQ(usage.keypairs + usage.indexes + usage.prefixes + usage.staging_blocks, size_t{0});
  }

 private:
  void step(uint8_t what) {
    const uint32_t peer = (what >> 4) % kPeers;
    switch (what & 15) {
      case 0: return from_tun({}, packet_of(peer, input_.byte() * 6u));
      case 1: return from_tun({}, input_.bytes(input_.byte()));
      case 2: return super_packet(peer);
      case 3: return any_header(peer);
      case 4: return from_network(input_.bytes(input_.byte()), 0);
      case 5: return echo();
      case 6: return authentic(peer, input_.bytes(input_.byte()));
      case 7: return authentic(peer, packet_of(peer, input_.byte() * 6u, input_.byte()));
      case 8: return mutated(peer);
      case 9: return handshake(peer);
      case 10: return poll();
      case 11: now_ += input_.word(); return;
      case 12: return relayed_arrives(peer);
      case 13: return path_command(peer);
      default: return command(what, peer);
    }
  }

  void path_command(uint32_t peer) {
    const uint8_t how = input_.byte();
    const uint32_t relay = 1 + (how >> 4) % kRelays;
    if ((how & 7) == 0) return plane_.set_relay(relay, (how & 8) != 0 ? SocketAddress{} : relay_address(relay));
    if (!plane_.peer_exists(peer)) return;
    const auto name = relay_slot(how >> 4);
    const RelayLimits limits{(how & 8) != 0 ? 100 : kNever, 300};
    switch (how & 7) {
      case 1: return plane_.set_endpoint(peer, relayed_at(relay, how >> 6));
      case 2: return plane_.set_relay_slot(peer, name.data(), limits, now_);
      case 3: return plane_.set_relay_slot(peer, nullptr, limits, now_);
      case 4: return plane_.set_path_mtu(peer, (how & 8) != 0 ? 0 : input_.word());
      default: break;
    }
    const SocketAddress to = (how & 8) != 0 ? relayed_at(relay, how >> 6) : OnePlane::endpoint_of(how >> 4);
    (void)plane_.send_frame_to(peer, Bytes(1 + input_.byte(), 0), to, (how & 1) != 0, now_);
  }

  /** Three of a run: headers to slots as the input says, with true messages or rubbish inside. */
  void relayed_arrives(uint32_t peer) {
    const uint8_t how = input_.byte();
    Bytes run;
    size_t length = 0;
    for (int i = 0; i < 3; ++i) {
      const uint8_t slot = input_.byte();
      const Bytes inner = (slot & 0x80) != 0 ? input_.bytes(input_.byte()) : sealed(peer, packet_of(peer, 40));
      const Bytes datagram = (how & 0x40) != 0 && i == 1 ? inner : relayed(slot & 15, inner);
      if (length == 0) length = datagram.size();
      run.insert(run.end(), datagram.begin(), datagram.end());
    }
    const SocketAddress source = (how & 1) != 0 ? relay_address(1 + (how >> 1) % kRelays) : OnePlane::endpoint_of(how >> 1 & 7);
    std::vector<SentRun> runs;
    const bool cut_evenly = (how & 0x80) == 0 && length != 0;
    runs.push_back({std::move(run), cut_evenly ? static_cast<uint32_t>(length) : input_.byte(), source, {}, 0});
    if (!runs[0].bytes.empty()) deliver(runs);
  }

  void command(uint8_t what, uint32_t peer) {
    if (!plane_.peer_exists(peer)) return add_peer((what & 1) != 0);
    Plane& plane = plane_;
    switch (input_.byte() % 12) {
      case 0: plane.remove_peer(peer, now_); return;
      case 1: plane.install_keypair(peer, SelfSession(index_of_session(peer) + ++sessions_ * 16, (what & 1) != 0).config); return;
      case 2: plane.clear_keypairs(peer); return;
      case 3: plane.expire_sending(peer); return;
      case 4: plane.flush_staged(peer, now_); return;
      case 5: plane.drop_staged(peer, true, now_); return;
      case 6: plane.send_keepalive(peer, now_); return;
      case 7: plane.send_frame(peer, Bytes(1 + input_.byte(), 0), now_); return;
      case 8: plane.set_endpoint(peer, SocketAddress{}); return;
      case 9: plane.set_endpoint(peer, OnePlane::endpoint_of(peer)); return;
      case 10: plane.expect_index(input_.byte(), peer); return;
      case 11: plane.rearm(peer, input_.byte(), now_); return;
    }
  }

  void add_peer(bool roaming) {
    const uint32_t slot = plane_.add_peer(roaming);
    CHECK(slot < kPeers);
    const uint8_t prefix[4] = {10, static_cast<uint8_t>(slot), 0, 0};
    CHECK(plane_.insert_allowed_ip(slot, Family::ipv4, prefix, 16));
    plane_.set_endpoint(slot, OnePlane::endpoint_of(slot));
  }
  void poll() {
    std::vector<Descriptor> taken(kPollMax);
    const uint32_t count = plane_.poll(now_, taken.data());
    CHECK(count <= kPollMax);
    CHECK(plane_.control().release(count));
  }

  // — from the TUN —
  void from_tun(const VirtioNetHeader& header, const Bytes& packet) {
    plane_.begin_batch(*context_, now_);
    plane_.outbound(*context_, header, packet);
    plane_.end_batch(*context_);
  }
  FlowSpec flow_to(uint32_t peer) {
    FlowSpec flow;
    flow.udp = (input_.byte() & 1) != 0;
    flow.source = {10, static_cast<uint8_t>(peer), 0, 1};
    flow.destination = {10, static_cast<uint8_t>(peer), 0, 2};
    return flow;
  }
  void super_packet(uint32_t peer) {
    const FlowSpec flow = flow_to(peer);
    Bytes packet;
    const uint16_t step = static_cast<uint16_t>(1 + input_.word() % 1400);
    const VirtioNetHeader header = build_super(flow, Bytes(1 + input_.word() % 20000, 1), step, packet);
    from_tun(header, packet);
  }
  void any_header(uint32_t peer) {
    VirtioNetHeader header;
    Bytes packet;
    build_super(flow_to(peer), Bytes(300, 1), 100, packet);
    header.flags = input_.byte();
    header.gso_type = input_.byte();
    header.gso_size = input_.word();
    header.checksum_start = input_.byte();
    header.checksum_offset = input_.byte();
    packet[input_.word() % packet.size()] = input_.byte();
    from_tun(header, packet);
  }

  // — from the network —
  void from_network(Bytes bytes, uint32_t segment_size, uint32_t from = 0) {
    const SocketAddress source = OnePlane::endpoint_of(from);
    std::vector<SentRun> runs;
    runs.push_back({std::move(bytes), segment_size, source, {}, 0});
    deliver(runs);
  }
  /** Everything that left comes back, in runs as it left, with a byte changed perhaps. */
  void echo() {
    std::vector<SentRun> runs = std::move(sink_.sent);
    sink_.sent.clear();
    for (SentRun& run : runs) {
      const uint8_t odd = input_.byte();
      if (odd & 1) run.bytes[input_.word() % run.bytes.size()] ^= odd;
      if (odd & 2) run.segment_size = 1 + input_.word();
      if (odd & 4) run.destination = OnePlane::endpoint_of(odd);
    }
    deliver(runs);
  }
  /** One receive call. */
  void deliver(std::vector<SentRun>& runs) {
    const uint8_t tos = input_.byte();
    std::vector<ReceivedRun> received;
    for (SentRun& run : runs) {
      ReceivedRun one;
      one.data = run.bytes.data();
      one.length = static_cast<uint32_t>(run.bytes.size());
      one.segment_size = run.segment_size == 0 ? one.length : run.segment_size;
      one.source = run.destination;
      one.tos = tos;
      received.push_back(one);
    }
    plane_.begin_batch(*context_, now_);
    plane_.inbound(*context_, received);
    plane_.end_batch(*context_);
  }
  Bytes sealed(uint32_t peer, const Bytes& plaintext) {
    const uint32_t index = index_of_session(peer);
    const SelfSession session(index, true);
    const uint64_t counter = 1000 + counter_;
    counter_ += 1 + (input_.byte() & 3);
    Bytes message(kDataHeader + plaintext.size() + kAeadTagLength);
    message[0] = 4;
    store_le32(message.data() + 4, index);
    store_le64(message.data() + 8, counter);
    std::copy(plaintext.begin(), plaintext.end(), message.begin() + kDataHeader);
    SealJob job{message.data() + kDataHeader, static_cast<uint32_t>(plaintext.size()), counter};
    aead_.seal(session.key, {&job, 1});
    return message;
  }
  void authentic(uint32_t peer, const Bytes& plaintext) { from_network(sealed(peer, plaintext), 0, peer); }
  void mutated(uint32_t peer) {
    Bytes message = sealed(peer, packet_of(peer, 40));
    message[input_.byte() % message.size()] ^= input_.byte();
    message.resize(std::min<size_t>(message.size(), input_.byte()));
    if (!message.empty()) from_network(std::move(message), 0, peer);
  }
  void handshake(uint32_t peer) {
    constexpr size_t kLengths[] = {kInitiationLength, kResponseLength, kCookieLength};
    const uint8_t type = input_.byte() % 3;
    Bytes message(kLengths[type], 1);
    store_le32(message.data(), type + 1u);
    // Where the receiver index of a response and of a cookie reply is.
    store_le32(message.data() + (type == 1 ? 8 : 4), input_.byte());
    if (type != 2) mac1_.stamp(message.data(), message.size());
    from_network(std::move(message), 0, peer);
  }

  void check_outputs() {
    for (const SentRun& run : sink_.sent) {
      for (const Bytes& datagram : cut(run.bytes, run.segment_size == 0 ? run.bytes.size() : run.segment_size)) {
        check_datagram(datagram);
      }
    }
    if (!coalesce_) {
      for (const Bytes& packet : sink_.written) check_written(packet);
    }
    sink_.written.clear();
    if (sink_.sent.size() > 200) sink_.sent.clear();
  }
  static void check_datagram(const Bytes& datagram) {
    const auto length = static_cast<uint32_t>(datagram.size());
    const bool by_relay = has_relay_type(datagram.data(), length);
    CHECK(!by_relay || length > kRelayHeader);
    const uint32_t header = by_relay ? kRelayHeader : 0;
    const MessageKind kind = classify(datagram.data() + header, length - header);
    // What a relay forwards may be a handshake of others; its own come from commands that are not given here.
    CHECK(kind == MessageKind::data ||
          (by_relay && (kind == MessageKind::initiation || kind == MessageKind::response || kind == MessageKind::cookie)));
  }
  static void check_written(const Bytes& packet) {
    CHECK_EQ(inner_length(packet.data(), packet.size()), packet.size());
    const uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
    const bool error = packet[0] >> 4 == 4 ? protocol == kProtocolIcmp : protocol == kProtocolIcmpv6;
    // Every allowed prefix is 10.<peer>.0.0/16.
    CHECK(error || (packet[0] >> 4 == 4 && packet[12] == 10 && packet[13] < kPeers));
  }

  static uint32_t index_of_session(uint32_t peer) { return 0x1000 + peer; }

  fuzz::Input input_;
  const bool coalesce_;
  TestSink sink_;
  CountingWaker waker_;
  std::unique_ptr<Context> context_;
  Plane plane_;
  SharedAead aead_;
  Mac1Checker mac1_;
  double now_ = 1000;
  uint64_t counter_ = 0;
  uint32_t sessions_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Run(data, size).play();
  return 0;
}
