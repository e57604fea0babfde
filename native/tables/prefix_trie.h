// Longest-prefix match: a path-compressed trie that looks at four bits per node. A node stands at a depth that is a
// multiple of four, holds a bitmap of the prefixes that end within its four bits (15 of them, lengths depth … depth + 3)
// and a bitmap of its children; both are ranked into small arrays in index-addressed pools, so a lookup is a handful of
// dependent loads and a node costs 16 or 32 bytes, aligned so that it never takes two cache lines: large tables cost what
// their cache misses cost. After Eatherton, Varghese and Dittia's tree bitmap (2004), with path compression added. Every
// prefix is an entry on its owner's list, so an owner is removed in time proportional to its prefixes. Leaves out locking.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tables/block_pool.h"
#include "tables/huge_allocator.h"
#include "tables/prefix_key.h"

namespace warren {

inline constexpr uint32_t kNoValue = 0xffff'ffff;
inline constexpr uint32_t kTrieFull = 0xffff'fffe;
inline constexpr size_t kPrefixesMax = size_t{1} << 22;
inline constexpr uint32_t kValuesMax = uint32_t{1} << 24;

/** Bits set in the low 16. By hand: for a CPU of unknown features the builtin is a library call. */
[[gnu::always_inline]] inline uint32_t popcount16(uint32_t bits) noexcept {
  bits -= (bits >> 1) & 0x5555;
  bits = (bits & 0x3333) + ((bits >> 2) & 0x3333);
  return (((bits + (bits >> 4)) & 0x0f0f) * 0x0101 >> 8) & 0x1f;
}

#if defined(__x86_64__)
inline const bool kHasPopcnt = (__builtin_cpu_init(), __builtin_cpu_supports("popcnt") != 0);
#endif

template <typename Key>
class PrefixTrie {
 public:
  PrefixTrie() {
    root_ = nodes_.allocate(1);
    nodes_[root_] = Node{};
  }

  uint32_t lookup(const Key& key) const noexcept {
#if defined(__x86_64__)
    // Counting bits is in the chain of every step: the instruction makes a lookup a quarter shorter.
    if (kHasPopcnt) return lookup_popcnt(key);
#endif
    return walk<popcount16>(key);
  }

  uint32_t insert(const Key& address, uint8_t length, uint32_t value) {
    if (length > Key::kBits || value >= kValuesMax) return kTrieFull;
    const Key key = address.masked(length);
    uint32_t path[kPathMax];
    uint32_t steps = 0;
    const uint32_t found = find(key, length, path, steps);
    if (found != kNoValue) {
      const uint32_t previous = owners_[found];
      unlink(found);
      link(found, value);
      settle(nodes_[path[steps - 1]]);
      return previous;
    }
    if (size_ >= kPrefixesMax) return kTrieFull;
    const uint32_t entry = new_entry(key, length);
    link(entry, value);
    add_prefix(descend_or_build(key, length & ~3u), bit_of(key, length), entry);
    find_start();
    ++size_;
    return kNoValue;
  }

  bool remove(const Key& address, uint8_t length, uint32_t value) {
    if (length > Key::kBits) return false;
    const Key key = address.masked(length);
    uint32_t path[kPathMax];
    uint32_t steps = 0;
    const uint32_t found = find(key, length, path, steps);
    if (found == kNoValue || owners_[found] != value) return false;
    erase(found);
    return true;
  }

  size_t remove_all(uint32_t value) {
    size_t removed = 0;
    for (; value < heads_.size() && heads_[value] != kNoValue; ++removed) erase(heads_[value]);
    return removed;
  }

  template <typename Visit>
  void for_each(uint32_t value, Visit&& visit) const {
    if (value >= heads_.size()) return;
    for (uint32_t entry = heads_[value]; entry != kNoValue; entry = entries_[entry].next) {
      uint8_t address[Key::kBytes];
      entries_[entry].key.store_to(address);
      visit(static_cast<const uint8_t*>(address), entries_[entry].length);
    }
  }

  size_t size() const noexcept { return size_; }
  size_t memory_bytes() const noexcept {
    return nodes_.memory_bytes() + ranked_.memory_bytes() + entries_.capacity() * sizeof(Entry) +
           (owners_.capacity() + heads_.capacity()) * sizeof(uint32_t);
  }

 private:
  struct alignas(sizeof(Key) == 4 ? 16 : 32) Node {
    Key key{};
    /** Where the children are. In a leaf with one prefix: the value of that, so that a lookup can end here. */
    uint32_t child_base = 0;
    /** The entry itself while there is one prefix, else where the ranked entries are. */
    uint32_t entries : 26 = 0;
    /** Depth in nibbles. */
    uint32_t level : 6 = 0;
    uint16_t children = 0;
    uint16_t prefixes = 0;

    uint32_t depth() const noexcept { return level * 4; }
    bool has_one_prefix() const noexcept { return (prefixes & (prefixes - 1)) == 0; }
    bool is_simple_leaf() const noexcept { return children == 0 && has_one_prefix(); }
  };
  static_assert(sizeof(Node) == (sizeof(Key) == 4 ? 16 : 32));
  static_assert(kPrefixesMax * 4 <= size_t{1} << 26);
  struct Entry {
    Key key;
    uint32_t next;
    uint32_t previous;
    uint8_t length;
  };
  static constexpr uint32_t kPathMax = Key::kBits / 4 + 1;

