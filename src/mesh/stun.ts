// The one STUN message that meeting needs: a Binding Indication (RFC 8489 §5, §6.2.4). It is answered by nobody; having left
// is its purpose: the firewalls on the way now expect something from there. Leaves out everything else of STUN.
//
//   0        2        4                8                        20
//   | 0x0011 | length | 0x2112A442     | transaction id         |

import { writeU16be, writeU32be } from '../base/bytes.ts';
import type { RandomSource } from '../base/prng.ts';

const BINDING_INDICATION = 0x0011;
const MAGIC_COOKIE = 0x2112a442;

export function bindingIndication(random: RandomSource): Uint8Array {
  const message = new Uint8Array(20);
  random(message.subarray(8));
  writeU16be(message, 0, BINDING_INDICATION);
  writeU16be(message, 2, 0);
  writeU32be(message, 4, MAGIC_COOKIE);
  return message;
}
