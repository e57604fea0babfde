// Thread-safe functions of Node-API, and their end. See js_waker.h.

#include "binding/js_waker.h"

#include <utility>

#include "binding/napi_util.h"

namespace warren::binding {

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

}  // namespace warren::binding
