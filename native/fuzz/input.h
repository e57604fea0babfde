// Reads a fuzzer's input as numbers and pieces. Past the end everything is zero and empty, so that every input means
// something and shortening one never makes it invalid.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace warren::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t length) : rest_(data, length) {}

  bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const uint8_t value = rest_[0];
    rest_ = rest_.subspan(1);
    return value;
  }
  uint16_t word() {
    const uint8_t high = byte();
    return static_cast<uint16_t>(high << 8 | byte());
  }
  /** A copy of exactly that many bytes, or of what is left: reading one byte beyond it is an error ASan sees. */
  std::vector<uint8_t> bytes(size_t length) {
    const auto piece = rest_.first(std::min(length, rest_.size()));
    rest_ = rest_.subspan(piece.size());
    return {piece.begin(), piece.end()};
  }
  std::vector<uint8_t> rest() { return bytes(rest_.size()); }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace warren::fuzz
