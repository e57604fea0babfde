// Entry of the addon (Node-API 8, raw C interface): the functions that make planes, and what concerns the whole process. May be
// loaded in several environments of one process at once: nothing here is global. Failures that an operator can mend
// come back as `{code, step}`; src/dataplane/native/explain.ts puts them into words.

#include <node_api.h>

#include <memory>
#include <string>
#include <utility>

#include "aead/aead.h"
#include "binding/napi_util.h"
#include "binding/os_objects.h"
#include "binding/plane_object.h"
#include "os/process.h"

namespace warren::binding {

namespace {

bool read_option(napi_env env, napi_value options, const char* name, uint32_t& out) noexcept {
  return read(env, get(env, options, name), out);
}

bool read_plane_options(napi_env env, napi_value options, PlaneOptions& out) noexcept {
  if (!read_option(env, options, "peersMax", out.peers_max) || !read_option(env, options, "mtu", out.mtu) ||
      !read_option(env, options, "slabSlots", out.slab_slots)) {
    return false;
  }
  if (out.peers_max > 0 && out.peers_max <= kPeersMax && out.slab_slots > 0 && out.slab_slots <= 65'536) return true;
  raise(env, "broken invariant: peersMax and slabSlots are within their bounds");
  return false;
}

bool read_call(napi_env env, napi_callback_info info, napi_value (&arguments)[2]) noexcept {
  size_t count = 2;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_valuetype options = napi_undefined;
  napi_valuetype wake = napi_undefined;
  napi_typeof(env, arguments[0], &options);
  napi_typeof(env, arguments[1], &wake);
  if (count == 2 && options == napi_object && wake == napi_function) return true;
  raise(env, "options and a function to wake are expected");
  return false;
}

/** openMemory({peersMax, mtu, slabSlots}, onWake) → Plane or {code, step} */
napi_value open_memory(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[2];
  PlaneOptions options;
  if (!read_call(env, info, arguments) || !read_plane_options(env, arguments[0], options)) return nullptr;
  auto aead = make_aead();
  if (aead == nullptr) return failure(env, ENOSYS, aead_unavailable_reason());
  auto plane = std::make_unique<PlaneObject>();
  auto device = std::make_unique<MemoryDevice>(options, plane->waker, std::move(aead));
  plane->memory = device.get();
  plane->device = std::move(device);
  plane->waker.call_in_place(env, arguments[1]);
  return wrap_plane(env, std::move(plane));
}

/** openLive({tun, ifname, mtu, queues, tunFd, tunOffloads, udpOffloads, peersMax, slabSlots}, onWake) → Plane or {code, step} */
napi_value open_live(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[2];
  LiveOptions options;
  if (!read_call(env, info, arguments) || !read_plane_options(env, arguments[0], options.plane)) return nullptr;
  char ifname[64] = {};
  size_t length = 0;
  double tun_fd = -1;
  if (napi_get_value_string_utf8(env, get(env, arguments[0], "ifname"), ifname, sizeof ifname, &length) != napi_ok) {
    return raise(env, "ifname is a string");
  }
  if (!read(env, get(env, arguments[0], "tun"), options.tun) || !read_option(env, arguments[0], "queues", options.queues) ||
      !read(env, get(env, arguments[0], "tunFd"), tun_fd) ||
      !read(env, get(env, arguments[0], "tunOffloads"), options.tun_offloads) ||
      !read(env, get(env, arguments[0], "udpOffloads"), options.udp_offloads)) {
    return nullptr;
  }
  options.ifname = ifname;
  options.mtu = options.plane.mtu;
  options.tun_fd = static_cast<int>(tun_fd);
  if (const char* reason = aead_unavailable_reason()) return failure(env, ENOSYS, reason);
  auto plane = std::make_unique<PlaneObject>();
  // The workers may wake before the object exists: its function must be there first.
  if (!plane->waker.call_from_loop(env, arguments[1])) return raise(env, "no thread-safe function");
  auto device = LiveDevice::open(std::move(options), plane->waker);
  if (!device.ok()) {
    plane->waker.end(env);
    return failure(env, device.error().code, device.error().step);
  }
  plane->live = device->get();
  plane->device = std::move(*device);
  return wrap_plane(env, std::move(plane));
}

template <Status (*Function)() noexcept>
napi_value process_call(napi_env env, napi_callback_info) noexcept {
  const Status status = Function();
  return status.ok() ? null(env) : failure(env, status.error().code, status.error().step);
}

/** Null when the cipher computes what RFC 8439 says, else why not. */
napi_value self_test(napi_env env, napi_callback_info) noexcept {
  if (const char* reason = aead_unavailable_reason()) return text(env, reason);
  return aead_self_test() ? null(env) : text(env, "the cipher's self-test failed");
}

/** Name of the cipher's implementation that planes get on this machine; null when there is none. */
napi_value aead_tier(napi_env env, napi_callback_info) noexcept {
  const auto aead = make_aead();
  return aead == nullptr ? null(env) : text(env, aead->tier());
}

bool keep_environment_data(napi_env env) noexcept {
  auto* data = new EnvironmentData;
  const auto forget = [](napi_env, void* kept, void*) { delete static_cast<EnvironmentData*>(kept); };
  if (napi_set_instance_data(env, data, forget, nullptr) == napi_ok) return true;
  delete data;
  return false;
}

}  // namespace

}  // namespace warren::binding

NAPI_MODULE_INIT() {
  using namespace warren::binding;
  if (!keep_environment_data(env) || !define_plane_class(env) || !define_os(env, exports)) {
    return raise(env, "the addon's classes could not be made");
  }
  define(env, exports, "openMemory", open_memory);
  define(env, exports, "openLive", open_live);
  define(env, exports, "dropPrivileges", process_call<warren::drop_capabilities>);
  define(env, exports, "dropAllPrivileges", process_call<warren::drop_all_capabilities>);
  define(env, exports, "disableCoreDumps", process_call<warren::disable_core_dumps>);
  define(env, exports, "raiseMemlockLimit", process_call<warren::raise_memlock_limit>);
  define(env, exports, "selfTest", self_test);
  define(env, exports, "aeadTier", aead_tier);
  return exports;
}
