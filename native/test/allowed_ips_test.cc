// Cryptokey routing against a naive oracle: a list of prefixes, searched from end to end.

#include "tables/allowed_ips.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "check.h"

using namespace warren;
using namespace warren::test;

namespace {

constexpr uint32_t kNone = AllowedIps::kNone;

using Address = std::array<uint8_t, 16>;

struct Prefix {
  Family family;
  Address address;
  uint8_t length;
  auto operator<=>(const Prefix&) const = default;
};

uint32_t width(Family family) { return family == Family::ipv4 ? 32 : 128; }

Prefix canonical(Family family, Address address, uint32_t length) {
  for (uint32_t bit = length; bit < 128; ++bit) address[bit / 8] &= static_cast<uint8_t>(~(0x80u >> (bit % 8)));
  return {family, address, static_cast<uint8_t>(length)};
}

bool covers(const Prefix& prefix, Family family, const Address& address) {
  return prefix.family == family && canonical(family, address, prefix.length).address == prefix.address;
}

class Pair {
 public:
  void insert(Family family, const Address& address, uint32_t length, uint32_t value) {
    const auto [at, fresh] = oracle_.try_emplace(canonical(family, address, length), value);
    CHECK_EQ(table_.insert(family, address.data(), static_cast<uint8_t>(length), value), fresh ? kNone : at->second);
    at->second = value;
  }
  void remove(Family family, const Address& address, uint32_t length, uint32_t value) {
    const auto at = oracle_.find(canonical(family, address, length));
    const bool there = at != oracle_.end() && at->second == value;
    CHECK_EQ(table_.remove(family, address.data(), static_cast<uint8_t>(length), value), there);
    if (there) oracle_.erase(at);
  }
  void remove_all(uint32_t value) {
    const size_t count = std::erase_if(oracle_, [&](const auto& entry) { return entry.second == value; });
    CHECK_EQ(table_.remove_all(value), count);
  }
  void look_up(Family family, const Address& address) const {
    uint32_t best = kNone;
    int length = -1;
    for (const auto& [prefix, value] : oracle_) {
      if (prefix.length > length && covers(prefix, family, address)) {
        length = prefix.length;
        best = value;
      }
    }
    const uint8_t* const at = address.data();
    CHECK_EQ(family == Family::ipv4 ? table_.lookup4(at) : table_.lookup6(at), best);
  }
  void compare_lists(uint32_t values) const {
    CHECK_EQ(table_.size(), oracle_.size());
    for (uint32_t value = 0; value < values; ++value) {
      std::set<Prefix> expected;
      for (const auto& [prefix, owner] : oracle_) {
        if (owner == value) expected.insert(prefix);
      }
      std::set<Prefix> listed;
      table_.for_each(value, [&](Family family, const uint8_t* bytes, uint8_t length) {
        Address address{};
        std::copy_n(bytes, family == Family::ipv4 ? 4 : 16, address.begin());
        CHECK(listed.insert({family, address, length}).second);
      });
      CHECK(listed == expected);
    }
  }
  std::optional<std::pair<Prefix, uint32_t>> any(Random& random) const {
    if (oracle_.empty()) return std::nullopt;
    return *std::next(oracle_.begin(), random.below(static_cast<uint32_t>(oracle_.size())));
  }
  const AllowedIps& table() const { return table_; }

 private:
  AllowedIps table_;
  std::map<Prefix, uint32_t> oracle_;
};

/** Addresses that share much: a few bits of entropy, in places that differ from case to case. */
Address address_near(Random& random, Family family) {
  Address address{};
  const uint32_t bytes = width(family) / 8;
  for (uint32_t i = 0; i < bytes; ++i) {
    address[i] = random.one_in(3) ? static_cast<uint8_t>(1u << random.below(8)) : 0;
    if (random.one_in(8)) address[i] = random.byte();
  }
  return address;
}

uint32_t some_length(Random& random, Family family) {
  switch (random.below(6)) {
    case 0: return 0;
    case 1: return width(family);
    case 2: return width(family) - random.below(9);
    default: return random.below(width(family) + 1);
  }
}

/** An address within, or one bit beside, a prefix of the table. */
Address beside(Random& random, const Prefix& prefix) {
  Address address = prefix.address;
  for (uint32_t bit = prefix.length; bit < width(prefix.family); ++bit) {
    if (random.one_in(2)) address[bit / 8] ^= static_cast<uint8_t>(0x80u >> (bit % 8));
  }
  if (random.one_in(2)) {
    const uint32_t bit = random.below(width(prefix.family));
    address[bit / 8] ^= static_cast<uint8_t>(0x80u >> (bit % 8));
  }
  return address;
}

Address ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) { return {a, b, c, d}; }

}  // namespace

