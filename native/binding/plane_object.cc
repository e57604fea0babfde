// The class: construction, wake-ups and the end. Its methods are in plane_methods.cc and device_methods.cc.

#include "binding/plane_object.h"

#include <utility>

#include "binding/methods.h"
#include "binding/napi_util.h"

namespace warren::binding {

// — the wake-up —

void JsWaker::call_in_place(napi_env env, napi_value callback) noexcept { napi_create_reference(env, callback, 1, &callback_); }

bool JsWaker::call_from_loop(napi_env env, napi_value callback) noexcept {
  const auto call = [](napi_env loop, napi_value function, void*, void*) {
    // Without an environment Node is going down and only wants its queue emptied.
    if (loop == nullptr || function == nullptr) return;
    napi_call_function(loop, undefined(loop), function, 0, nullptr, nullptr);
  };
  return napi_create_threadsafe_function(env, callback, nullptr, text(env, "warren wake-up"), 0, 1, nullptr, nullptr,
                                         nullptr, call, &function_) == napi_ok;
}

void JsWaker::wake() noexcept {
  if (function_ != nullptr) {
    napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking);
  } else {
    due_ = true;
  }
}

void JsWaker::deliver(napi_env env) noexcept {
  if (!std::exchange(due_, false) || callback_ == nullptr) return;
  napi_value callback = nullptr;
  napi_get_reference_value(env, callback_, &callback);
  // What the callback throws is the caller's to see.
  napi_call_function(env, undefined(env), callback, 0, nullptr, nullptr);
}

void JsWaker::hold_loop(napi_env env, bool hold) noexcept {
  if (function_ == nullptr) return;
  hold ? napi_ref_threadsafe_function(env, function_) : napi_unref_threadsafe_function(env, function_);
}

void JsWaker::end(napi_env env) noexcept {
  if (function_ != nullptr) napi_release_threadsafe_function(std::exchange(function_, nullptr), napi_tsfn_abort);
  if (callback_ != nullptr) napi_delete_reference(env, std::exchange(callback_, nullptr));
}

// — the object —

namespace {

/** Threads must be gone before their environment is: runs when a worker or the process ends without `close`. */
void close_with_environment(void* data) noexcept {
  auto* plane = static_cast<PlaneObject*>(data);
  napi_env env = std::exchange(plane->hooked_env, nullptr);
  plane->device->close();
  plane->waker.end(env);
}

void finalize(napi_env env, void* data, void*) noexcept {
  auto* plane = static_cast<PlaneObject*>(data);
  plane->close(env);
  delete plane;
}

napi_value construct(napi_env env, napi_callback_info info) noexcept {
  napi_value self = nullptr;
  napi_value argument = nullptr;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, &self, nullptr);
  void* plane = nullptr;
  napi_valuetype type = napi_undefined;
  napi_typeof(env, argument, &type);
  if (count != 1 || type != napi_external || napi_get_value_external(env, argument, &plane) != napi_ok) {
    return raise(env, "planes are made by openMemory and openLive");
  }
  napi_wrap(env, self, plane, finalize, nullptr, nullptr);
  return self;
}

}  // namespace

void PlaneObject::close(napi_env env) noexcept {
  if (hooked_env != nullptr) {
    napi_remove_env_cleanup_hook(hooked_env, close_with_environment, this);
    hooked_env = nullptr;
  }
  device->close();
  waker.end(env);
}

bool define_plane_class(napi_env env) noexcept {
  std::vector<napi_property_descriptor> methods;
  add_plane_methods(methods);
  add_device_methods(methods);
  napi_value made = nullptr;
  auto* data = new EnvironmentData;
  const auto forget = [](napi_env, void* kept, void*) { delete static_cast<EnvironmentData*>(kept); };
  if (napi_set_instance_data(env, data, forget, nullptr) != napi_ok) {
    delete data;
    return false;
  }
  return napi_define_class(env, "Plane", NAPI_AUTO_LENGTH, construct, nullptr, methods.size(), methods.data(), &made) ==
             napi_ok &&
         napi_create_reference(env, made, 1, &data->plane_class) == napi_ok;
}

napi_value wrap_plane(napi_env env, std::unique_ptr<PlaneObject> plane) noexcept {
  void* kept = nullptr;
  napi_get_instance_data(env, &kept);
  napi_value plane_class = nullptr;
  napi_value external = nullptr;
  napi_value object = nullptr;
  napi_get_reference_value(env, static_cast<EnvironmentData*>(kept)->plane_class, &plane_class);
  napi_create_external(env, plane.get(), nullptr, nullptr, &external);
  if (napi_new_instance(env, plane_class, 1, &external, &object) != napi_ok) {
    plane->close(env);
    return raise(env, "the plane's object could not be made");
  }
  // After the thread-safe function was made: hooks run in reverse, so threads end before their function does.
  plane->hooked_env = env;
  napi_add_env_cleanup_hook(env, close_with_environment, plane.get());
  plane.release();  // now the JavaScript object's, see finalize
  return object;
}

}  // namespace warren::binding
