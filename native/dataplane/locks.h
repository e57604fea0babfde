// The locks of a device, and their order: device lock, then one peer lock, then the control queue's, the staging pool's or the
// relay table's own mutex. Never two peer locks at once.
//
// The device lock is held shared by a thread while it works on one batch (never while it polls), and exclusively by the
// JavaScript thread for what changes the shape of things: indexes, prefixes, keypairs, peers, sockets. Writers go first,
// so a command waits for one batch at most, and threads let a waiting writer in between runs (`contended`).
// A peer lock guards what several threads change in one peer. The locks are striped: they cost an idle peer nothing.

#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>

namespace warren {

class DeviceLock {
 public:
  DeviceLock() noexcept {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    if (pthread_rwlock_init(&lock_, &attributes) != 0) std::abort();
    pthread_rwlockattr_destroy(&attributes);
  }
  ~DeviceLock() { pthread_rwlock_destroy(&lock_); }
  DeviceLock(const DeviceLock&) = delete;
  DeviceLock& operator=(const DeviceLock&) = delete;

  void lock_shared() noexcept { pthread_rwlock_rdlock(&lock_); }
  void unlock_shared() noexcept { pthread_rwlock_unlock(&lock_); }
  void lock() noexcept {
    writers_.fetch_add(1, std::memory_order_relaxed);
    pthread_rwlock_wrlock(&lock_);
    writers_.fetch_sub(1, std::memory_order_relaxed);
    epoch_.store(epoch_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void unlock() noexcept { pthread_rwlock_unlock(&lock_); }

  /** Whether a writer waits for this thread to let go. */
  bool contended() const noexcept { return writers_.load(std::memory_order_relaxed) != 0; }
  /** Changes with every exclusive section: what was looked up before may be gone. Read under the lock. */
  uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_relaxed); }

 private:
  pthread_rwlock_t lock_;
  std::atomic<uint32_t> writers_{0};
  std::atomic<uint64_t> epoch_{0};
};

class PeerLocks {
 public:
  std::mutex& of(uint32_t slot) noexcept { return stripes_[slot % kStripes].mutex; }

 private:
  static constexpr uint32_t kStripes = 256;
  struct alignas(64) Stripe {
    std::mutex mutex;
  };
  std::unique_ptr<Stripe[]> stripes_ = std::make_unique<Stripe[]>(kStripes);
};

}  // namespace warren
