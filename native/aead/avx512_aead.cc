// See avx512_aead.h. A run of data packets is nearly always of one length but for its last, so consecutive jobs of equal length
// are taken sixteen at a time.

#include "aead/avx512_aead.h"

#if defined(__x86_64__)

#include <array>
#include <utility>

#include "aead/avx512_kernel.h"

namespace warren {
namespace {

/**
 * Whether `lanes` messages of `length` bytes are cheaper at once than one by one. The kernels cost nearly the same however
 * many lanes are used. Measured on an EPYC 9004 in ns: kernel 280 + 3.9 per byte, OpenSSL's EVP 360 + 0.41 per byte and
 * message: worth it from 2 messages of 64 bytes, from 7 of 1,420.
 */
bool worth_it(uint32_t lanes, uint32_t length) noexcept {
  return uint64_t{lanes} * (36'000 + 41 * uint64_t{length}) > 28'000 + 390 * uint64_t{length};
}

class Avx512Aead final : public Aead {
 public:
  explicit Avx512Aead(std::unique_ptr<Aead> rest) : rest_(std::move(rest)) {}

  const char* tier() const noexcept override { return "avx512-ifma"; }

  void seal(const uint8_t key[kAeadKeyLength], std::span<SealJob> jobs) noexcept override {
    for_each_group(jobs, [&](std::span<SealJob> group) {
      const auto lanes = static_cast<uint32_t>(group.size());
      if (!worth_it(lanes, group[0].length)) return rest_->seal(key, group);
      gather(group);
      avx512::seal(key, data_.data(), counters_.data(), lanes, group[0].length);
    });
  }

  void open(const uint8_t key[kAeadKeyLength], std::span<OpenJob> jobs) noexcept override {
    for_each_group(jobs, [&](std::span<OpenJob> group) {
      const auto lanes = static_cast<uint32_t>(group.size());
      const uint32_t length = group[0].length;
      if (length < kAeadTagLength || !worth_it(lanes, length - kAeadTagLength)) return rest_->open(key, group);
      gather(group);
      const uint32_t good = avx512::open(key, data_.data(), counters_.data(), lanes, length - kAeadTagLength);
      for (uint32_t i = 0; i < lanes; ++i) group[i].ok = ((good >> i) & 1) != 0;
    });
  }

  void forget() noexcept override { rest_->forget(); }

 private:
  /** Calls `use` with each stretch of consecutive jobs of one length, at most kLanes of them. */
  template <typename Job, typename Use>
  static void for_each_group(std::span<Job> jobs, const Use& use) noexcept {
    for (size_t from = 0; from < jobs.size();) {
      size_t to = from + 1;
      while (to < jobs.size() && to - from < avx512::kLanes && jobs[to].length == jobs[from].length) ++to;
      use(jobs.subspan(from, to - from));
      from = to;
    }
  }

  template <typename Job>
  void gather(std::span<Job> group) noexcept {
    for (size_t i = 0; i < group.size(); ++i) {
      data_[i] = group[i].data;
      counters_[i] = group[i].counter;
    }
  }

  std::unique_ptr<Aead> rest_;
  std::array<uint8_t*, avx512::kLanes> data_{};
  std::array<uint64_t, avx512::kLanes> counters_{};
};

}  // namespace

std::unique_ptr<Aead> make_avx512_aead(std::unique_ptr<Aead> rest) {
  if (rest == nullptr || !avx512::supported()) return nullptr;
  return std::make_unique<Avx512Aead>(std::move(rest));
}

}  // namespace warren

#else

namespace warren {

std::unique_ptr<Aead> make_avx512_aead(std::unique_ptr<Aead>) { return nullptr; }

}  // namespace warren

#endif
