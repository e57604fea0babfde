// The class: construction and the end. Its methods are in plane_methods.cc and device_methods.cc.

#include "binding/plane_object.h"

#include <utility>

#include "binding/methods.h"
#include "binding/napi_util.h"

namespace warren::binding {

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

EnvironmentData& environment_data(napi_env env) noexcept {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<EnvironmentData*>(data);
}

bool define_plane_class(napi_env env) noexcept {
  std::vector<napi_property_descriptor> methods;
  add_plane_methods(methods);
  add_device_methods(methods);
  napi_value made = nullptr;
  return napi_define_class(env, "Plane", NAPI_AUTO_LENGTH, construct, nullptr, methods.size(), methods.data(), &made) ==
             napi_ok &&
         napi_create_reference(env, made, 1, &environment_data(env).plane_class) == napi_ok;
}

napi_value wrap_plane(napi_env env, std::unique_ptr<PlaneObject> plane) noexcept {
  napi_value plane_class = nullptr;
  napi_value external = nullptr;
  napi_value object = nullptr;
  napi_get_reference_value(env, environment_data(env).plane_class, &plane_class);
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
