// See context.h. Buffers are made once per thread and left uninitialised: what is never used costs no memory.
// Leaves out everything that runs.

#include "dataplane/context.h"

#include <utility>

namespace warren {

Context::Context(Sink& sink_, std::unique_ptr<Aead> aead_, std::unique_ptr<Coalescer> coalescer_)
    : sink(sink_),
      aead(std::move(aead_)),
      coalescer(std::move(coalescer_)),
      arena(std::make_unique_for_overwrite<uint8_t[]>(kSendArenaBytes + kHeaderSlack)),
      flush_arena(std::make_unique_for_overwrite<uint8_t[]>(kFlushArenaBytes)) {
  seal_jobs.resize(kRunMessagesMax);
}

}  // namespace warren
