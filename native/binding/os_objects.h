// What the operating system tells and takes beside packets, for TypeScript: netlink sockets, changes of the clock, datagrams
// to a service manager. src/dataplane/native/addon.ts has the types. Leaves out what any of it means.

#pragma once

#include <node_api.h>

namespace warren::binding {

/** Defines the classes, whose constructors go to the environment's data, and the functions among `exports`. */
bool define_os(napi_env env, napi_value exports) noexcept;

}  // namespace warren::binding