TEST("random inserts, removals and look-ups agree with the oracle, IPv4 and IPv6 together") {
  constexpr uint32_t kValues = 12;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Random random(seed);
    Pair pair;
    for (int step = 0; step < 4000; ++step) {
      const Family family = random.one_in(2) ? Family::ipv4 : Family::ipv6;
      const auto known = pair.any(random);
      switch (random.below(10)) {
        case 0:
        case 1:
        case 2: pair.insert(family, address_near(random, family), some_length(random, family), random.below(kValues)); break;
        case 3:
          if (known) pair.insert(known->first.family, known->first.address, known->first.length, random.below(kValues));
          break;
        case 4:
        case 5:
          if (known) pair.remove(known->first.family, known->first.address, known->first.length,
                                 random.one_in(5) ? random.below(kValues) : known->second);
          break;
        case 6: pair.remove(family, address_near(random, family), some_length(random, family), random.below(kValues)); break;
        case 7:
          if (random.one_in(60)) pair.remove_all(random.below(kValues));
          break;
        default: break;
      }
      pair.look_up(family, address_near(random, family));
      if (known) pair.look_up(known->first.family, beside(random, known->first));
      if (step % 500 == 0) pair.compare_lists(kValues);
    }
    for (uint32_t value = 0; value < kValues; ++value) pair.remove_all(value);
    pair.compare_lists(kValues);
    CHECK_EQ(pair.table().size(), size_t{0});
    pair.look_up(Family::ipv4, address_near(random, Family::ipv4));
  }
}

TEST("every prefix length of one address, inserted and removed in any order") {
  for (Family family : {Family::ipv4, Family::ipv6}) {
    Random random(9);
    Pair pair;
    Address address{};
    random.fill(address);
    if (family == Family::ipv4) std::fill(address.begin() + 4, address.end(), uint8_t{0});
    std::vector<uint32_t> lengths;
    for (uint32_t length = 0; length <= width(family); ++length) lengths.push_back(length);
    for (int round = 0; round < 4; ++round) {
      for (size_t i = lengths.size(); i > 1; --i) std::swap(lengths[i - 1], lengths[random.below(static_cast<uint32_t>(i))]);
      for (uint32_t length : lengths) {
        pair.insert(family, address, length, length);
        for (uint32_t bit = 0; bit < width(family); ++bit) {
          Address other = address;
          other[bit / 8] ^= static_cast<uint8_t>(0x80u >> (bit % 8));
          pair.look_up(family, other);
        }
        pair.look_up(family, address);
      }
      for (uint32_t length : lengths) {
        pair.remove(family, address, length, length);
        pair.look_up(family, address);
      }
    }
  }
}

TEST("a prefix belongs to the peer that got it last, and does not come back when that one goes") {
  AllowedIps table;
  const Address net = ipv4(10, 0, 0, 0);
  CHECK_EQ(table.insert(Family::ipv4, net.data(), 8, 1), kNone);
  CHECK_EQ(table.insert(Family::ipv4, net.data(), 8, 2), 1u);
  CHECK_EQ(table.lookup4(ipv4(10, 9, 8, 7).data()), 2u);
  CHECK_EQ(table.remove_all(1), size_t{0});
  CHECK(!table.remove(Family::ipv4, net.data(), 8, 1));
  CHECK_EQ(table.remove_all(2), size_t{1});
  CHECK_EQ(table.lookup4(ipv4(10, 9, 8, 7).data()), kNone);
}

