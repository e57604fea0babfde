// Objects with a descriptor that a thread watches (os/readable_watch.h): the thread wakes JavaScript once, JavaScript reads until
// there is nothing more and arms the watch again. See os_objects.h.

#include "binding/os_objects.h"

#include <cerrno>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "binding/js_waker.h"
#include "binding/napi_util.h"
#include "binding/plane_object.h"
#include "os/clock.h"
#include "os/netlink_socket.h"
#include "os/readable_watch.h"
#include "os/unix_datagram.h"

namespace warren::binding {

namespace {

/** What is watched, for the life of one JavaScript object. */
template <class Source>
struct Watched {
  explicit Watched(Source from) noexcept : source(std::move(from)) {}

  JsWaker waker;
  /** Empty once it is closed. */
  std::optional<Source> source;
  std::unique_ptr<ReadableWatch> watch;
  /** Whose clean-up hook is set. */
  napi_env hooked_env = nullptr;

  /** The thread ends first, then what it calls, then what it watches. */
  void let_go(napi_env env) noexcept {
    if (watch != nullptr) watch->stop();
    watch.reset();
    waker.end(env);
    source.reset();
  }
  /** When a worker or the process ends without `close`: threads must be gone before their environment is. */
  static void close_with_environment(void* data) noexcept {
    auto* self = static_cast<Watched*>(data);
    self->let_go(std::exchange(self->hooked_env, nullptr));
  }
  void close(napi_env env) noexcept {
    if (hooked_env != nullptr) napi_remove_env_cleanup_hook(std::exchange(hooked_env, nullptr), close_with_environment, this);
    let_go(env);
  }
};

napi_value fail(napi_env env, Error error) noexcept { return failure(env, error.code, error.step); }

template <class Source>
napi_value construct(napi_env env, napi_callback_info info) noexcept {
  napi_value self = nullptr;
  napi_value argument = nullptr;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, &self, nullptr);
  void* data = nullptr;
  napi_valuetype type = napi_undefined;
  napi_typeof(env, argument, &type);
  if (count != 1 || type != napi_external || napi_get_value_external(env, argument, &data) != napi_ok) {
    return raise(env, "objects of the operating system are made by the addon's functions");
  }
  const auto finalize = [](napi_env env, void* data, void*) {
    const std::unique_ptr<Watched<Source>> object(static_cast<Watched<Source>*>(data));
    object->close(env);
  };
  napi_wrap(env, self, data, finalize, nullptr, nullptr);
  return self;
}

/** Starts watching and gives the JavaScript object; `{code, step}` when the system refuses. */
template <class Source>
napi_value open_watched(napi_env env, Result<Source> source, napi_value on_readable, napi_ref object_class) noexcept {
  if (!source) return fail(env, source.error());
  auto object = std::make_unique<Watched<Source>>(std::move(*source));
  if (!object->waker.call_from_loop(env, on_readable)) return raise(env, "no thread-safe function");
  // Whoever waits for an answer has a timer for it; waiting for news alone keeps no process alive.
  object->waker.hold_loop(env, false);
  auto watch = ReadableWatch::start(object->source->fd(), [waker = &object->waker] { waker->wake(); });
  if (!watch) {
    object->close(env);
    return fail(env, watch.error());
  }
  object->watch = std::move(*watch);
  napi_value made_by = nullptr;
  napi_value external = nullptr;
  napi_value out = nullptr;
  napi_get_reference_value(env, object_class, &made_by);
  napi_create_external(env, object.get(), nullptr, nullptr, &external);
  if (napi_new_instance(env, made_by, 1, &external, &out) != napi_ok) {
    object->close(env);
    return raise(env, "the object could not be made");
  }
  // After the thread-safe function was made: hooks run in reverse, so the thread ends before its function does.
  object->hooked_env = env;
  napi_add_env_cleanup_hook(env, Watched<Source>::close_with_environment, object.get());
  object.release();  // now the JavaScript object's, see construct
  return out;
}

/** A method without or with one argument; null after an exception. */
template <class Source, napi_value (*Function)(napi_env, Watched<Source>&, napi_value) noexcept, size_t Arguments>
napi_value method(napi_env env, napi_callback_info info) noexcept {
  napi_value argument = nullptr;
  napi_value self = nullptr;
  void* object = nullptr;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, &self, nullptr);
  if (count < Arguments) return raise(env, "an argument is missing");
  // The class's signature has seen to it that `this` is one of ours.
  if (napi_unwrap(env, self, &object) != napi_ok) return raise(env, "this is not such an object");
  return Function(env, *static_cast<Watched<Source>*>(object), argument);
}

template <class Source>
napi_value close(napi_env env, Watched<Source>& object, napi_value) noexcept {
  object.close(env);
  return undefined(env);
}

template <class Source>
bool define_class(napi_env env, const char* name, std::vector<napi_property_descriptor> methods, napi_ref* kept) noexcept {
  methods.push_back({"close", nullptr, method<Source, close<Source>, 0>, nullptr, nullptr, nullptr, napi_default_method, nullptr});
  napi_value made = nullptr;
  return napi_define_class(env, name, NAPI_AUTO_LENGTH, construct<Source>, nullptr, methods.size(), methods.data(), &made) ==
             napi_ok &&
         napi_create_reference(env, made, 1, kept) == napi_ok;
}

