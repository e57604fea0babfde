// How methods of the class read their arguments and give back results. Each method is a function of the plane and of typed
// arguments; `method<…>` makes the Node-API callback out of it.

#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "binding/napi_util.h"
#include "binding/plane_object.h"

namespace warren::binding {

using Bytes = std::span<uint8_t>;

/** The slot of a peer that exists; any other is a programming error and throws. */
struct PeerArgument {
  uint32_t slot = kNoPeer;
};

struct Call {
  napi_env env;
  PlaneObject& plane;
};

inline bool read_argument(Call& call, napi_value value, PeerArgument& out) noexcept {
  if (!read(call.env, value, out.slot)) return false;
  if (call.plane.device->plane().peer_exists(out.slot)) return true;
  raise(call.env, "broken invariant: the peer exists");
  return false;
}
/** As it is: the method looks for itself. */
inline bool read_argument(Call&, napi_value value, napi_value& out) noexcept {
  out = value;
  return true;
}
template <class T>
bool read_argument(Call& call, napi_value value, T& out) noexcept {
  return read(call.env, value, out);
}

inline napi_value result(napi_env env, bool value) noexcept { return boolean(env, value); }
inline napi_value result(napi_env env, uint32_t value) noexcept { return number(env, value); }
inline napi_value result(napi_env env, double value) noexcept { return number(env, value); }
inline napi_value result(napi_env, napi_value value) noexcept { return value; }

template <auto Function, class... Arguments, size_t... I>
napi_value invoke(Call& call, napi_value* values, std::index_sequence<I...>) noexcept {
  std::tuple<Arguments...> arguments;
  if (!(read_argument(call, values[I], std::get<I>(arguments)) && ...)) return nullptr;
  napi_value value = nullptr;
  using Returned = decltype(Function(call, std::get<I>(arguments)...));
  if constexpr (std::is_void_v<Returned>) {
    Function(call, std::get<I>(arguments)...);
  } else {
    value = result(call.env, Function(call, std::get<I>(arguments)...));
  }
  call.plane.waker.deliver(call.env);
  return value;
}

template <auto Function, class... Arguments>
napi_value callback(napi_env env, napi_callback_info info) noexcept {
  constexpr size_t kCount = sizeof...(Arguments);
  napi_value values[kCount + 1] = {};
  napi_value self = nullptr;
  size_t count = kCount;
  void* plane = nullptr;
  napi_get_cb_info(env, info, &count, values, &self, nullptr);
  if (count < kCount) return raise(env, "an argument is missing");
  // The class's signature has seen to it that `this` is one of ours.
  if (napi_unwrap(env, self, &plane) != napi_ok) return raise(env, "this is not a plane");
  Call call{env, *static_cast<PlaneObject*>(plane)};
  return invoke<Function, Arguments...>(call, values, std::make_index_sequence<kCount>{});
}

template <auto Function, class... Arguments>
void method(std::vector<napi_property_descriptor>& methods, const char* name) noexcept {
  methods.push_back({name, nullptr, callback<Function, Arguments...>, nullptr, nullptr, nullptr, napi_default_method, nullptr});
}

void add_plane_methods(std::vector<napi_property_descriptor>& methods);
void add_device_methods(std::vector<napi_property_descriptor>& methods);

}  // namespace warren::binding