  /** Bit of a prefix of r bits (0…3) with value v within a node: 2^r − 1 + v. */
  static uint32_t bit_of(const Key& key, uint32_t length) noexcept {
    const uint32_t within = length & 3;
    return (1u << within) - 1 + (key.nibble(length & ~3u) >> (4 - within));
  }
  /** For each four bits, which of the 15 prefixes cover them. */
  static constexpr auto kCovering = [] {
    std::array<uint16_t, 16> covering{};
    for (uint32_t nibble = 0; nibble < 16; ++nibble) {
      for (uint32_t within = 0; within < 4; ++within) {
        covering[nibble] = static_cast<uint16_t>(covering[nibble] | 1u << ((1u << within) - 1 + (nibble >> (4 - within))));
      }
    }
    return covering;
  }();

  static uint32_t rank(uint32_t bitmap, uint32_t bit) noexcept { return popcount16(bitmap & ((1u << bit) - 1)); }

#if defined(__x86_64__)
  /** Takes the features of the function that it is inlined into. */
  [[gnu::always_inline]] static inline uint32_t popcount_builtin(uint32_t bits) noexcept {
    return static_cast<uint32_t>(__builtin_popcount(bits));
  }
  [[gnu::target("popcnt")]] uint32_t lookup_popcnt(const Key& key) const noexcept { return walk<popcount_builtin>(key); }
#endif

  template <auto kCount>
  [[gnu::always_inline]] inline uint32_t walk(const Key& key) const noexcept {
    uint32_t best = kNoValue;
    uint32_t at = start_;
    for (;;) {
      const Node& node = nodes_[at];
      const uint32_t depth = node.depth();
      if (!key.shares(node.key, depth)) break;
      const uint32_t nibble = key.nibble(depth);
      const uint32_t covering = node.prefixes & kCovering[nibble];
      if (covering != 0) {
        if (node.is_simple_leaf()) return node.child_base;
        best = entry_at(node, 31u - static_cast<uint32_t>(std::countl_zero(covering)));
      }
      if (!(node.children >> nibble & 1)) break;
      at = node.child_base + kCount(node.children & ((1u << nibble) - 1));
    }
    return best == kNoValue ? kNoValue : owners_[best];
  }

  /** Lookups begin at the first node that decides anything: in a mesh all addresses share their first bits. */
  void find_start() noexcept {
    const Node& root = nodes_[root_];
    const bool passage = root.prefixes == 0 && root.children != 0 && (root.children & (root.children - 1)) == 0;
    start_ = passage ? root.child_base : root_;
  }

  uint32_t entry_at(const Node& node, uint32_t bit) const noexcept {
    if (node.has_one_prefix()) return node.entries;
    return ranked_[node.entries + rank(node.prefixes, bit)];
  }

  /** The entry of exactly this prefix; `path` gets the nodes from the root to its own, at most kPathMax. */
  uint32_t find(const Key& key, uint32_t length, uint32_t* path, uint32_t& steps) const noexcept {
    const uint32_t depth = length & ~3u;
    for (uint32_t at = root_;;) {
      const Node& node = nodes_[at];
      if (node.depth() > depth || !key.shares(node.key, node.depth())) return kNoValue;
      path[steps++] = at;
      if (node.depth() == depth) {
        const uint32_t bit = bit_of(key, length);
        return node.prefixes >> bit & 1 ? entry_at(node, bit) : kNoValue;
      }
      const uint32_t nibble = key.nibble(node.depth());
      if (!(node.children >> nibble & 1)) return kNoValue;
      at = node.child_base + rank(node.children, nibble);
    }
  }

  /** The node at `depth` on the way of `key`, made (with a branching node above it, if need be) where there is none. */
  uint32_t descend_or_build(const Key& key, uint32_t depth) {
    for (uint32_t at = root_;;) {
      const uint32_t common = key.common(nodes_[at].key) & ~3u;
      if (common < nodes_[at].depth() || depth < nodes_[at].depth()) split(at, common < depth ? common : depth);
      if (nodes_[at].depth() == depth) return at;
      const uint32_t nibble = key.nibble(nodes_[at].depth());
      if (!(nodes_[at].children >> nibble & 1)) return add_child(at, nibble, leaf(key, depth));
      at = nodes_[at].child_base + rank(nodes_[at].children, nibble);
    }
  }

  static Node leaf(const Key& key, uint32_t depth) noexcept {
    Node node;
    node.key = key.masked(depth);
    node.level = (depth / 4) & 63;
    return node;
  }

  /** Puts a new node of less depth in the place of the one at `at`, which becomes its only child. */
  void split(uint32_t at, uint32_t depth) {
    const Node lower = nodes_[at];
    nodes_[at] = leaf(lower.key, depth);
    add_child(at, lower.key.nibble(depth), lower);
  }

