// Outcome of an operating-system call without exceptions: a value, or the errno together with the step that failed.
// The step is a string literal, so an error costs nothing to carry; it holds no secret and no data from the network.
#pragma once

#include <cstring>
#include <optional>
#include <utility>

namespace warren {

struct Error {
  /** errno of the step; never 0. */
  int code = 0;
  /** Which step failed, for a person: "open /dev/net/tun", "bind the IPv4 socket". Static storage. */
  const char* step = "";
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // implicit, so that `return value;` works
  Result(Error error) : error_(error) {}  // implicit, so that `return Error{…};` works

  bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  /** Only when ok(). */
  T& value() & noexcept { return *value_; }
  const T& value() const& noexcept { return *value_; }
  T&& value() && noexcept { return std::move(*value_); }
  T* operator->() noexcept { return &*value_; }
  T& operator*() noexcept { return *value_; }
  /** Only when not ok(). */
  Error error() const noexcept { return error_; }

 private:
  std::optional<T> value_;
  Error error_{};
};

/** Result without a value. */
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(error) {}  // implicit on purpose

  bool ok() const noexcept { return error_.code == 0; }
  explicit operator bool() const noexcept { return ok(); }
  Error error() const noexcept { return error_; }

 private:
  Error error_{};
};

}  // namespace warren
