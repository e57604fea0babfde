// Entry of the addon.
#include <node_api.h>
static napi_value init(napi_env env, napi_value exports) { (void)env; return exports; }
NAPI_MODULE_INIT() { return init(env, exports); }