constexpr Error kClosed{EBADF, "use a closed socket"};

// — netlink —

/** Null when it went out, else why not. */
napi_value netlink_send(napi_env env, Watched<NetlinkSocket>& object, napi_value argument) noexcept {
  std::span<uint8_t> datagram;
  if (!read(env, argument, datagram)) return nullptr;
  if (!object.source) return fail(env, kClosed);
  const Status sent = object.source->send(datagram);
  return sent.ok() ? null(env) : fail(env, sent.error());
}

/** The next datagram, null when none waits, or `{code, step}`. */
napi_value netlink_receive(napi_env env, Watched<NetlinkSocket>& object, napi_value) noexcept {
  if (!object.source) return fail(env, kClosed);
  const auto received = object.source->receive();
  if (!received) return fail(env, received.error());
  if (received.value().empty()) return null(env);
  napi_value buffer = copy(env, received.value());
  napi_value out = nullptr;
  if (buffer == nullptr) return raise(env, "no memory for a datagram");
  napi_create_typedarray(env, napi_uint8_array, received.value().size(), buffer, 0, &out);
  return out;
}

/** `onReadable` is called once more. */
napi_value netlink_arm(napi_env env, Watched<NetlinkSocket>& object, napi_value) noexcept {
  if (object.watch != nullptr) object.watch->rearm();
  return undefined(env);
}

bool read_two(napi_env env, napi_callback_info info, napi_value (&arguments)[2]) noexcept {
  size_t count = 2;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  return count == 2;
}

bool is_function(napi_env env, napi_value value) noexcept {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_function;
}

/** openNetlink({protocol, groups, receiveBufferBytes}, onReadable) → Netlink or {code, step} */
napi_value open_netlink(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[2];
  if (!read_two(env, info, arguments) || !is_function(env, arguments[1])) {
    return raise(env, "options and a function to call are expected");
  }
  NetlinkOptions options;
  uint32_t protocol = 0;
  if (!read(env, get(env, arguments[0], "protocol"), protocol) || !read(env, get(env, arguments[0], "groups"), options.groups) ||
      !read(env, get(env, arguments[0], "receiveBufferBytes"), options.receive_buffer_bytes)) {
    return nullptr;
  }
  options.protocol = static_cast<int>(protocol);
  return open_watched(env, NetlinkSocket::open(options), arguments[1], environment_data(env).netlink_class);
}

// — the clock —

/** Whether the clock was set, or the machine slept, since the last call; arms the watch again. */
napi_value clock_acknowledge(napi_env env, Watched<ClockChangeEvent>& object, napi_value) noexcept {
  if (!object.source) return boolean(env, false);
  const bool changed = object.source->acknowledge();
  object.watch->rearm();
  return boolean(env, changed);
}

/** watchClock(onChange) → ClockWatch or {code, step} */
napi_value watch_clock(napi_env env, napi_callback_info info) noexcept {
  napi_value argument = nullptr;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count < 1 || !is_function(env, argument)) return raise(env, "a function to call is expected");
  return open_watched(env, ClockChangeEvent::create(), argument, environment_data(env).clock_watch_class);
}

/** Milliseconds of CLOCK_BOOTTIME: what planes call now. */
napi_value boottime(napi_env env, napi_callback_info) noexcept { return number(env, boottime_ms()); }

// — the service manager —

/** unixDatagram(path, bytes) → null or {code, step} */
napi_value unix_datagram(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[2];
  // One byte more than any address, so that one too long is seen as such.
  char path[128] = {};
  size_t length = 0;
  std::span<uint8_t> bytes;
  if (!read_two(env, info, arguments)) return raise(env, "a path and bytes are expected");
  if (napi_get_value_string_utf8(env, arguments[0], path, sizeof path, &length) != napi_ok) return raise(env, "path is a string");
  if (!read(env, arguments[1], bytes)) return nullptr;
  const Status sent = send_unix_datagram({path, length}, bytes);
  return sent.ok() ? null(env) : fail(env, sent.error());
}

napi_property_descriptor describe(const char* name, napi_callback callback) noexcept {
  return {name, nullptr, callback, nullptr, nullptr, nullptr, napi_default_method, nullptr};
}

}  // namespace

bool define_os(napi_env env, napi_value exports) noexcept {
  EnvironmentData& data = environment_data(env);
  define(env, exports, "openNetlink", open_netlink);
  define(env, exports, "watchClock", watch_clock);
  define(env, exports, "boottime", boottime);
  define(env, exports, "unixDatagram", unix_datagram);
  return define_class<NetlinkSocket>(env, "Netlink",
                                     {describe("send", method<NetlinkSocket, netlink_send, 1>),
                                      describe("receive", method<NetlinkSocket, netlink_receive, 0>),
                                      describe("arm", method<NetlinkSocket, netlink_arm, 0>)},
                                     &data.netlink_class) &&
         define_class<ClockChangeEvent>(env, "ClockWatch",
                                        {describe("acknowledge", method<ClockChangeEvent, clock_acknowledge, 0>)},
                                        &data.clock_watch_class);
}

}  // namespace warren::binding