  uint32_t add_child(uint32_t at, uint32_t nibble, const Node& child) {
    const uint32_t position = rank(nodes_[at].children, nibble);
    const uint32_t base = nodes_.widen(nodes_[at].child_base, popcount16(nodes_[at].children) + 1, position);
    nodes_[base + position] = child;
    nodes_[at].child_base = base;
    nodes_[at].children = static_cast<uint16_t>(nodes_[at].children | 1u << nibble);
    return base + position;
  }

  void remove_child(uint32_t at, uint32_t nibble) {
    const uint32_t position = rank(nodes_[at].children, nibble);
    const uint32_t base = nodes_.narrow(nodes_[at].child_base, popcount16(nodes_[at].children) - 1, position);
    nodes_[at].child_base = base;
    nodes_[at].children = static_cast<uint16_t>(nodes_[at].children & ~(1u << nibble));
    settle(nodes_[at]);
  }

  /** A leaf with one prefix repeats its value. */
  void settle(Node& node) const noexcept {
    if (node.is_simple_leaf() && node.prefixes != 0) node.child_base = owners_[node.entries];
  }

  void add_prefix(uint32_t at, uint32_t bit, uint32_t entry) {
    Node& node = nodes_[at];
    const uint32_t count = popcount16(node.prefixes);
    const uint32_t position = rank(node.prefixes, bit);
    node.prefixes = static_cast<uint16_t>(node.prefixes | 1u << bit);
    if (count == 0) {
      node.entries = entry;
    } else if (count == 1) {
      const uint32_t base = ranked_.allocate(2);
      ranked_[base + 1 - position] = node.entries;
      ranked_[base + position] = entry;
      node.entries = base;
    } else {
      node.entries = ranked_.widen(node.entries, count + 1, position);
      ranked_[node.entries + position] = entry;
    }
    settle(node);
  }

  void remove_prefix(Node& node, uint32_t bit) {
    const uint32_t count = popcount16(node.prefixes);
    const uint32_t position = rank(node.prefixes, bit);
    node.prefixes = static_cast<uint16_t>(node.prefixes & ~(1u << bit));
    if (count == 2) {
      const uint32_t base = node.entries;
      node.entries = ranked_[base + 1 - position];
      ranked_.release(base, 2);
    } else if (count > 2) {
      node.entries = ranked_.narrow(node.entries, count - 1, position);
    }
    settle(node);
  }

  void erase(uint32_t entry) {
    const Key key = entries_[entry].key;
    const uint32_t length = entries_[entry].length;
    uint32_t path[kPathMax];
    uint32_t steps = 0;
    find(key, length, path, steps);
    remove_prefix(nodes_[path[steps - 1]], bit_of(key, length));
    prune(key, path, steps);
    find_start();
    unlink(entry);
    entries_[entry].next = free_entry_;
    free_entry_ = entry;
    --size_;
  }

  /** Takes nodes away that hold nothing and branch nowhere. */
  void prune(const Key& key, const uint32_t* path, uint32_t steps) {
    for (; steps > 1; --steps) {
      const uint32_t at = path[steps - 1];
      const Node node = nodes_[at];
      if (node.prefixes != 0) return;
      if (node.children != 0) {
        if ((node.children & (node.children - 1)) == 0) {
          nodes_[at] = nodes_[node.child_base];
          nodes_.release(node.child_base, 1);
        }
        return;
      }
      const uint32_t parent = path[steps - 2];
      remove_child(parent, key.nibble(nodes_[parent].depth()));
    }
  }

  uint32_t new_entry(const Key& key, uint8_t length) {
    if (free_entry_ == kNoValue) {
      entries_.push_back(Entry{key, kNoValue, kNoValue, length});
      owners_.push_back(kNoValue);
      return static_cast<uint32_t>(entries_.size() - 1);
    }
    const uint32_t entry = free_entry_;
    free_entry_ = entries_[entry].next;
    entries_[entry] = Entry{key, kNoValue, kNoValue, length};
    return entry;
  }

  void link(uint32_t entry, uint32_t value) {
    if (value >= heads_.size()) heads_.resize(value + 1, kNoValue);
    const uint32_t head = heads_[value];
    entries_[entry].next = head;
    entries_[entry].previous = kNoValue;
    if (head != kNoValue) entries_[head].previous = entry;
    heads_[value] = entry;
    owners_[entry] = value;
  }

  void unlink(uint32_t entry) noexcept {
    const Entry& gone = entries_[entry];
    if (gone.previous == kNoValue) {
      heads_[owners_[entry]] = gone.next;
    } else {
      entries_[gone.previous].next = gone.next;
    }
    if (gone.next != kNoValue) entries_[gone.next].previous = gone.previous;
  }

  BlockPool<Node> nodes_;
  BlockPool<uint32_t> ranked_;
  std::vector<Entry> entries_;
  /** Apart from the entries: many lookups end here, and dense numbers stay in the cache. */
  std::vector<uint32_t, HugeAllocator<uint32_t>> owners_;
  std::vector<uint32_t> heads_;
  uint32_t free_entry_ = kNoValue;
  uint32_t root_ = 0;
  uint32_t start_ = 0;
  size_t size_ = 0;
};

}  // namespace warren
