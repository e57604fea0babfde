// The registry of the tests and what they say when they fail. See check.h.

#include <chrono>

#include "check.h"

namespace warren::test {
namespace {

struct Named {
  const char* name;
  Body body;
};

std::vector<Named>& registered() {
  static std::vector<Named> tests;
  return tests;
}

const char* running = "before main";
uint64_t last_seed = 0;

}  // namespace

bool register_test(const char* name, Body body) {
  registered().push_back({name, body});
  return true;
}

uint64_t base_seed(uint64_t fallback) {
  const char* const given = std::getenv("WARREN_TEST_SEED");
  return last_seed = given != nullptr ? std::strtoull(given, nullptr, 0) : fallback;
}

void fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n  %s:%d: %s\n  seed: WARREN_TEST_SEED=%llu\n", running, file, line, what.c_str(),
               static_cast<unsigned long long>(last_seed));
  std::abort();
}

std::vector<uint8_t> from_hex(const char* hex) {
  std::vector<uint8_t> bytes;
  int high = -1;
  for (const char* c = hex; *c != '\0'; ++c) {
    const int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : -1;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
      continue;
    }
    bytes.push_back(static_cast<uint8_t>(high * 16 + digit));
    high = -1;
  }
  return bytes;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  std::string out;
  char pair[3];
  for (uint8_t b : bytes) {
    std::snprintf(pair, sizeof pair, "%02x", b);
    out += pair;
  }
  return out;
}

int run_all() {
  const char* const only = std::getenv("WARREN_TEST_ONLY");
  int ran = 0;
  for (const Named& test : registered()) {
    if (only != nullptr && std::strstr(test.name, only) == nullptr) continue;
    running = test.name;
    const auto from = std::chrono::steady_clock::now();
    test.body();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - from;
    std::printf("ok %8.1f ms  %s\n", took.count(), test.name);
    std::fflush(stdout);
    ++ran;
  }
  return ran;
}

}  // namespace warren::test