TEST("host bits are ignored, and /0 of one family is not of the other") {
  AllowedIps table;
  CHECK_EQ(table.insert(Family::ipv4, ipv4(192, 168, 4, 77).data(), 24, 3), kNone);
  CHECK_EQ(table.lookup4(ipv4(192, 168, 4, 1).data()), 3u);
  CHECK(table.remove(Family::ipv4, ipv4(192, 168, 4, 200).data(), 24, 3));
  CHECK_EQ(table.insert(Family::ipv4, ipv4(1, 2, 3, 4).data(), 0, 5), kNone);
  CHECK_EQ(table.lookup4(ipv4(0, 0, 0, 0).data()), 5u);
  CHECK_EQ(table.lookup6(Address{}.data()), kNone);
}

TEST("lengths and values beyond their bounds are refused and change nothing") {
  AllowedIps table;
  const Address address{};
  CHECK_EQ(table.insert(Family::ipv4, address.data(), 33, 1), AllowedIps::kFull);
  CHECK_EQ(table.insert(Family::ipv6, address.data(), 129, 1), AllowedIps::kFull);
  CHECK_EQ(table.insert(Family::ipv4, address.data(), 32, kValuesMax), AllowedIps::kFull);
  CHECK(!table.remove(Family::ipv4, address.data(), 33, 1));
  CHECK_EQ(table.remove_all(12345), size_t{0});
  CHECK_EQ(table.size(), size_t{0});
}

TEST("memory does not grow when prefixes come and go") {
  AllowedIps table;
  Random random(10);
  const auto cycle = [&] {
    // Others each time: what the last ones left behind would be of no use to these.
    for (uint32_t i = 0; i < 2000; ++i) {
      Address address;
      random.fill(address);
      const auto length = static_cast<uint8_t>(100 + random.below(28));
      table.insert(Family::ipv6, address.data(), length, i % 50);
      table.insert(Family::ipv6, address.data(), length ^ 1, i % 50);
    }
    for (uint32_t value = 0; value < 50; ++value) table.remove_all(value);
    CHECK_EQ(table.size(), size_t{0});
  };
  cycle();
  cycle();
  const size_t settled = table.memory_bytes();
  for (int round = 0; round < 20; ++round) cycle();
  CHECK(table.memory_bytes() <= settled + settled / 4);
}

TEST("100,000 prefixes of each family go in within a second, and each is found") {
  constexpr uint32_t kCount = 100000;
  for (Family family : {Family::ipv4, Family::ipv6}) {
    Random random(11);
    std::vector<Address> addresses(kCount);
    for (uint32_t i = 0; i < kCount; ++i) {
      random.fill(addresses[i]);
      // All different, and all in one net, as in a mesh.
      addresses[i][0] = 10;
      addresses[i][1] = static_cast<uint8_t>(i >> 16);
      addresses[i][2] = static_cast<uint8_t>(i >> 8);
      addresses[i][3] = static_cast<uint8_t>(i);
    }
    AllowedIps table;
    using Clock = std::chrono::steady_clock;
    const auto from = Clock::now();
    for (uint32_t i = 0; i < kCount; ++i) {
      CHECK_EQ(table.insert(family, addresses[i].data(), static_cast<uint8_t>(width(family)), i), kNone);
    }
    const auto inserted = Clock::now();
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < kCount; ++i) {
      const uint8_t* const at = addresses[i].data();
      wrong += (family == Family::ipv4 ? table.lookup4(at) : table.lookup6(at)) != i;
    }
    const auto found = Clock::now();
    CHECK_EQ(wrong, 0u);
    const std::chrono::duration<double, std::nano> insertion = inserted - from;
    const std::chrono::duration<double, std::nano> lookup = found - inserted;
    std::printf("            %u IPv%d hosts: %.0f ns per insertion, %.0f ns per lookup, %.1f MB\n", kCount,
                static_cast<int>(family), insertion.count() / kCount, lookup.count() / kCount,
                static_cast<double>(table.memory_bytes()) / 1e6);
    CHECK(insertion.count() < 1e9);
  }
}
