// The tier "avx512-ifma" of aead.h (RFC 8439): runs of equal length through the sixteen-lane kernels, the rest through
// another tier. Leaves out the choice of a tier, which is aead.cc's.

#pragma once

#include <memory>

#include "aead/aead.h"

namespace warren {

/** Null where the CPU lacks AVX512-IFMA or `rest` is null. `rest` serves what the kernels are not worth starting for. */
std::unique_ptr<Aead> make_avx512_aead(std::unique_ptr<Aead> rest);

}  // namespace warren
