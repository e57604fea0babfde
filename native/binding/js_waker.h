// How native code calls a JavaScript function that waits for news: from the event loop when another thread has them, or at the
// end of the call that brought them. Leaves out what the news are: the function asks.

#pragma once

#include <node_api.h>

#include "dataplane/control_queue.h"

namespace warren::binding {

/** Calls `onWake` once per wake-up: at the end of the call that caused it in memory mode, from the event loop in live mode. */
class JsWaker final : public Waker {
 public:
  void wake() noexcept override;
  /** Memory mode: `callback` is called by `deliver`. */
  void call_in_place(napi_env env, napi_value callback) noexcept;
  /** Live mode. False when Node refuses. */
  bool call_from_loop(napi_env env, napi_value callback) noexcept;
  void deliver(napi_env env) noexcept;
  /** Only on the JavaScript thread, after all other threads that wake have ended. */
  void end(napi_env env) noexcept;
  void hold_loop(napi_env env, bool hold) noexcept;

 private:
  bool due_ = false;
  napi_ref callback_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
};

}  // namespace warren::binding
