// The JavaScript object behind a plane: a device, the memory that both sides see, and the wake-up. One class per
// environment. src/dataplane/native/native-plane.ts is its only caller and has the types. Leaves out making devices.

#pragma once

#include <node_api.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/device.h"
#include "dataplane/live_device.h"
#include "dataplane/memory_device.h"

namespace warren::binding {

/** What one call passes beside plain numbers; the layout stands in src/dataplane/native/scratch.ts too. */
struct Scratch {
  SocketAddress first;
  SocketAddress second;
  uint8_t address[16];
  double reject_at;
  double rekey_on_send_at;
  double rekey_on_receive_at;
  uint64_t rekey_after_messages;
  uint64_t reject_after_messages;
  uint64_t first_send_counter;
  double counters[kDrops + kTotals];
};
static_assert(offsetof(Scratch, second) == 28 && offsetof(Scratch, address) == 56 && offsetof(Scratch, reject_at) == 72);
static_assert(offsetof(Scratch, counters) == 120);

struct SharedMemory {
  Scratch scratch{};
  std::array<Descriptor, kPollMax> descriptors{};
};

/** Calls `onWake` once per wake-up: at the end of the call that caused it in memory mode, from the event loop in live mode. */
class JsWaker final : public Waker {
 public:
  void wake() noexcept override;
  /** Memory mode: `callback` is called by `deliver`. */
  void call_in_place(napi_env env, napi_value callback) noexcept;
  /** Live mode. False when Node refuses. */
  bool call_from_loop(napi_env env, napi_value callback) noexcept;
  void deliver(napi_env env) noexcept;
  /** Only on the JavaScript thread, after all other threads have ended. */
  void end(napi_env env) noexcept;
  void hold_loop(napi_env env, bool hold) noexcept;

 private:
  bool due_ = false;
  napi_ref callback_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
};

struct PlaneObject {
  JsWaker waker;
  std::shared_ptr<SharedMemory> shared = std::make_shared<SharedMemory>();
  std::unique_ptr<Device> device;
  /** The same object as `device`, by what it is; one of the two is null. */
  MemoryDevice* memory = nullptr;
  LiveDevice* live = nullptr;
  /** Whose clean-up hook is set. */
  napi_env hooked_env = nullptr;

  /** Joins threads and lets go of JavaScript. Idempotent. */
  void close(napi_env env) noexcept;
};

/** Defines the class and keeps its constructor in the environment's data. */
bool define_plane_class(napi_env env) noexcept;
/** A JavaScript object that owns `plane`. */
napi_value wrap_plane(napi_env env, std::unique_ptr<PlaneObject> plane) noexcept;

/** What the addon keeps per environment (main thread or worker). */
struct EnvironmentData {
  napi_ref plane_class = nullptr;
};

}  // namespace warren::binding
