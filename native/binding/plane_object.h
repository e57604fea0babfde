// The JavaScript object behind a plane: a device, the memory that both sides see, and the wake-up. One class per
// environment. src/dataplane/native/native-plane.ts is its only caller and has the types. Leaves out making devices.

#pragma once

#include <node_api.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "binding/js_waker.h"
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

/** Defines the class and keeps its constructor in the environment's data, which must be there. */
bool define_plane_class(napi_env env) noexcept;
/** A JavaScript object that owns `plane`. */
napi_value wrap_plane(napi_env env, std::unique_ptr<PlaneObject> plane) noexcept;

/** What the addon keeps per environment (main thread or worker). */
struct EnvironmentData {
  napi_ref plane_class = nullptr;
  napi_ref netlink_class = nullptr;
  napi_ref clock_watch_class = nullptr;
};
EnvironmentData& environment_data(napi_env env) noexcept;

}  // namespace warren::binding
