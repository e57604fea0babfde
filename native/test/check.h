// The tests' own few words: TEST names a behaviour, CHECK and CHECK_EQ end the process with file, line, values and the
// seeds in use, Random is a seeded generator. WARREN_TEST_SEED replaces every base seed, WARREN_TEST_ONLY runs the tests
// whose name contains it. A failure aborts: nothing after it would be worth reading.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace warren::test {

using Body = void (*)();
/** Called by TEST before main. */
bool register_test(const char* name, Body body);

/** Runs them in the order of their definition and returns how many there were. */
int run_all();

[[noreturn]] void fail(const char* file, int line, const std::string& what);

/** The seed to begin with: `fallback`, or WARREN_TEST_SEED. Remembered, and printed by `fail`. */
uint64_t base_seed(uint64_t fallback);

/** splitmix64 (Steele, Lea and Flood 2014): small, and good enough to shake a data structure. */
class Random {
 public:
  explicit Random(uint64_t fallback) : state_(base_seed(fallback)) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9e37'79b9'7f4a'7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebull;
    return z ^ (z >> 31);
  }
  /** 0 … bound − 1. */
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>((next() >> 32) * bound >> 32); }
  bool one_in(uint32_t n) { return below(n) == 0; }
  uint8_t byte() { return static_cast<uint8_t>(next() >> 56); }
  void fill(std::span<uint8_t> bytes) {
    for (uint8_t& b : bytes) b = byte();
  }
  std::vector<uint8_t> bytes(size_t length) {
    std::vector<uint8_t> out(length);
    fill(out);
    return out;
  }

 private:
  uint64_t state_;
};

std::vector<uint8_t> from_hex(const char* hex);
std::string to_hex(std::span<const uint8_t> bytes);

template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (requires { out << +value; }) {
    out << +value;
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << to_hex(value);
  }
  return out.str();
}

template <typename A, typename B>
bool equal(const A& a, const B& b) {
  if constexpr (requires { std::span<const uint8_t>(a); std::span<const uint8_t>(b); }) {
    const std::span<const uint8_t> x(a);
    const std::span<const uint8_t> y(b);
    return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0);
  } else {
    return a == b;
  }
}

}  // namespace warren::test

#define WARREN_JOIN2(a, b) a##b
#define WARREN_JOIN(a, b) WARREN_JOIN2(a, b)

/** TEST("what must hold") { … } */
#define TEST(name) WARREN_TEST_NAMED(name, WARREN_JOIN(test_body_, __LINE__), WARREN_JOIN(test_registered_, __LINE__))
#define WARREN_TEST_NAMED(name, body, registered)                                       \
  static void body();                                                                   \
  [[maybe_unused]] static const bool registered = warren::test::register_test(name, body); \
  static void body()

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) warren::test::fail(__FILE__, __LINE__, #condition);  \
  } while (false)

#define CHECK_EQ(actual, expected)                                                                           \
  do {                                                                                                       \
    /* Copies: a reference might be into a temporary that ends with this line. */                            \
    const auto check_a = (actual);                                                                           \
    const auto check_e = (expected);                                                                         \
    if (!warren::test::equal(check_a, check_e)) {                                                            \
      warren::test::fail(__FILE__, __LINE__, std::string(#actual " == " #expected "\n    actual   ") +       \
                                                 warren::test::show(check_a) + "\n    expected " +           \
                                                 warren::test::show(check_e));                               \
    }                                                                                                        \
  } while (false)
