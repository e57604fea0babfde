// Small helpers over the C Node-API: reading arguments, making values, lending memory. Nothing here throws a C++ exception;
// a wrong argument leaves a JavaScript exception pending and gives back false or null. Leaves out node-addon-api: the C
// interface is all that is needed, and it cannot throw.

#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace warren::binding {

/** Leaves a JavaScript Error pending, unless there is one already. */
inline napi_value raise(napi_env env, const char* message) noexcept {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, nullptr, message);
  return nullptr;
}

inline bool read(napi_env env, napi_value value, uint32_t& out) noexcept {
  if (napi_get_value_uint32(env, value, &out) == napi_ok) return true;
  raise(env, "a number was expected");
  return false;
}
inline bool read(napi_env env, napi_value value, double& out) noexcept {
  if (napi_get_value_double(env, value, &out) == napi_ok) return true;
  raise(env, "a number was expected");
  return false;
}
inline bool read(napi_env env, napi_value value, bool& out) noexcept {
  if (napi_get_value_bool(env, value, &out) == napi_ok) return true;
  raise(env, "a boolean was expected");
  return false;
}
/** A Uint8Array, borrowed for the call. */
inline bool read(napi_env env, napi_value value, std::span<uint8_t>& out) noexcept {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    raise(env, "a Uint8Array was expected");
    return false;
  }
  // An empty array has no memory; callers copy from it all the same.
  static uint8_t nothing = 0;
  out = {length == 0 ? &nothing : static_cast<uint8_t*>(data), length};
  return true;
}

inline napi_value number(napi_env env, double value) noexcept {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}
inline napi_value number(napi_env env, uint32_t value) noexcept {
  napi_value out = nullptr;
  napi_create_uint32(env, value, &out);
  return out;
}
inline napi_value boolean(napi_env env, bool value) noexcept {
  napi_value out = nullptr;
  napi_get_boolean(env, value, &out);
  return out;
}
inline napi_value text(napi_env env, const char* value) noexcept {
  napi_value out = nullptr;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &out);
  return out;
}
inline napi_value null(napi_env env) noexcept {
  napi_value out = nullptr;
  napi_get_null(env, &out);
  return out;
}
inline napi_value undefined(napi_env env) noexcept {
  napi_value out = nullptr;
  napi_get_undefined(env, &out);
  return out;
}
inline void set(napi_env env, napi_value object, const char* name, napi_value value) noexcept {
  napi_set_named_property(env, object, name, value);
}
inline napi_value get(napi_env env, napi_value object, const char* name) noexcept {
  napi_value out = nullptr;
  napi_get_named_property(env, object, name, &out);
  return out;
}

inline void define(napi_env env, napi_value exports, const char* name, napi_callback callback) noexcept {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  set(env, exports, name, function);
}

/** `{code, step}`: an expected failure of the operating system, to be explained in TypeScript. */
inline napi_value failure(napi_env env, int code, const char* step) noexcept {
  napi_value out = nullptr;
  napi_create_object(env, &out);
  set(env, out, "code", number(env, static_cast<uint32_t>(code)));
  set(env, out, "step", text(env, step));
  return out;
}

/** An ArrayBuffer over native memory that lives as long as the longer-lived of the two sides. */
template <class T>
napi_value lend(napi_env env, std::shared_ptr<T> memory, void* data, size_t bytes) noexcept {
  auto* holder = new std::shared_ptr<T>(std::move(memory));
  napi_value out = nullptr;
  const auto release = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<T>*>(hint); };
  if (napi_create_external_arraybuffer(env, data, bytes, release, holder, &out) == napi_ok) return out;
  delete holder;
  return raise(env, "this build of Node does not take external array buffers");
}

/** An ArrayBuffer of its own with a copy of `bytes`. */
inline napi_value copy(napi_env env, std::span<const uint8_t> bytes) noexcept {
  void* data = nullptr;
  napi_value out = nullptr;
  if (napi_create_arraybuffer(env, bytes.size(), &data, &out) != napi_ok) return nullptr;
  for (size_t i = 0; i < bytes.size(); ++i) static_cast<uint8_t*>(data)[i] = bytes[i];
  return out;
}

}  // namespace warren::binding
